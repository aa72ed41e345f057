"""FakeAws: the endpoint, its instances and the faults it is to have, from the test's side."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self, TypeVar

from lmm.errors import RequestError
from lmm.testing import processes
from lmm.testing.aws.agent import PATH
from lmm.testing.aws.cloud import CREDENTIALS, REGION, Cloud
from lmm.testing.aws.course import Course
from lmm.testing.aws.faults import Faults
from lmm.testing.aws.records import ENDS, ManagedInstance
from lmm.testing.aws.server import Endpoint
from lmm.testing.aws.service import FakeSystemsManager
from lmm.testing.aws.views import PLATFORM_NAMES

__all__ = ["MARK", "REGION", "FakeAws"]

MARK = "RUNE_TESTING_AWS"
ROLES = ("gpu", "web")
UPLOADS = 4  # at once
TIDY_S = 5.0  # more than the bootstrap's guard takes to kill what ignores TERM
PINGS = ("Online", "ConnectionLost", "Inactive")
T = TypeVar("T")


class FakeAws:
    """An SSM endpoint on 127.0.0.1 with ``instances`` Linux instances; a context manager.

    They are named ``node1``, ``node2``, … (tag ``Name``), their tag ``Role`` is gpu and web in
    turn. ``environment`` is set for every script, ``parameters`` are the parameter store. With
    ``moto`` there are S3, EC2 and STS too (seconds to start), and the instances exist in EC2 with
    the same ids and tags; without it no bucket exists. ``port`` 0 is any.

    Time: an instance takes a command after ``delivery_delay_s``; commands are to be seen
    ``visible_after_s`` after they were sent; a cancel reaches the agent after ``cancel_delay_s``;
    the seconds of TimeoutSeconds and executionTimeout last ``seconds_per_delivery_second`` and
    ``seconds_per_execution_second``. The user guide also says that a command expires only after
    both together: ``total_timeout``. Pages have at most ``page_size`` items.

    ``faults`` plans what is to go wrong; it may be used from any thread, like all of this.

    Every process of every script carries RUNE_TESTING_AWS with ``mark`` in its environment and is
    killed on exit. Raises RequestError (``local_dependency_missing``, ``local_io_error``).
    """

    def __init__(
        self,
        instances: int = 3,
        *,
        environment: Mapping[str, str] | None = None,
        parameters: Mapping[str, str] | None = None,
        moto: bool = False,
        port: int = 0,
        delivery_delay_s: float = 0.0,
        visible_after_s: float = 0.0,
        cancel_delay_s: float = 0.0,
        seconds_per_delivery_second: float = 1.0,
        seconds_per_execution_second: float = 1.0,
        total_timeout: bool = False,
        page_size: int = 50,
    ) -> None:
        self.mark = secrets.token_hex(8)
        self.faults = Faults()
        self._count = instances
        self._environment = {
            "PATH": PATH,
            "LANG": "C.UTF-8",
            **(environment or {}),
            MARK: self.mark,
        }
        self._parameters = dict(parameters or {})
        self._port = port
        self._delivery_delay_s = delivery_delay_s
        self._visible_after_s = visible_after_s
        self._cancel_delay_s = cancel_delay_s
        self._page_size = page_size
        self._course_settings: dict[str, Any] = {
            "seconds_per_delivery_second": seconds_per_delivery_second,
            "seconds_per_execution_second": seconds_per_execution_second,
            "total_timeout": total_timeout,
        }
        self._wants_moto = moto
        self._stack = contextlib.ExitStack()
        self._cloud: Cloud | None = None
        self._service: FakeSystemsManager | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def endpoint_url(self) -> str:
        """Where SSM is."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def environment(self) -> dict[str, str]:
        """The variables that AWS's SDKs need to find it: endpoints, a key and a region."""
        return {
            "AWS_ENDPOINT_URL_SSM": self.endpoint_url,
            "AWS_ENDPOINT_URL_RESOURCE_GROUPS": self.endpoint_url,
            **(self._cloud.environment if self._cloud else {}),
            **CREDENTIALS,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    @property
    def instance_ids(self) -> list[str]:
        """The ids of all instances, in every region, in the order they were added."""
        return list(self._running.instances)

    @property
    def calls(self) -> Counter[str]:
        """How many calls of each operation were received, whatever became of them."""
        return self.faults.calls

    @property
    def cloud(self) -> Cloud:
        """The rest of the account, with ``moto`` only."""
        if self._cloud is None:
            raise RequestError("local_io_error", "there is no moto here: use FakeAws(moto=True)")
        return self._cloud

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End every script, the server and moto, and remove all files."""
        self._stack.close()
        self._service = self._cloud = self._loop = None

    def _end_all(self) -> None:
        """Kill what has outlived the agents, after giving it the time to tidy up by itself."""
        left = processes.wait_gone(processes.marked({MARK: self.mark}), TIDY_S)
        processes.end(left | processes.marked({MARK: self.mark}))

    # Instances

    def add_instance(
        self,
        instance_id: str | None = None,
        *,
        region: str = REGION,
        tags: Mapping[str, str] | None = None,
        hybrid: bool = False,
        platform: str = "Linux",
        ping: str = "Online",
        delivery_delay_s: float | None = None,
        end: str | None = None,
        delayed: bool = False,
    ) -> str:
        """Add an instance and return its id, ``i-…`` or, if ``hybrid``, ``mi-…``.

        ``platform`` is Linux, Windows or MacOS, ``ping`` Online, ConnectionLost or Inactive.
        ``end`` is the StatusDetails in which every command to it ends without being run:
        Undeliverable, AccessDenied, Terminated, … With ``delayed`` its commands are Delayed, not
        Pending, while it cannot be reached. With moto the ids of ``i-…`` instances are EC2's.
        """
        _check("platform", platform, PLATFORM_NAMES)
        _check("ping", ping, PINGS)
        if end is not None:
            _check("end", end, ENDS)
        tags = dict(tags or {})
        if instance_id is None and self._cloud and not hybrid:
            (instance_id,) = self._cloud.run_instances(region, 1)
            self._cloud.tag(region, instance_id, tags)
        prefix = "mi" if hybrid else "i"
        made = ManagedInstance(
            id=instance_id or f"{prefix}-{len(self._running.instances) + 1:017x}",
            region=region,
            tags=tags,
            platform=platform,
            ping=ping,
            delivery_delay_s=(
                self._delivery_delay_s if delivery_delay_s is None else delivery_delay_s
            ),
            end=end,
            delayed=delayed,
        )
        self._do(lambda: self._add(made))
        return made.id

    def set_ping(self, instance_id: str, ping: str) -> None:
        """Bring an instance back (Online) or take it away, also while it runs something."""

        _check("ping", ping, PINGS)

        def change() -> None:
            instance = self._running.instances[instance_id]
            instance.ping = ping
            _connect(instance)

        self._do(change)

    def reboots(self, instance_id: str) -> int:
        """Return how often a script has rebooted an instance, by exit code 194."""
        return self._running.instances[instance_id].reboots

    def add_group(self, name: str, tags: Mapping[str, str]) -> None:
        """Make a resource group, in every region, of the instances that have all these tags."""
        wanted = tags.items()
        self._do(
            lambda: self._running.groups.update(
                {name: lambda instance: wanted <= instance.tags.items()}
            )
        )

    # The thread that all of it runs in

    @property
    def _running(self) -> FakeSystemsManager:
        if self._service is None:
            raise RequestError("local_io_error", "the endpoint is not running: use it with `with`")
        return self._service

    def _start(self) -> None:
        directory = Path(tempfile.mkdtemp(prefix="rune-aws-"))
        self._stack.callback(shutil.rmtree, directory, ignore_errors=True)
        if self._wants_moto:
            self._cloud = self._stack.enter_context(Cloud())
        self._stack.callback(self._end_all)
        started: Future[
            tuple[FakeSystemsManager, int, asyncio.AbstractEventLoop, asyncio.Event]
        ] = Future()

        def run() -> None:
            try:
                asyncio.run(self._serve(directory, started))
            except BaseException as error:
                if started.done():
                    raise
                started.set_exception(error)

        thread = threading.Thread(target=run, name="FakeAws")
        thread.start()
        self._stack.callback(thread.join)
        self._service, self._port, self._loop, closing = started.result()
        self._stack.callback(self._loop.call_soon_threadsafe, closing.set)
        self._populate()

    async def _serve(self, directory: Path, started: Future[Any]) -> None:
        await _start_threads()
        upload = self._cloud.upload if self._cloud else _nowhere
        course = Course(directory, self._environment, upload, **self._course_settings)
        service = FakeSystemsManager(
            course,
            self._parameters,
            visible_after_s=self._visible_after_s,
            cancel_delay_s=self._cancel_delay_s,
            page_size=self._page_size,
        )
        endpoint = Endpoint(service.operations, self.faults)
        closing = asyncio.Event()
        try:
            port = await endpoint.open(self._port)
        except OSError as error:
            raise RequestError(
                "local_io_error",
                f"port {self._port} of 127.0.0.1: {os.strerror(error.errno or 0)}; choose another,"
                " or 0 for any that is free",
            ) from None
        started.set_result((service, port, asyncio.get_running_loop(), closing))
        await closing.wait()
        await endpoint.close()
        await course.close()

    def _populate(self) -> None:
        ids: list[str | None] = [None] * self._count
        if self._cloud and ids:
            ids = list(self._cloud.run_instances(REGION, self._count))
        for number, instance_id in enumerate(ids):
            tags = {"Name": f"node{number + 1}", "Role": ROLES[number % len(ROLES)]}
            if self._cloud and instance_id:
                self._cloud.tag(REGION, instance_id, tags)
            self.add_instance(instance_id, tags=tags)

    def _add(self, instance: ManagedInstance) -> None:
        self._running.instances[instance.id] = instance
        _connect(instance)

    def _do(self, change: Callable[[], T]) -> T:
        """Change what the service knows, in the thread that it runs in."""
        assert self._loop is not None

        async def carry_out() -> T:
            return change()

        return asyncio.run_coroutine_threadsafe(carry_out(), self._loop).result()


def _check(name: str, value: str, allowed: Collection[str]) -> None:
    if value not in allowed:
        raise ValueError(f"{name}: {value!r} is none of {', '.join(allowed)}")


async def _start_threads() -> None:
    """Start all threads that will ever upload, so that none appears while a test runs."""
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(UPLOADS, "FakeAws-upload"))
    together = threading.Barrier(UPLOADS)
    await asyncio.gather(*(asyncio.to_thread(together.wait) for _ in range(UPLOADS)))


def _connect(instance: ManagedInstance) -> None:
    if instance.ping == "Online":
        instance.online.set()
    else:
        instance.online.clear()


async def _nowhere(region: str, bucket: str, key: str, path: Path) -> None:
    """Upload to a bucket that does not exist: the agent logs it and goes on."""
