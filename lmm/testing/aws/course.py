"""What becomes of a command after it was sent: delivery, running, reporting."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lmm.testing.aws import document
from lmm.testing.aws.agent import REBOOT, Agent, Ended, room
from lmm.testing.aws.output import SKIP_REST, STDOUT_LIMIT, combined, step_output
from lmm.testing.aws.records import Command, CommandInvocation, ManagedInstance, share
from lmm.testing.aws.views import s3_key, s3_region

MAX_CONCURRENCY = "50"  # SendCommand's default in the API reference

Upload = Callable[[str, str, str, Path], Awaitable[None]]  # region, bucket, key, file


class Course:
    """Takes commands to instances and their results back, each invocation in a task.

    The seconds of TimeoutSeconds and executionTimeout last ``seconds_per_delivery_second`` and
    ``seconds_per_execution_second``. With ``total_timeout`` a command that is not delivered
    expires after both of them, otherwise after TimeoutSeconds.
    """

    def __init__(
        self,
        directory: Path,
        environment: Mapping[str, str],
        upload: Upload,
        *,
        seconds_per_delivery_second: float,
        seconds_per_execution_second: float,
        total_timeout: bool,
    ) -> None:
        self._directory = directory
        self._environment = environment
        self._upload = upload
        self._per_delivery_second = seconds_per_delivery_second
        self._per_execution_second = seconds_per_execution_second
        self._total_timeout = total_timeout
        self._agent = Agent()
        self._room = asyncio.Semaphore(room())
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, command: Command) -> None:
        """Start to carry a command out on all its instances."""
        limit = command.request.get("MaxConcurrency", MAX_CONCURRENCY)
        places = asyncio.Semaphore(max(1, share(limit, len(command.invocations))))
        for invocation in command.invocations.values():
            task = asyncio.create_task(self._carry(command, invocation, places))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """End all that is under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._agent.close()

    async def _carry(
        self, command: Command, invocation: CommandInvocation, places: asyncio.Semaphore
    ) -> None:
        execution_s = self._execution_s(command)
        delivery_s = self._delivery_s(command) + (execution_s if self._total_timeout else 0)
        loop = asyncio.get_running_loop()
        timers = [
            loop.call_later(delivery_s, _undelivered, invocation),
            loop.call_later(self._delivery_s(command) + execution_s, _unheard_of, invocation),
        ]
        try:
            async with places:
                if command.errors > command.max_errors:
                    invocation.become("Terminated")
                elif end := _fate(invocation.instance):
                    invocation.become(end)
                elif await self._delivered(invocation):
                    await self._take(command, invocation)
        finally:
            for timer in timers:
                timer.cancel()

    async def _delivered(self, invocation: CommandInvocation) -> bool:
        """Wait until the instance takes the command; False if it came to an end before."""
        instance = invocation.instance
        if instance.delayed and not instance.online.is_set():
            invocation.become("Delayed")

        async def reach() -> None:
            await instance.online.wait()
            await asyncio.sleep(instance.delivery_delay_s)

        await _first(reach(), invocation.over.wait())
        return not invocation.final

    async def _take(self, command: Command, invocation: CommandInvocation) -> None:
        async with self._room:
            if not invocation.final:
                await self._run(command, invocation)

    async def _run(self, command: Command, invocation: CommandInvocation) -> None:
        instance = invocation.instance
        invocation.become("InProgress")
        invocation.started = datetime.now(UTC)
        home = self._directory / instance.id
        place = home / "document/orchestration" / command.id / document.PLACE
        place.mkdir(parents=True)
        (home / "tmp").mkdir(exist_ok=True)
        environment = {
            "TMPDIR": str(home / "tmp"),
            **self._environment,
            "AWS_SSM_INSTANCE_ID": instance.id,
            "AWS_SSM_REGION_NAME": instance.region,
        }
        cancelled = asyncio.ensure_future(_told_to_cancel(invocation))
        patience_s = self._execution_s(command)
        try:
            ended = await self._agent.run(command.script, place, environment, patience_s, cancelled)
            if ended.code == REBOOT:
                instance.reboots += 1
                ended = await self._agent.run(
                    command.script, place, environment, patience_s, cancelled
                )
        finally:
            cancelled.cancel()
        await self._report(command, invocation, ended, place)

    async def _report(
        self, command: Command, invocation: CommandInvocation, ended: Ended, place: Path
    ) -> None:
        """Upload the output, then tell the service, which may have given up by then."""
        files = {name: place / name for name in ("stdout", "stderr")}
        if bucket := command.request.get("OutputS3BucketName"):
            for name, path in files.items():
                if _head(path):
                    key = s3_key(command, invocation, name)
                    await self._upload(s3_region(command), bucket, key, path)
        await _first(invocation.instance.online.wait(), invocation.over.wait())
        if invocation.final:
            return
        stdout, stderr = (_head(path) for path in files.values())
        invocation.stdout, invocation.stderr = step_output(ended.code, stdout, stderr)
        invocation.output = combined(stdout, b"" if ended.code == SKIP_REST else stderr)
        invocation.code = ended.code
        invocation.ended = datetime.now(UTC)
        invocation.become("Success" if ended.code == SKIP_REST else ended.details)

    def _delivery_s(self, command: Command) -> float:
        return command.delivery_s * self._per_delivery_second

    def _execution_s(self, command: Command) -> float:
        return command.script.timeout_s * self._per_execution_second


def _fate(instance: ManagedInstance) -> str | None:
    """Return the end of a command that never runs on this instance."""
    return instance.end or (None if instance.platform in document.PLATFORMS else "InvalidPlatform")


def _undelivered(invocation: CommandInvocation) -> None:
    if invocation.status in ("Pending", "Delayed"):
        invocation.become("DeliveryTimedOut")


def _unheard_of(invocation: CommandInvocation) -> None:
    """Give up an invocation whose instance went away: the total timeout of the user guide."""
    if not invocation.instance.online.is_set():
        invocation.become("DeliveryTimedOut")


async def _told_to_cancel(invocation: CommandInvocation) -> None:
    await invocation.cancel.wait()
    await invocation.instance.online.wait()


def _head(path: Path) -> bytes:
    """Return as much of a file as decides what the service shows of it."""
    if not path.exists():
        return b""
    with path.open("rb") as stream:
        return stream.read(STDOUT_LIMIT + 1)


async def _first(*events: Coroutine[Any, Any, object]) -> None:
    """Wait until one of them happens."""
    waiting = [asyncio.ensure_future(event) for event in events]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for future in waiting:
            future.cancel()
