"""Every way that a connection can fail is told apart, on real servers and real sockets."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from lmm import filelock
from lmm.model import Outcome, Target
from lmm.testing import Sshd, TcpProxy

from .ssh_client import Client, free_port, told, with_ssh

# -- before the script -------------------------------------------------------------------------


def test_refused(client: Client, target: Target) -> None:
    result = client.one(replace(target, port=free_port()))
    assert told(result) == ("unreachable", "connection_refused")
    assert result.attempt == 1


def test_name_that_does_not_resolve(client: Client, target: Target) -> None:
    found = told(client.one(replace(target, host="no-such-host.invalid")))
    assert found in (("unreachable", "dns_failure"), ("unreachable", "temporary_dns_failure"))


def test_no_route(client: Client, target: Target) -> None:
    # a broadcast address without permission to use it: refused by this machine's own kernel
    found = told(client.one(replace(target, host="255.255.255.255")))
    assert found == ("unreachable", "no_route")


def test_host_that_never_accepts(client: Client, target: Target) -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", port))
        found = told(client.one(replace(target, port=port)))
        for one in waiting:
            one.close()
    assert found == ("unreachable", "connect_timeout")


def test_host_that_never_speaks(client: Client, target: Target, sshd: Sshd) -> None:
    with TcpProxy("127.0.0.1", sshd.port, black_hole=True) as proxy:
        found = told(client.one(replace(target, port=proxy.port)))
    # ssh itself counts the banner among connecting
    assert found in (("unreachable", "banner_timeout"), ("unreachable", "connect_timeout"))


def test_server_that_speaks_something_else(client: Client, target: Target) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        stop = threading.Event()

        def serve() -> None:
            server.settimeout(0.1)
            while not stop.is_set():
                try:
                    peer, _ = server.accept()
                except TimeoutError:
                    continue
                with peer:
                    peer.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 40)

        thread = threading.Thread(target=serve)
        thread.start()
        result = client.one(with_ssh(replace(target, port=server.getsockname()[1])))
        stop.set()
        thread.join()
    assert result.outcome is Outcome.UNREACHABLE


@pytest.mark.parametrize("after", [0, 30, 700, 1500])
def test_cut_while_connecting_is_tried_again(
    client: Client, target: Target, sshd: Sshd, tmp_path: Path, after: int
) -> None:
    with TcpProxy("127.0.0.1", sshd.port, cut_down=after, reset=True) as proxy:
        known = tmp_path / "known_hosts"
        known.write_text(f"[127.0.0.1]:{proxy.port} {sshd.host_key}\n")
        through = with_ssh(
            replace(target, port=proxy.port),
            known_hosts=(str(known),),
            connect_attempts=2,
            banner_timeout_s=4.0,
        )
        result = client.one(through)
        assert told(result) == ("unreachable", "connection_reset")
        assert result.attempt == proxy.connections
        # without a greeting it may be a refusal under load, which is waited out for a time
        assert result.attempt > 2 if after < 40 else result.attempt == 2


def test_one_attempt_is_one_attempt(client: Client, target: Target, sshd: Sshd) -> None:
    with TcpProxy("127.0.0.1", sshd.port, cut_down=0) as proxy:
        result = client.one(with_ssh(replace(target, port=proxy.port), connect_attempts=1))
        assert told(result) == ("unreachable", "connection_reset")
        if target.transport == "ssh":
            assert "SSH protocol banner: it hung up" in result.message
        assert result.attempt == proxy.connections == 1


def test_connection_that_comes_up_at_the_second_try(
    client: Client, target: Target, sshd: Sshd, tmp_path: Path
) -> None:
    with TcpProxy("127.0.0.1", sshd.port, cut_down=10) as proxy:
        known = tmp_path / "known_hosts"
        known.write_text(f"[127.0.0.1]:{proxy.port} {sshd.host_key}\n")

        def mend() -> None:
            while proxy.bytes_down < 10:
                time.sleep(0.005)
            proxy.cut_down = None

        mender = threading.Thread(target=mend)
        mender.start()
        through = with_ssh(replace(target, port=proxy.port), known_hosts=(str(known),))
        result = client.one(through)
        mender.join()
    assert result.outcome is Outcome.OK, result.error
    assert result.attempt >= 2


def test_max_startups_refusals_are_waited_out(client: Client, target: Target) -> None:
    with Sshd(max_startups="3:60:6") as busy:
        hosts = [busy.target(f"node{i}", transport=target.transport) for i in range(20)]
        results = client.run(*hosts, timeout_s=60)
        client.pool.close()
    assert [r.outcome for r in results] == [Outcome.OK] * 20


def test_channel_denied(client: Client, target: Target) -> None:
    with Sshd(max_sessions=0) as closed:
        denied = closed.target("x", transport=target.transport, settings={"connect_attempts": 1})
        assert told(client.one(denied)) == ("unreachable", "channel_denied")
        client.pool.close()


# -- trust -------------------------------------------------------------------------------------


def test_unknown_host_key(client: Client, target: Target, tmp_path: Path) -> None:
    empty = tmp_path / "known_hosts"
    empty.touch()
    result = client.one(with_ssh(target, known_hosts=(str(empty),)))
    assert told(result) == ("unreachable", "host_key_unknown")
    if target.transport == "ssh":  # ssh itself, told to be strict, shows no fingerprint
        assert "SHA256:" in str(result.error)
    assert not empty.read_text()


def test_accept_new_remembers_the_key(client: Client, target: Target, tmp_path: Path) -> None:
    known = tmp_path / "known_hosts"
    trusting = with_ssh(target, known_hosts=(str(known),), host_key_policy="accept-new")
    assert client.one(trusting).outcome is Outcome.OK
    assert "ssh-ed25519" in known.read_text()
    client.pool.close()
    strict = with_ssh(target, known_hosts=(str(known),))
    assert client.one(strict).outcome is Outcome.OK


def test_known_hosts_that_somebody_keeps_locked(
    client: Client, target: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who can read it can do so. ssh itself locks nothing."""
    monkeypatch.setattr(filelock, "PATIENCE_S", 0.2)
    known = tmp_path / "known_hosts"
    known.touch()
    trusting = with_ssh(target, known_hosts=(str(known),), host_key_policy="accept-new")
    with known.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        result = client.one(trusting)
        if target.transport == "openssh":
            assert result.ok, result.error
            return
        assert told(result) == ("unreachable", "local_io_error")
        assert "another process keeps it locked" in str(result.error)
        monkeypatch.setattr(filelock, "PATIENCE_S", 60.0)
        timer = threading.Timer(0.3, client.scope.cancel)
        timer.start()
        result = client.one(trusting)
        timer.join()
        assert result.outcome is Outcome.CANCELLED
        assert result.duration_s < 10.0


def test_a_pipe_as_known_hosts_or_key_stops_nobody(
    client: Client, sshd: Sshd, tmp_path: Path
) -> None:
    target = sshd.target("good", transport="ssh")
    os.mkfifo(tmp_path / "pipe")
    config = tmp_path / "config"
    config.write_text(f"Host *\n UserKnownHostsFile {tmp_path}/pipe\n")
    known = with_ssh(target, known_hosts=(), config_file=str(config))
    key = with_ssh(target, identity_files=(str(tmp_path / "pipe"),))
    results = client.run(replace(known, name="known"), replace(key, name="key"), target)
    found = {one.target: one for one in results}
    assert told(found["known"]) == ("unreachable", "host_key_unknown")
    assert told(found["key"]) == ("unreachable", "key_unusable")
    assert found["good"].outcome is Outcome.OK


@pytest.mark.parametrize("policy", ["strict", "accept-new"])
def test_changed_host_key(
    client: Client, target: Target, tmp_path: Path, sshd: Sshd, policy: str
) -> None:
    with Sshd() as other:
        known = tmp_path / "known_hosts"
        known.write_text(f"[127.0.0.1]:{sshd.port} {other.host_key}\n")
    changed = with_ssh(target, known_hosts=(str(known),), host_key_policy=policy)
    assert told(client.one(changed)) == ("unreachable", "host_key_changed")


def test_revoked_host_key(client: Client, target: Target, tmp_path: Path, sshd: Sshd) -> None:
    known = tmp_path / "known_hosts"
    line = f"[127.0.0.1]:{sshd.port} {sshd.host_key}\n"
    known.write_text(line + "@revoked * " + sshd.host_key + "\n")
    result = client.one(with_ssh(target, known_hosts=(str(known),)))
    assert told(result) == ("unreachable", "host_key_revoked")


# -- while it runs -----------------------------------------------------------------------------


def test_connections_are_kept(client: Client, sshd: Sshd) -> None:
    with Sshd() as server:
        target = server.target("x")
        for _ in range(4):
            assert client.one(target).outcome is Outcome.OK
        assert server.log.count("Accepted publickey") == 1
        client.pool.close()


def test_a_kept_connection_that_died_is_replaced(client: Client, target: Target) -> None:
    with Sshd() as server, TcpProxy("127.0.0.1", server.port) as proxy:
        known = Path(os.environ["TMPDIR"]) / "known_hosts"
        known.write_text(f"[127.0.0.1]:{proxy.port} {server.host_key}\n")
        through = server.target("x", transport=target.transport, port=proxy.port)
        through = with_ssh(through, known_hosts=(str(known),))
        assert client.one(through).outcome is Outcome.OK
        proxy.cut()
        assert client.one(through).outcome is Outcome.OK
        client.pool.close()
        known.unlink()


def test_silent_host_is_lost_after_the_grace(
    client: Client, target: Target, sshd: Sshd, tmp_path: Path
) -> None:
    with TcpProxy("127.0.0.1", sshd.port) as proxy:
        known = tmp_path / "known_hosts"
        known.write_text(f"[127.0.0.1]:{proxy.port} {sshd.host_key}\n")
        through = with_ssh(replace(target, port=proxy.port), known_hosts=(str(known),))
        running = tmp_path / "running"

        def freeze() -> None:
            while not running.exists():
                time.sleep(0.01)
            proxy.freeze()

        freezer = threading.Thread(target=freeze)
        freezer.start()
        script = f"touch {running}; sleep 30"
        result = client.one(through, script=script, timeout_s=1)
        freezer.join()
        proxy.cut()
        client.pool.close()
    assert told(result) == ("lost", "host_silent")


def test_a_dead_host_delays_only_its_own_result(client: Client, target: Target, sshd: Sshd) -> None:
    with TcpProxy("127.0.0.1", sshd.port, black_hole=True) as proxy:
        slow = {"banner_timeout_s": 6.0, "connect_timeout_s": 6.0, "connect_attempts": 1}
        dead = with_ssh(replace(target, name="dead", port=proxy.port), **slow)
        alive = [sshd.target(f"node{i}", transport=target.transport) for i in range(8)]
        results = client.run(dead, *alive)
        order = [result.target for result in results]
    assert order[-1] == "dead"
    assert {r.outcome for r in results if r.target != "dead"} == {Outcome.OK}


def test_cancel_while_connecting(client: Client, target: Target, sshd: Sshd) -> None:
    with TcpProxy("127.0.0.1", sshd.port, black_hole=True) as proxy:
        slow = with_ssh(
            replace(target, port=proxy.port), banner_timeout_s=60.0, connect_timeout_s=60.0
        )

        def cancel() -> None:
            while not proxy.connections:
                time.sleep(0.01)
            client.scope.cancel()

        canceller = threading.Thread(target=cancel)
        canceller.start()
        result = client.one(slow)
        canceller.join()
    assert told(result) == ("cancelled", "cancelled")
    assert result.duration_s < 20


@pytest.fixture
def silent_agent() -> Iterator[threading.Event]:
    """An agent that takes questions and answers none; the event is set once one has come."""
    asked, path = threading.Event(), Path(os.environ["TMPDIR"], "agent")

    def listen() -> None:
        with contextlib.ExitStack() as stack:
            while True:
                peer = stack.enter_context(listener.accept()[0])
                if not peer.recv(1):
                    return
                asked.set()

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        thread = threading.Thread(target=listen)
        thread.start()
        os.environ["SSH_AUTH_SOCK"] = str(path)
        yield asked
        with socket.socket(socket.AF_UNIX) as last:
            last.connect(str(path))
        thread.join()
    path.unlink()


def test_an_agent_that_stays_silent(
    client: Client, target: Target, silent_agent: threading.Event
) -> None:
    keyless = with_ssh(target, identity_files=(), use_agent=True, connect_attempts=1)
    found = told(client.one(with_ssh(keyless, auth_timeout_s=1.0, banner_timeout_s=5.0)))
    assert found == ("unreachable", "auth_timeout")
    assert silent_agent.is_set()


def test_cancel_while_an_agent_stays_silent(
    client: Client, target: Target, silent_agent: threading.Event
) -> None:
    def cancel() -> None:
        silent_agent.wait()
        client.scope.cancel()

    canceller = threading.Thread(target=cancel)
    canceller.start()
    keyless = with_ssh(target, identity_files=(), use_agent=True, auth_timeout_s=600.0)
    result = client.one(keyless)
    canceller.join()
    assert told(result) == ("cancelled", "cancelled")
    assert result.duration_s < 60
