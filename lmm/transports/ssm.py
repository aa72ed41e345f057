"""AWS Systems Manager: one command for up to 50 instances, polled until each has answered.

Nothing streams here: a plugin's output and its events come when it has ended. A RUNE that is
killed leaves the plugin to its deadline, which the host keeps by itself.
"""

from __future__ import annotations

import functools
import logging
import re
import secrets
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from lmm.aws import payload
from lmm.aws.commands import EXECUTION_S, InvalidInstances, OutputBucket, SystemsManager, Timeouts
from lmm.aws.discovery import NOT_MANAGED, agents
from lmm.aws.pool import Pool
from lmm.aws.session import AwsAccount, Clients
from lmm.aws.storage import Storage
from lmm.errors import HostError, InternalError, RequestError, RuneError, Unreachable
from lmm.model import Limits, SsmSettings
from lmm.opening import shell_argv
from lmm.redact import has_secrets
from lmm.threads import side_by_side
from lmm.transports.base import Job
from lmm.transports.ssm_watch import SentCommand, Watch

INSTANCE_ID = re.compile(r"i-(\w{8}|\w{17})|mi-\w{17}")  # the API reference's own pattern
CALLS_AT_ONCE = 8
ONLINE = "Online"

_log = logging.getLogger(__name__)


class SsmTransport:
    """Keeps the clients of AWS until ``close``."""

    name: ClassVar[str] = "ssm"
    batch_size: ClassVar[int] = 500

    def __init__(self) -> None:
        self._clients = Clients()

    def run(self, jobs: Sequence[Job]) -> None:
        groups: dict[_Kind, list[Job]] = {}
        for job in jobs:
            try:
                groups.setdefault(_kind(job), []).append(job)
            except RuneError as error:
                job.fail(error)
        if not groups:
            return
        side_by_side(
            [functools.partial(self._run_group, *group) for group in groups.items()], "rune-ssm"
        )

    def _run_group(self, kind: _Kind, jobs: list[Job]) -> None:
        try:
            _Group(self._clients, kind, jobs).run()
        except RuneError as error:
            _fail(jobs, error)
        except Exception as error:
            _fail(jobs, InternalError("internal_error", f"{type(error).__name__}: {error}"))

    def close(self) -> None:
        self._clients.close()


@dataclass(frozen=True, slots=True)
class _Kind:
    """What jobs have in common that one command can carry."""

    ssm: SsmSettings
    shared: bytes
    shell_command: str
    limits: Limits
    run_id: str
    secret: bool


def _kind(job: Job) -> _Kind:
    """Return the job's kind. Raises RuneError for what this transport cannot carry."""
    invocation = job.invocation
    target, ssm = invocation.target, invocation.target.ssm
    if not INSTANCE_ID.fullmatch(target.address):
        raise RequestError(
            "inventory_invalid",
            f"{target.address!r} is no instance id such as i-0123456789abcdef0"
            f" @ $.targets.{target.name}.host",
        )
    if target.become and target.become.password:
        raise RequestError(
            "inventory_invalid",
            "over ssm nobody can type a password: the agent is root, sudo asks it for none"
            f" @ $.targets.{target.name}.become.password",
        )
    most = EXECUTION_S[1] - invocation.limits.grace_s
    if invocation.limits.timeout_s > most:
        raise RequestError(
            "invalid_request",
            f"a timeout of {invocation.limits.timeout_s:g} s is more than AWS Systems Manager"
            f" allows ({most:g} s) @ $.timeout_s",
        )
    parameters = invocation.message["payload"]["input_parameters"]
    secret = has_secrets(parameters, invocation.write_only)
    if secret and not ssm.s3_bucket:
        raise HostError(
            "secret_needs_s3",
            f"{target.name} has no ssm.s3_bucket: a secret parameter would stay readable in the"
            " command history of AWS Systems Manager",
            field="ssm.s3_bucket",
        )
    return _Kind(
        ssm=ssm,
        shared=job.parts.shared,
        shell_command=shlex.join(shell_argv(target.become)),
        limits=invocation.limits,
        run_id=invocation.run_id,
        secret=secret,
    )


class _Group:
    """Jobs of one kind on their way: asks who is there, sends commands, watches them."""

    def __init__(self, clients: Clients, kind: _Kind, jobs: list[Job]) -> None:
        account = self._account = AwsAccount.of(kind.ssm)
        self._clients = clients
        self._kind = kind
        self._jobs = jobs
        self._service = SystemsManager(clients, account)
        self._storage = (
            Storage(clients, account, kind.ssm, kind.run_id) if kind.ssm.s3_bucket else None
        )
        self._timeouts = Timeouts.of(kind.limits.timeout_s, kind.limits.grace_s)
        self._watch = Watch(self._service, self._storage)

    def run(self) -> None:
        for job in self._jobs:
            job.on_cancel(functools.partial(self._watch.cancel, job))
        try:
            online = self._online()
            with Pool(CALLS_AT_ONCE, "rune-ssm-calls") as pool:
                for chunk in _chunks(online):
                    pool.submit(self._send_or_fail, chunk)
                self._watch.until_settled(online, pool)
        finally:
            if self._storage:
                try:
                    self._storage.close(self._watch.commands)
                except RuneError as error:
                    _log.warning("%s", error.message)

    def _online(self) -> list[Job]:
        """Return the jobs whose instance has an agent that answers; fail the others."""
        asked = {_instance(j) for j in self._jobs if j.invocation.target.seen is None}
        seen = agents(self._clients, self._account, sorted(asked)) if asked else {}
        online = []
        for job in self._jobs:
            instance = _instance(job)
            agent = seen.get(instance, {})
            status = job.invocation.target.seen or agent.get("PingStatus", NOT_MANAGED)
            if status == ONLINE:
                online.append(job)
            else:
                message = f"the agent of {instance} is not online: {status}"
                job.fail(Unreachable("ssm_not_online", message, ping_status=status))
        return online

    def _send_or_fail(self, jobs: list[Job]) -> None:
        try:
            self._send(jobs)
        except RuneError as error:
            _fail(jobs, error)
        except Exception as error:
            _fail(jobs, InternalError("internal_error", f"{type(error).__name__}: {error}"))
        finally:
            self._watch.wake()

    def _send(self, jobs: list[Job]) -> None:
        """Send one command to the jobs' instances, or several where one cannot be."""
        jobs = [job for job in jobs if not self._watch.drop_cancelled(job)]
        if not jobs:
            return
        nonce = secrets.token_hex(16)
        script = self._script(nonce, jobs)
        halves = jobs[: len(jobs) // 2], jobs[len(jobs) // 2 :]
        if len(script) > payload.SCRIPT_CHARS:
            if len(jobs) == 1:
                raise HostError(
                    "ssm_too_large",
                    f"the plugin and its payload make {len(script)} characters, and"
                    f" {payload.SCRIPT_CHARS} fit into a command: set ssm.s3_bucket",
                    field="ssm.s3_bucket",
                )
            for half in halves:
                self._send_or_fail(half)
            return
        storage = self._storage
        try:
            command = self._service.send(
                [_instance(job) for job in jobs],
                script,
                run_id=self._kind.run_id,
                timeouts=self._timeouts,
                bucket=OutputBucket(storage.bucket, storage.output_prefix, storage.region)
                if storage
                else None,
                pause=self._watch.pause,
            )
        except InvalidInstances:
            if len(jobs) == 1:
                raise
            for half in halves:
                self._send_or_fail(half)
            return
        for job in jobs:
            job.stream_sent()
        self._watch.add(
            SentCommand(command, nonce, {_instance(job): job for job in jobs}, self._timeouts)
        )

    def _script(self, nonce: str, jobs: list[Job]) -> str:
        """Return the script for the jobs' instances; what must, or what is large, goes by S3."""
        streams = {_instance(job): job.parts for job in jobs}
        shared = payload.compressed(self._kind.shared)
        unique = payload.compressed(payload.unique_part(streams))
        by_s3 = [(False, self._kind.secret)]
        if self._storage:
            by_s3 += [(True, self._kind.secret), (True, True)]
        for shared_by_s3, unique_by_s3 in by_s3:
            script = payload.build_script(
                nonce,
                streams,
                self._command(shared, shared_by_s3),
                self._command(unique, unique_by_s3),
                self._kind.shell_command,
                payload.ReplyLimits(
                    payload.BOUNDLESS_CHARS if self._storage else payload.STDOUT_CHARS,
                    self._kind.limits.stdout_bytes,
                    self._kind.limits.stderr_bytes,
                ),
            )
            if len(script) <= payload.SCRIPT_CHARS:
                break
        return script

    def _command(self, packed: bytes, by_s3: bool) -> str:
        if by_s3 and self._storage:
            return payload.fetched(self._storage.put(packed, self._timeouts.delivery_s))
        return payload.inline(packed)


def _instance(job: Job) -> str:
    return job.invocation.target.address


def _chunks(jobs: Sequence[Job]) -> Iterator[list[Job]]:
    """Yield as many jobs as one command takes; two for one instance need two commands."""
    chunks: list[dict[str, Job]] = []
    for job in jobs:
        instance = _instance(job)
        if not chunks or instance in chunks[-1] or len(chunks[-1]) == payload.INSTANCES:
            chunks.append({})
        chunks[-1][instance] = job
    for chunk in chunks:
        yield list(chunk.values())


def _fail(jobs: Sequence[Job], error: RuneError) -> None:
    for job in jobs:
        if not job.settled:
            job.fail(error)
