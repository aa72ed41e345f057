"""Networks that misbehave: a TCP proxy that cuts, delays, freezes and resets, and dead ports."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Self

CHUNK = 65536


class _Cut(Exception):
    """The byte limit of a connection is reached."""


class TcpProxy:
    """Forwards TCP connections to ``host:port`` and breaks them as told; a context manager.

    ``cut_up`` and ``cut_down`` end a connection after that many bytes towards and from the
    server. ``reset`` makes every cut a TCP reset instead of an orderly end. ``delay_s`` holds
    back each chunk, in each direction. ``black_hole`` accepts, then neither reads nor answers.
    These attributes may be changed while it runs and hold for connections to come; ``freeze``,
    ``thaw`` and ``cut`` act on those that exist.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        listen: str = "127.0.0.1",
        cut_up: int | None = None,
        cut_down: int | None = None,
        reset: bool = False,
        delay_s: float = 0.0,
        black_hole: bool = False,
    ) -> None:
        self.upstream = (host, port)
        self.address = listen
        self.port = 0
        self.cut_up = cut_up
        self.cut_down = cut_down
        self.reset = reset
        self.delay_s = delay_s
        self.black_hole = black_hole
        self.connections = 0
        self.bytes_up = 0
        self.bytes_down = 0
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._thread = threading.Thread(target=self._loop.run_forever, name="TcpProxy")

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._open(), self._loop).result()
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def freeze(self) -> None:
        """Forward nothing more, in either direction, but keep every connection open."""
        self._call(self._flowing.clear)

    def thaw(self) -> None:
        """Forward again, beginning with what ``freeze`` held back."""
        self._call(self._flowing.set)

    def cut(self, *, reset: bool | None = None) -> None:
        """End every connection now, by a TCP reset if ``reset`` (default: the attribute)."""
        hard = self.reset if reset is None else reset
        self._call(lambda: self._end(list(self._writers), hard))

    def _call(self, action: Callable[[], None]) -> None:
        async def act() -> None:
            action()

        asyncio.run_coroutine_threadsafe(act(), self._loop).result()

    async def _open(self) -> None:
        self._server = await asyncio.start_server(self._serve, self.address, 0, limit=CHUNK)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        self._server.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # the aborted transports close their sockets in this round

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        writers = [writer]
        self._writers.add(writer)
        reset = self.reset
        try:
            if self.black_hole:
                await asyncio.Event().wait()
            up_reader, up_writer = await asyncio.open_connection(*self.upstream, limit=CHUNK)
            writers.append(up_writer)
            self._writers.add(up_writer)
            for one in writers:
                one.transport.set_write_buffer_limits(0)  # drain means: the kernel has it all
            async with asyncio.TaskGroup() as pumps:
                pumps.create_task(self._pump(reader, up_writer, self.cut_up, self._count_up))
                pumps.create_task(self._pump(up_reader, writer, self.cut_down, self._count_down))
        except* (_Cut, OSError):
            self._end(writers, reset)
        except* asyncio.CancelledError:
            pass
        finally:
            self._end(writers, False)
            self._tasks.discard(task)

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        limit: int | None,
        count: Callable[[int], None],
    ) -> None:
        delay_s = self.delay_s
        passed = 0
        while True:
            await self._flowing.wait()
            data = await reader.read(CHUNK)
            await asyncio.sleep(delay_s)
            await self._flowing.wait()
            if not data:
                writer.write_eof()
                return
            if limit is not None:
                data = data[: limit - passed]
            writer.write(data)
            await writer.drain()
            passed += len(data)
            count(len(data))
            if passed == limit:
                raise _Cut

    def _count_up(self, size: int) -> None:
        self.bytes_up += size

    def _count_down(self, size: int) -> None:
        self.bytes_down += size

    def _end(self, writers: list[asyncio.StreamWriter], reset: bool) -> None:
        for writer in writers:
            if reset:
                raw: socket.socket = writer.get_extra_info("socket")
                with contextlib.suppress(OSError):  # it may be closed already
                    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
            self._writers.discard(writer)


@contextlib.contextmanager
def refused_port(address: str = "127.0.0.1") -> Iterator[int]:
    """Yield a port on which every connection is refused: bound, so that nobody else takes it."""
    with socket.socket() as bound:
        bound.bind((address, 0))
        yield bound.getsockname()[1]


@contextlib.contextmanager
def silent_port(address: str = "127.0.0.1") -> Iterator[int]:
    """Yield a port that answers no connection attempt: its queue is full and never emptied."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind((address, 0))
        listener.listen(0)
        for _ in range(3):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]
