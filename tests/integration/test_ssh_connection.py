"""The ssh transport's own connections: read without a thread, on real servers."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import paramiko
import pytest

from lmm.errors import Unreachable
from lmm.model import Target
from lmm.ssh.config import resolve
from lmm.ssh.connect import connect
from lmm.ssh.connection import LOST, Connection
from lmm.ssh.keys import Credentials
from lmm.testing import Sshd, TcpProxy

MEBIBYTE = 1024 * 1024


@contextlib.contextmanager
def connected(target: Target) -> Iterator[Connection]:
    connection = connect(Connection, resolve(target), Credentials(), lambda action: None)
    try:
        yield connection
    finally:
        connection.close()


def answer(connection: Connection, command: str, stdin: bytes = b"") -> bytes:
    """Run a command; return what it wrote to stdout."""
    session = connection.start_session()
    session.execute(command)
    found = b""
    until = time.monotonic() + 30
    while not session.eof_received:
        assert time.monotonic() < until
        connection.read(0.0 if stdin and session.room else 0.1)
        found += session.take()[0]
        if stdin:
            stdin = stdin[session.send(stdin) :]
            if not stdin:
                session.send_eof()
    session.close()
    return found


def test_no_thread_is_started(sshd: Sshd) -> None:
    before = set(threading.enumerate())
    with connected(sshd.target("x")) as connection:
        assert answer(connection, "echo hello") == b"hello\n"
        assert set(threading.enumerate()) == before


def test_what_is_used_of_paramikos_inside_is_there(sshd: Sshd) -> None:
    with connected(sshd.target("x")) as connection:
        missing = [name for name in Connection.__annotations__ if not hasattr(connection, name)]
    assert missing == []


def test_much_goes_both_ways_at_once(sshd: Sshd) -> None:
    data = bytes(range(256)) * (4 * MEBIBYTE // 256)
    with connected(sshd.target("x")) as connection:
        assert answer(connection, "cat", data) == data


def test_the_server_changes_keys_midway() -> None:
    data = b"0123456789abcdef" * (2 * MEBIBYTE // 16)
    with Sshd(config=["RekeyLimit 256K", "LogLevel DEBUG1"]) as server:
        with connected(server.target("x")) as connection:
            first = connection.session_id
            assert answer(connection, "cat", data) == data
            assert answer(connection, "echo again") == b"again\n"
            assert connection.session_id == first
        assert server.log.count("SSH2_MSG_KEXINIT received") > 3


def test_the_client_changes_keys_midway() -> None:
    data = b"0123456789abcdef" * (2 * MEBIBYTE // 16)
    with Sshd(config=["LogLevel DEBUG1"]) as server:
        with connected(server.target("x")) as connection:
            connection.packetizer.REKEY_BYTES = 256 * 1024
            assert answer(connection, "cat", data) == data
        assert server.log.count("SSH2_MSG_KEXINIT received") > 3


def test_a_silent_connection_is_kept_alive() -> None:
    with (
        Sshd(config=["LogLevel DEBUG1"]) as server,
        connected(server.target("x", settings={"keepalive_s": 1.0})) as connection,
    ):
        session = connection.start_session()
        session.execute("sleep 20")
        until = time.monotonic() + 15
        while "keepalive@openssh.com" not in server.log:
            assert time.monotonic() < until
            connection.read(0.1)
        session.close()
        assert answer(connection, "echo hello") == b"hello\n"


@pytest.mark.parametrize("cipher", ["aes128-gcm@openssh.com", "aes256-ctr"])
def test_ciphers(cipher: str) -> None:
    with Sshd(config=[f"Ciphers {cipher}"]) as server, connected(server.target("x")) as connection:
        assert connection.local_cipher == cipher
        assert answer(connection, "echo hello") == b"hello\n"


@pytest.mark.parametrize("line", ["Ciphers aes128-cbc", "MACs hmac-md5\nCiphers aes128-ctr"])
def test_weak_algorithms_are_not_offered(line: str) -> None:
    with (
        Sshd(config=line.split("\n")) as server,
        pytest.raises(Unreachable) as caught,
        connected(server.target("x")),
    ):
        pass
    assert caught.value.reason == "key_exchange_failed"


def test_a_proxy_command(sshd: Sshd, tmp_path: Path) -> None:
    relay = tmp_path / "relay.py"
    relay.write_text(
        "import os, select, socket, sys\n"
        "far = socket.create_connection((sys.argv[1], int(sys.argv[2])))\n"
        "while True:\n"
        "    for one in select.select([0, far], [], [])[0]:\n"
        "        data = os.read(0, 65536) if one == 0 else far.recv(65536)\n"
        "        if not data: sys.exit()\n"
        "        far.sendall(data) if one == 0 else os.write(1, data)\n"
    )
    config = tmp_path / "config"
    config.write_text(f"Host *\n ProxyCommand {sys.executable} {relay} %h %p\n")
    with connected(sshd.target("x", settings={"config_file": str(config)})) as connection:
        process = getattr(connection.sock, "process")  # noqa: B009 - a plain socket has none
        assert answer(connection, "cat", b"x" * MEBIBYTE) == b"x" * MEBIBYTE
        assert process.poll() is None
    assert process.returncode is not None


def test_a_proxy_command_that_cannot_connect(sshd: Sshd, tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text("Host *\n ProxyCommand exit 1\n")
    with (
        pytest.raises(Unreachable) as caught,
        connected(sshd.target("x", settings={"config_file": str(config)})),
    ):
        pass
    assert caught.value.reason == "connection_reset"


def test_a_host_that_stops_in_the_middle(sshd: Sshd, tmp_path: Path) -> None:
    with TcpProxy("127.0.0.1", sshd.port) as proxy:
        known = tmp_path / "known_hosts"
        known.write_text(f"[127.0.0.1]:{proxy.port} {sshd.host_key}\n")
        target = replace(sshd.target("x", settings={"known_hosts": (str(known),)}), port=proxy.port)
        with connected(target) as connection:
            session = connection.start_session()
            proxy.freeze()
            session.execute("echo hello")
            with pytest.raises(TimeoutError):
                connection.read_until(lambda: session.eof_received, 0.5)
            assert not connection.is_active()
            with pytest.raises(LOST):
                connection.start_session()
            proxy.cut()


@pytest.mark.parametrize("start", [b"", b"SSH-2.0-drip\r\n\0\0\x80\x04"])
def test_a_host_that_drips(sshd: Sshd, start: bytes) -> None:
    """Bytes that come one by one, and never make a line or a packet, do not put off the end."""
    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def drip() -> None:
            peer, _ = listener.accept()
            with peer, contextlib.suppress(OSError):
                peer.sendall(start)
                while not ended.wait(0.05):
                    peer.sendall(b"\0")

        thread = threading.Thread(target=drip)
        thread.start()
        target = sshd.target("x", settings={"banner_timeout_s": 1.0})
        with (
            pytest.raises(Unreachable) as caught,
            connected(replace(target, port=listener.getsockname()[1])),
        ):
            pass
        ended.set()
        thread.join()
    assert caught.value.reason == "banner_timeout"


class Refusing(paramiko.ServerInterface):
    """A server that lets everybody in and, as paramiko's default, executes nothing."""

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        return paramiko.common.AUTH_SUCCESSFUL

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return paramiko.common.OPEN_SUCCEEDED


@contextlib.contextmanager
def serving() -> Iterator[int]:
    """Serve one connection by paramiko, with a host key that nobody knows; yield the port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        made: list[paramiko.Transport] = []

        def serve() -> None:
            peer, _ = listener.accept()
            transport = paramiko.Transport(peer)
            transport.add_server_key(paramiko.ECDSAKey.generate())
            made.append(transport)
            transport.start_server(server=Refusing(), event=threading.Event())

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        thread.join()
        for transport in made:
            transport.close()


def test_a_host_that_refuses_to_execute(sshd: Sshd, tmp_path: Path) -> None:
    with serving() as port:
        known = tmp_path / "known_hosts"
        trusting = {"known_hosts": (str(known),), "host_key_policy": "accept-new"}
        target = replace(sshd.target("x", settings=trusting), port=port)
        with connected(target) as connection:
            session = connection.start_session()
            session.execute("true")
            connection.read_until(lambda: session.granted is not None, 10)
            assert session.granted is False
            session.close()
            assert connection.is_active()


def test_invoke_is_loaded_only_when_it_is_used() -> None:
    lines = [
        "import sys, lmm.transports.ssh",
        "assert 'invoke.tasks' not in sys.modules",
        "assert 'asyncio' not in sys.modules",
        "import invoke",
        "assert invoke.run('echo hello', hide=True).stdout == 'hello\\n'",
        "assert not hasattr(invoke, 'nonsense')",
        "import paramiko.config",
        "assert paramiko.config.invoke is invoke",
    ]
    subprocess.run([sys.executable, "-c", "\n".join(lines)], check=True)
