"""A server at a Unix socket that talks to one client."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def peer_at(path: str, serve: Callable[[socket.socket], None]) -> Iterator[None]:
    """Have a function talk to a client at a socket, and stay on the line until it leaves."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(1)

        def talk() -> None:
            with listener.accept()[0] as peer, contextlib.suppress(ConnectionError):
                serve(peer)
                while peer.recv(4096):
                    pass

        thread = threading.Thread(target=talk)
        thread.start()
        try:
            yield
        finally:
            thread.join()
