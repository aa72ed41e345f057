"""lmm.testing: what its sshd, accounts and networks do, seen by OpenSSH's client and by sockets."""

from __future__ import annotations

import contextlib
import pwd
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml

from lmm.errors import RequestError
from lmm.testing import Account, Sshd, TcpProxy, loopback, processes, refused_port, silent_port


def ssh(server: Sshd, command: str, *, user: str = "", address: str = "127.0.0.1") -> Any:
    argv = ["ssh", "-F", str(server.ssh_config), "-i", str(server.identity_file)]
    argv += ["-o", f"UserKnownHostsFile={server.known_hosts}", "-o", "BatchMode=yes"]
    argv += ["-o", "KexAlgorithms=curve25519-sha256", "-p", str(server.port)]
    argv += [f"{user or server.user}@{address}", command]
    return subprocess.run(argv, capture_output=True, text=True, stdin=subprocess.DEVNULL)


def wait_for_sleepers(count: int, look: Callable[[], set[int]]) -> set[int]:
    """Return the processes that run ``sleep``, once there are as many as wanted."""
    until = time.monotonic() + 20
    while time.monotonic() < until:
        found = {pid for pid in look() if processes.name(pid) == "sleep"}
        if len(found) == count:
            return found
        time.sleep(0.01)
    raise AssertionError(f"not {count} sleepers: {[processes.describe(p) for p in look()]}")


@pytest.mark.parametrize("count", [1, 16, 40])
def test_every_address_reaches_the_server_with_a_known_host_key(count: int) -> None:
    with Sshd(addresses=loopback(count)) as server:
        for address in (server.addresses[0], server.addresses[-1]):
            done = ssh(server, "whoami", address=address)
            assert (done.stdout, done.stderr) == (f"{server.user}\n", "")


def test_a_server_leaves_no_process_and_no_file() -> None:
    with Sshd() as server:
        ssh(server, "setsid sleep 60 >/dev/null 2>&1 & sleep 60 >/dev/null 2>&1 &")
        sleepers = wait_for_sleepers(2, server.session_pids)
        directory = server.directory
    assert not directory.exists()
    assert not [pid for pid in sleepers if processes.is_alive(pid)]


def test_extra_lines_win_and_match_blocks_come_last() -> None:
    with Sshd(config=["MaxSessions 3", "Match all", "  ForceCommand echo forced"]) as server:
        assert ssh(server, "echo free").stdout == "forced\n"


def test_a_server_that_cannot_start_says_why() -> None:
    with pytest.raises(RequestError, match="NoSuchKeyword"), Sshd(config=["NoSuchKeyword yes"]):
        pass


def test_no_sshd_here_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lmm.testing.sshd.PLACES", "")
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(RequestError, match="sshd is not installed here") as caught, Sshd():
        pass
    assert caught.value.reason == "local_dependency_missing"


def test_targets_and_inventory_name_the_same_hosts(sshd: Sshd) -> None:
    document = yaml.safe_load(sshd.inventory(3))
    targets = sshd.targets(3)
    assert list(document["targets"]) == [target.name for target in targets]
    assert document["groups"]["nodes"]["targets"] == [target.name for target in targets]
    assert document["defaults"]["port"] == sshd.port == targets[0].port
    changed = sshd.target("x", settings={"use_agent": True}, user="joe")
    assert (changed.user, changed.ssh.use_agent, changed.ssh.known_hosts) == (
        "joe",
        True,
        targets[0].ssh.known_hosts,
    )


def test_an_account_logs_in_and_is_removed(sshd: Sshd, account: Account) -> None:
    with Account(sudo="nopasswd", bashrc="echo noise\n") as other:
        assert ssh(sshd, "whoami; sudo -n whoami", user=other.name).stdout == (
            f"noise\n{other.name}\nroot\n"
        )
        ssh(sshd, "setsid sleep 60 >/dev/null 2>&1 &", user=other.name)
        assert other.pids()
    assert not other.pids()
    assert not other.home.exists()
    with pytest.raises(KeyError):
        pwd.getpwnam(other.name)
    assert ssh(sshd, "sudo -n true", user=account.name).returncode != 0


@pytest.mark.needs_root
def test_sudo_with_a_password_asks_for_it(sshd: Sshd) -> None:
    with Account(sudo="password", password="b'\"$x") as made:
        assert ssh(sshd, "sudo -n true", user=made.name).returncode != 0
        told = ssh(sshd, "printf '%s\\n' \"b'\\\"\\$x\" | sudo -S whoami", user=made.name)
        assert told.stdout == "root\n"


@contextlib.contextmanager
def echo_server() -> Iterator[int]:
    def answer(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            while data := connection.recv(65536):
                connection.sendall(data)

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                threads.append(threading.Thread(target=answer, args=(listener.accept()[0],)))
                threads[-1].start()

    listener = socket.create_server(("127.0.0.1", 0))
    threads = [threading.Thread(target=serve)]
    threads[0].start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for thread in threads:
            thread.join()


def exchange(port: int, sent: int) -> tuple[int, bool]:
    """Send that many bytes; return how many came back and whether a reset ended it."""
    got, reset = 0, False
    with socket.create_connection(("127.0.0.1", port)) as client:
        feeder = threading.Thread(target=feed, args=(client, sent))
        feeder.start()
        try:
            while data := client.recv(65536):
                got += len(data)
        except ConnectionResetError:
            reset = True
        feeder.join()
    return got, reset


def feed(client: socket.socket, size: int) -> None:
    with contextlib.suppress(OSError):
        client.sendall(bytes(size))
        client.shutdown(socket.SHUT_WR)


@pytest.mark.parametrize(
    ("settings", "came_back"),
    [
        ({}, (300_000, False)),
        ({"delay_s": 0.01}, (300_000, False)),
        ({"cut_down": 100}, (100, False)),
        ({"cut_down": 100_000}, (100_000, False)),
    ],
)
def test_a_proxy_forwards_up_to_the_limit(
    settings: dict[str, Any], came_back: tuple[int, bool]
) -> None:
    sent = settings.get("cut_down", 300_000)
    with echo_server() as port, TcpProxy("127.0.0.1", port, **settings) as proxy:
        assert exchange(proxy.port, sent) == came_back


def test_a_proxy_limits_what_goes_up_and_resets() -> None:
    with echo_server() as port:
        with TcpProxy("127.0.0.1", port, cut_up=100, reset=True) as proxy:
            assert exchange(proxy.port, 500)[1]
        assert proxy.bytes_up == 100


def test_a_frozen_connection_stays_open_and_silent_until_thawed() -> None:
    with (
        echo_server() as port,
        TcpProxy("127.0.0.1", port) as proxy,
        socket.create_connection(("127.0.0.1", proxy.port)) as client,
    ):
        client.sendall(b"a")
        assert client.recv(1) == b"a"
        proxy.freeze()
        client.sendall(b"b")
        client.settimeout(0.2)
        with pytest.raises(TimeoutError):
            client.recv(1)
        proxy.thaw()
        client.settimeout(None)
        assert client.recv(1) == b"b"
        proxy.cut()
        assert client.recv(1) == b""


def test_a_black_hole_accepts_and_never_answers() -> None:
    with (
        TcpProxy("127.0.0.1", 9, black_hole=True) as proxy,
        socket.create_connection(("127.0.0.1", proxy.port), timeout=0.2) as client,
    ):
        client.sendall(b"hello")
        with pytest.raises(TimeoutError):
            client.recv(1)


def test_dead_ports_are_told_apart() -> None:
    with refused_port() as port, pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))
    with silent_port() as port, pytest.raises(TimeoutError):
        socket.create_connection(("127.0.0.1", port), timeout=0.3)


def test_a_marked_process_is_found_after_it_left_its_tree() -> None:
    subprocess.run(["bash", "-c", "LEAK=x setsid sleep 60 >/dev/null 2>&1 &"], check=True)
    found = wait_for_sleepers(1, lambda: processes.marked({"LEAK": "x"}))
    assert not processes.marked({"LEAK": "y"})
    processes.end(found)
    assert not processes.wait_gone(found, 1)
