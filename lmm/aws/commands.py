"""The calls of Systems Manager that a run makes, each with what its failures mean."""

from __future__ import annotations

import datetime
import math
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import tenacity

from lmm.aws import session
from lmm.aws.payload import INSTANCES
from lmm.aws.session import CALL_ERRORS, AwsAccount, Clients
from lmm.errors import Cancelled, ConnectionLost, HostError, RuneError, TimedOut, Unreachable

DOCUMENT = "AWS-RunShellScript"
EXECUTION_S = (5, 172_800)  # what the document allows for executionTimeout
DELIVERY_S = (30, 600)  # from what the service allows to what anybody would wait for a delivery
THROTTLE_PATIENCE_S = 120.0
RECOVERY_PAUSES_S = (0.5, 1.0, 2.0, 4.0, 8.0)  # how long a command may take to become visible
CLOCK_MARGIN = datetime.timedelta(minutes=15)  # between this machine's clock and the service's
VISIBLE_S = 60.0  # how long a command that was accepted may be unknown to other calls
NOT_VISIBLE = ("InvalidCommandId", "InvocationDoesNotExist")


@dataclass(frozen=True, slots=True)
class Timeouts:
    """What the service is told, in seconds."""

    delivery_s: int
    execution_s: int

    @classmethod
    def of(cls, timeout_s: float, grace_s: float) -> Timeouts:
        """Return what fits a deadline that the host enforces by itself ``grace_s`` earlier."""
        low, high = EXECUTION_S
        execution = min(max(math.ceil(timeout_s + grace_s), low), high)
        return cls(min(max(math.ceil(timeout_s), DELIVERY_S[0]), DELIVERY_S[1]), execution)


@dataclass(frozen=True, slots=True)
class OutputBucket:
    """Where the agents put whole outputs."""

    name: str
    prefix: str
    region: str | None


class SystemsManager:
    """Systems Manager of one account and region."""

    def __init__(self, clients: Clients, account: AwsAccount) -> None:
        self._sender = clients.get(account, "ssm", once=True)
        self._reader = clients.get(account, "ssm")

    def send(
        self,
        instances: Sequence[str],
        script: str,
        *,
        run_id: str,
        timeouts: Timeouts,
        bucket: OutputBucket | None,
        pause: Callable[[float], object],
    ) -> str:
        """Send one command and return its id.

        ``pause`` sleeps, shorter when the run is cancelled. Raises InvalidInstances when
        the service does not know one of them, another Unreachable when it was certainly not sent,
        ConnectionLost (``ssm_unconfirmed``) when it may have been.
        """
        token = f"rune {run_id[:60]} {secrets.token_hex(8)}"
        request: dict[str, Any] = {
            "InstanceIds": list(instances),
            "DocumentName": DOCUMENT,
            "Parameters": {"commands": [script], "executionTimeout": [str(timeouts.execution_s)]},
            "TimeoutSeconds": timeouts.delivery_s,
            "Comment": token,
            "MaxConcurrency": "100%",
            "MaxErrors": "100%",  # the default stops at the first error
        }
        if bucket:
            request |= {"OutputS3BucketName": bucket.name, "OutputS3KeyPrefix": bucket.prefix}
            request |= {"OutputS3Region": bucket.region} if bucket.region else {}
        began = datetime.datetime.now(datetime.UTC)
        try:
            answer = _while_throttled(pause)(self._sender.send_command, **request)
        except CALL_ERRORS as error:
            if session.code_of(error) == "InvalidInstanceId":
                raise InvalidInstances(instances) from None
            if session.is_undecided(error):
                return self._recover(token, began, error)
            raise session.fault(error, "to send a command") from None
        return str(answer["Command"]["CommandId"])

    def _recover(self, token: str, began: datetime.datetime, error: BaseException) -> str:
        """Return the id of the command whose answer was lost, found by its comment."""
        for seconds in RECOVERY_PAUSES_S:
            time.sleep(seconds)
            try:
                for command in self._commands(began):
                    if command.get("Comment") == token:
                        return str(command["CommandId"])
            except CALL_ERRORS:
                continue
        raise ConnectionLost(
            "ssm_unconfirmed",
            "the answer to SendCommand was lost and no such command is to be seen:"
            f" {session.words(error)}",
        )

    def _commands(self, since: datetime.datetime) -> Iterator[dict[str, Any]]:
        after = (since - CLOCK_MARGIN).strftime("%Y-%m-%dT%H:%M:%SZ")
        pages = self._reader.get_paginator("list_commands")
        filters = [{"key": "InvokedAfter", "value": after}]
        for page in pages.paginate(Filters=filters, MaxResults=INSTANCES):
            yield from page["Commands"]

    def completed(self, commands: Sequence[str], since: datetime.datetime) -> dict[str, int]:
        """Return how many instances have ended, for each command that is visible by now."""
        wanted, found = set(commands), {}
        for command in self._commands(since):
            if command["CommandId"] in wanted:
                found[command["CommandId"]] = int(command.get("CompletedCount", 0))
                if len(found) == len(wanted):
                    break
        return found

    def invocations(self, command: str) -> Iterator[dict[str, Any]]:
        """Yield what is known of the command on each of its instances."""
        pages = self._reader.get_paginator("list_command_invocations")
        for page in pages.paginate(CommandId=command, Details=True, MaxResults=INSTANCES):
            yield from page["CommandInvocations"]

    def stdout(self, command: str, instance: str) -> str:
        """Return the first 24,000 characters that the script printed."""
        patient = tenacity.Retrying(
            retry=tenacity.retry_if_exception(lambda e: session.code_of(e) in NOT_VISIBLE),
            wait=tenacity.wait_random_exponential(multiplier=0.5, max=5),
            stop=tenacity.stop_after_delay(VISIBLE_S),
            reraise=True,
        )
        ask = self._reader.get_command_invocation
        answer = patient(ask, CommandId=command, InstanceId=instance)
        return str(answer.get("StandardOutputContent", ""))

    def cancel(self, command: str, instances: Sequence[str]) -> None:
        self._reader.cancel_command(CommandId=command, InstanceIds=list(instances))


class InvalidInstances(Unreachable):
    """The service refused a command because it does not know one of its instances."""

    def __init__(self, instances: Sequence[str]) -> None:
        names = ", ".join(instances)
        super().__init__("ssm_not_online", f"AWS Systems Manager knows no such instance: {names}")


def _while_throttled(pause: Callable[[float], object]) -> tenacity.Retrying:
    def sleep(seconds: float) -> None:
        pause(seconds)

    return tenacity.Retrying(
        retry=tenacity.retry_if_exception(
            lambda error: session.code_of(error) in session.THROTTLED
        ),
        wait=tenacity.wait_random_exponential(multiplier=0.5, max=10),
        stop=tenacity.stop_after_delay(THROTTLE_PATIENCE_S),
        sleep=sleep,
        reraise=True,
    )


FINAL = ("Success", "Failed", "Cancelled", "TimedOut")  # of CommandInvocationStatus


def ended_without_reply(details: str, exit_code: int) -> RuneError:
    """Return what an invocation's last status means when its script left no answer.

    ``details`` is the StatusDetails of an invocation whose status is one of ``FINAL``.
    """
    undelivered = {
        "DeliveryTimedOut": "the command was not delivered in time",
        "Undeliverable": "the command could not be delivered",
        "Terminated": "the command was ended before it was delivered",
    }
    if details in undelivered:
        return Unreachable("ssm_not_delivered", undelivered[details], aws_status=details)
    if details == "AccessDenied":
        return Unreachable("aws_denied", "AWS denied the command on this instance")
    if details == "InvalidPlatform":
        return HostError("bootstrap_failed", f"{DOCUMENT} does not run on this platform")
    if details == "ExecutionTimedOut":
        return TimedOut("timed_out", "AWS Systems Manager ended the command at its timeout")
    if details == "Cancelled":
        return Cancelled("cancelled", "the command was cancelled in AWS, not by RUNE")
    return ConnectionLost(
        "ssm_unconfirmed",
        f"the command ended without an answer (status {details}, exit status {exit_code})",
        aws_status=details,
    )
