"""Watches commands under AWS Systems Manager until every instance has answered."""

from __future__ import annotations

import datetime
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from typing import Any

from lmm.aws import session
from lmm.aws.commands import (
    FINAL,
    NOT_VISIBLE,
    VISIBLE_S,
    SystemsManager,
    Timeouts,
    ended_without_reply,
)
from lmm.aws.payload import (
    SLACK_BYTES,
    STDOUT_CHARS,
    Refusal,
    Reply,
    ReplyStreams,
    Truncated,
    most_chars,
    read_reply,
)
from lmm.aws.session import CALL_ERRORS
from lmm.aws.storage import Storage
from lmm.budget import Budget
from lmm.errors import ConnectionLost, HostError, OutputError, RuneError, Unreachable
from lmm.transports.base import Job

SHORTEST_S, LONGEST_S, IDLE_S = 0.5, 4.0, 10.0  # between polls: at first, then, after two minutes
PARTIAL_ASKED = 2  # commands that are asked for results in one poll while some are still running
OVERDUE_S = 30.0  # a command is asked at least this often, whatever its counts say
REPORT_S = 30.0  # what an agent and the service may take beyond their own timeouts
REPLIES = Budget(32 * 1024 * 1024)  # characters that are fetched and unpacked at the same time


def interval(elapsed_s: float) -> float:
    """Return the seconds to the next poll, by those since the last command was sent."""
    return IDLE_S if elapsed_s > 120 else min(max(elapsed_s / 4, SHORTEST_S), LONGEST_S)


class SentCommand:
    """A command that the service has accepted, and the jobs that wait for it, by instance."""

    def __init__(
        self, command: str, nonce: str, jobs: Mapping[str, Job], timeouts: Timeouts
    ) -> None:
        self.command = command
        self.nonce = nonce
        self.jobs = jobs
        self.at = self.asked_at = time.monotonic()
        self.sent_at = datetime.datetime.now(datetime.UTC)
        self.give_up_at = self.at + timeouts.delivery_s + timeouts.execution_s + REPORT_S
        self.ended: set[str] = set()

    @property
    def waiting(self) -> dict[str, Job]:
        return {i: job for i, job in self.jobs.items() if i not in self.ended and not job.settled}


class Watch:
    """One loop for all commands of a group; other threads add commands and cancel jobs."""

    def __init__(self, service: SystemsManager, storage: Storage | None) -> None:
        self._service = service
        self._storage = storage
        self._lock = threading.Lock()
        self._bell = threading.Event()
        self._stopping = threading.Event()
        self._sent: list[SentCommand] = []
        self._cancelled: set[Job] = set()
        self._cancel_sent: set[Job] = set()
        self._next_poll = 0.0

    # -- called from other threads -------------------------------------------------------------

    def wake(self) -> None:
        self._bell.set()

    def cancel(self, job: Job) -> None:
        with self._lock:
            self._cancelled.add(job)
        self._stopping.set()
        self._bell.set()

    def pause(self, seconds: float) -> None:
        """Sleep; shorter once anything is cancelled."""
        self._stopping.wait(seconds)

    def drop_cancelled(self, job: Job) -> bool:
        """Settle a job that was cancelled before it was sent; return whether that was so."""
        if job in self._cancelled and not job.settled:
            job.fail(Unreachable("ssm_not_delivered", "cancelled before it was sent"))
        return job.settled

    def add(self, sent: SentCommand) -> None:
        with self._lock:
            self._sent.append(sent)
            self._next_poll = time.monotonic() + SHORTEST_S

    @property
    def commands(self) -> list[str]:
        return [sent.command for sent in self._sent]

    # -- the loop --------------------------------------------------------------------------------

    def until_settled(self, jobs: Sequence[Job], pool: Executor) -> None:
        """Return when all jobs are settled; ``pool`` fetches what a poll does not show."""
        while not all(job.settled for job in jobs):
            now = time.monotonic()
            with self._lock:
                waiting = [sent for sent in self._sent if sent.waiting]
                wait = self._next_poll - now if waiting else LONGEST_S
            self._bell.wait(max(wait, 0.0))
            self._bell.clear()
            self._ask_to_cancel(waiting)
            if waiting and time.monotonic() >= self._next_poll:
                self._poll(waiting, pool)
                youngest = max(sent.at for sent in waiting)
                stopping = any(job in self._cancelled for s in waiting for job in s.jobs.values())
                now = time.monotonic()
                self._next_poll = now + (SHORTEST_S if stopping else interval(now - youngest))
            self._give_up(waiting)

    def _ask_to_cancel(self, waiting: Sequence[SentCommand]) -> None:
        for sent in waiting:
            todo = {
                instance: job
                for instance, job in sent.waiting.items()
                if job in self._cancelled and job not in self._cancel_sent
            }
            if todo:
                self._cancel_sent.update(todo.values())
                self._cancel_command(sent, list(todo))
                self._next_poll = time.monotonic() + SHORTEST_S

    def _cancel_command(self, sent: SentCommand, instances: list[str]) -> None:
        try:
            self._service.cancel(sent.command, instances)
        except CALL_ERRORS as error:
            problem = session.fault(error, "to cancel a command")
            for instance in instances:
                sent.jobs[instance].fail(ConnectionLost("ssm_unconfirmed", problem.message))

    def _give_up(self, waiting: Sequence[SentCommand]) -> None:
        """Settle what the service has not spoken about in time."""
        now = time.monotonic()
        for sent in waiting:
            late = {i: j for i, j in sent.waiting.items() if now >= sent.give_up_at}
            if late:
                self._cancel_command(sent, list(late))
            late |= {
                instance: job
                for instance, job in sent.waiting.items()
                if job in self._cancel_sent and now >= job.stop_at
            }
            for job in late.values():
                job.expire()

    def _poll(self, waiting: Sequence[SentCommand], pool: Executor) -> None:
        try:
            for sent in self._worth_asking(waiting):
                sent.asked_at = time.monotonic()
                for invocation in self._service.invocations(sent.command):
                    self._take(sent, invocation, pool)
        except CALL_ERRORS as error:
            young = any(time.monotonic() - sent.at < VISIBLE_S for sent in waiting)
            if session.is_transient(error) or (young and session.code_of(error) in NOT_VISIBLE):
                return
            problem = session.fault(error, "to ask what became of a command")
            for sent in waiting:
                for job in sent.waiting.values():
                    job.fail(ConnectionLost("ssm_unconfirmed", problem.message))

    def _worth_asking(self, waiting: Sequence[SentCommand]) -> list[SentCommand]:
        """Return the commands with news, by one call for all: their counts of ended instances.

        Those that have ended everywhere come first; of the others a few, the ones with most news.
        """
        if len(waiting) == 1:
            return list(waiting)
        now = time.monotonic()
        since = min(sent.sent_at for sent in waiting)
        counts = self._service.completed([sent.command for sent in waiting], since)
        news = {
            sent: count - len(sent.ended)
            for sent in waiting
            if (count := counts.get(sent.command, 0)) > len(sent.ended)
        }
        whole = [sent for sent in news if counts[sent.command] >= len(sent.jobs)]
        part = sorted((sent for sent in news if sent not in whole), key=news.__getitem__)
        overdue = [sent for sent in waiting if now - sent.asked_at > OVERDUE_S]
        return list(dict.fromkeys([*whole, *part[-PARTIAL_ASKED:], *overdue]))

    # -- one instance ----------------------------------------------------------------------------

    def _take(self, sent: SentCommand, invocation: dict[str, Any], pool: Executor) -> None:
        """Settle the instance's job if it has ended, at once or after fetching its answer."""
        instance = invocation["InstanceId"]
        if instance not in sent.waiting or invocation["Status"] not in FINAL:
            return
        sent.ended.add(instance)
        plugins = invocation.get("CommandPlugins") or [{}]
        reply = read_reply(plugins[0].get("Output", ""), sent.nonce)
        may_have_run = invocation["Status"] in ("Success", "Failed")
        if isinstance(reply, Truncated) or (reply is None and may_have_run):
            pool.submit(self._fetch, sent, instance, invocation, reply)
        else:
            self._conclude(sent, instance, invocation, reply)

    def _fetch(
        self, sent: SentCommand, instance: str, invocation: dict[str, Any], reply: Truncated | None
    ) -> None:
        """Look for the whole answer where more of it is kept, then settle the job."""
        found: Reply = reply
        limits = sent.jobs[instance].invocation.limits
        most = limits.stdout_bytes + limits.stderr_bytes + SLACK_BYTES
        try:
            if reply is None or reply.chars < STDOUT_CHARS:
                text = self._service.stdout(sent.command, instance)
                found = read_reply(text, sent.nonce) or found
            chars = most_chars(most)
            with REPLIES.share(min(found.chars, chars) if isinstance(found, Truncated) else 0):
                if isinstance(found, Truncated) and self._storage:
                    text = self._storage.output(sent.command, instance, chars) or ""
                    found = read_reply(text, sent.nonce, most) or found
                self._conclude(sent, instance, invocation, found)
        except (*CALL_ERRORS, RuneError) as error:
            known = isinstance(error, RuneError)
            what = error if known else session.fault(error, "to read an output")
            sent.jobs[instance].fail(OutputError("ssm_output_missing", str(what)))
        finally:
            self._bell.set()

    def _conclude(
        self,
        sent: SentCommand,
        instance: str,
        invocation: dict[str, Any],
        reply: Reply,
    ) -> None:
        job = sent.jobs[instance]
        plugins = invocation.get("CommandPlugins") or [{}]
        exit_code = plugins[0].get("ResponseCode", -1)
        match reply:
            case ReplyStreams(stdout, stderr):
                job.feed_stdout(stdout)
                job.feed_stderr(stderr)
                job.hung_up(exit_code)
            case Truncated(chars):
                job.fail(_missing(f"{chars} characters", self._storage))
            case Refusal(reason, detail):
                job.fail(_refused(reason, detail))
            case None if job in self._cancel_sent:
                job.hung_up(None)
            case None:
                job.fail(ended_without_reply(invocation["StatusDetails"], exit_code))


def _missing(size: str, storage: Storage | None) -> OutputError:
    """Return the error for an answer of which AWS has only the beginning."""
    why = (
        f"and s3://{storage.bucket}/{storage.output_prefix}/ does not have it: may the instance's"
        " profile put objects there?"
        if storage
        else f"and AWS Systems Manager carries less than {STDOUT_CHARS}: set ssm.s3_bucket"
    )
    return OutputError("ssm_output_missing", f"the packed answer has {size}, {why}")


_REFUSALS: dict[str, Callable[[str], RuneError]] = {
    "missing": lambda detail: HostError(
        "dependency_missing", f"command not found: {detail}", field=detail
    ),
    "no_directory": lambda _: HostError(
        "no_writable_directory", "no directory on the host takes a temporary file"
    ),
    "not_fetched": lambda _: Unreachable(
        "ssm_not_delivered", "the instance could not fetch its input from S3 by curl or wget"
    ),
    "too_large": lambda detail: _missing(f"{detail} characters", None),
    "wrong_instance": lambda detail: Unreachable(
        "ssm_not_delivered", f"the agent says that it is {detail or 'no instance'}"
    ),
}


def _refused(reason: str, detail: str) -> RuneError:
    """Return what the script's own word (``rune_say`` in agent.sh) means."""
    known = _REFUSALS.get(reason)
    return known(detail) if known else ConnectionLost("ssm_unconfirmed", f"it says {reason!r}")
