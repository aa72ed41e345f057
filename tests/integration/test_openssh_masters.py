"""Connections that outlive the command: kept, found again, replaced when they are dead, ended."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from lmm.model import Outcome, Result, SshSettings, Target
from lmm.scope import Scope
from lmm.ssh import masters, mux_client
from lmm.testing import Sshd, carry, processes
from lmm.transports import TransportPool, disconnect, with_transport
from tests.support.invocations import invocation
from tests.support.waiting import comes_true

LOGIN = "Accepted publickey for "
DONE = 'echo \'{"payload":{"result":"success","output_data":{}}}\'\n'
PATIENCE_S = 20.0

Run = Callable[..., list[Result]]


@pytest.fixture
def pool() -> Iterator[TransportPool]:
    made = TransportPool()
    yield made
    made.close()
    disconnect()


@pytest.fixture
def run(pool: TransportPool) -> Run:
    """Run a script on targets, all at once, and return the results."""

    def run_all(*targets: Target, script: str = DONE, scope: Scope | None = None) -> list[Result]:
        jobs = [invocation(target, script) for target in targets]
        return carry(jobs, pool.get, scope=scope, concurrency=len(targets))

    return run_all


@pytest.fixture
def target(sshd: Sshd) -> Target:
    return sshd.target("h", transport="openssh")


def sockets() -> list[str]:
    return sorted(str(path) for path in masters.directory().iterdir() if path.is_socket())


def master() -> int:
    (socket,) = sockets()
    return mux_client.pid_of(socket)


# -- kept --------------------------------------------------------------------------------------


def test_the_second_script_starts_no_process_and_logs_in_nowhere(
    sshd: Sshd, run: Run, target: Target, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before = sshd.log.count(LOGIN)
    assert run(target)[0].ok
    monkeypatch.setenv("PATH", str(tmp_path))  # where there is no ssh to start
    (result,) = run(target)
    assert result.ok, result.error
    assert sshd.log.count(LOGIN) - before == 1


def test_closing_leaves_the_connection_to_the_next(
    sshd: Sshd, pool: TransportPool, run: Run, target: Target
) -> None:
    before = sshd.log.count(LOGIN)
    assert run(target)[0].ok
    first = master()
    pool.close()
    assert run(target)[0].ok
    assert master() == first
    assert sshd.log.count(LOGIN) - before == 1
    assert stat.S_IMODE(masters.directory().stat().st_mode) == 0o700
    assert stat.S_IMODE(os.stat(sockets()[0]).st_mode) == 0o600


def test_other_settings_make_another_connection_and_timeouts_do_not(
    sshd: Sshd, run: Run, target: Target
) -> None:
    assert run(target)[0].ok
    patient = replace(target.ssh, connect_timeout_s=3.0, auth_timeout_s=7.0)
    assert run(replace(target, ssh=patient))[0].ok
    assert len(sockets()) == 1
    assert run(replace(target, ssh=replace(target.ssh, keepalive_s=7.0)))[0].ok
    assert len(sockets()) == 2


def test_nothing_is_kept_where_that_is_the_setting(sshd: Sshd, run: Run, target: Target) -> None:
    before = sshd.log.count(LOGIN)
    alone = replace(target, ssh=replace(target.ssh, persist_s=0.0))
    assert run(alone)[0].ok
    assert run(alone)[0].ok
    assert sockets() == []
    assert sshd.log.count(LOGIN) - before == 2


def test_an_idle_connection_ends_by_itself(sshd: Sshd, run: Run, target: Target) -> None:
    assert run(replace(target, ssh=replace(target.ssh, persist_s=1.0)))[0].ok
    pid = master()
    assert comes_true(lambda: not sockets())
    assert comes_true(lambda: not processes.is_alive(pid))


def test_a_changed_ssh_config_makes_another_connection(
    sshd: Sshd, run: Run, target: Target, tmp_path: Path
) -> None:
    config = tmp_path / "config"
    config.write_text("Host *\n  Compression no\n")
    changed = replace(target, ssh=replace(target.ssh, config_file=str(config)))
    assert run(changed)[0].ok
    config.write_text("Host *\n  Compression yes\n")
    assert run(changed)[0].ok
    assert len(sockets()) == 2


def test_more_scripts_than_the_server_allows_sessions_get_connections_of_their_own(
    run: Run,
) -> None:
    with Sshd(max_sessions=1) as server:
        target = server.target("one", transport="openssh")
        assert run(target)[0].ok
        same = [replace(target, name=f"n{number}") for number in range(3)]
        results = run(*same, script="sleep 0.5\n" + DONE)
        assert [result.outcome for result in results] == [Outcome.OK] * 3
        assert server.log.count(LOGIN) in (3, 4)  # 4 where all are before the first one's end
        assert len(sockets()) == 1


# -- dead or half dead -------------------------------------------------------------------------


def test_the_socket_of_a_master_that_was_killed_is_in_nobodys_way(run: Run, target: Target) -> None:
    assert run(target)[0].ok
    first = master()
    os.kill(first, signal.SIGKILL)
    assert comes_true(lambda: not processes.is_alive(first))
    assert len(sockets()) == 1
    assert run(target)[0].ok
    assert master() != first


def test_a_master_that_does_not_answer_is_replaced(
    run: Run, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mux_client, "ANSWER_S", 0.3)
    assert run(target)[0].ok
    first = master()
    os.kill(first, signal.SIGSTOP)
    try:
        (result,) = run(target)
        assert result.ok, result.error
        assert result.attempt == 1
        assert master() != first
    finally:
        os.kill(first, signal.SIGKILL)


def test_a_host_that_went_silent_behind_its_master_is_logged_into_anew(
    sshd: Sshd, run: Run, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mux_client, "OPENED_S", 0.3)
    assert run(target)[0].ok
    first = master()
    behind = processes.descendants(sshd.pid)
    try:
        for pid in behind:
            os.kill(pid, signal.SIGSTOP)
        (result,) = run(target)
        assert result.ok, result.error
        assert result.attempt == 1
        assert master() != first
        assert processes.is_alive(first)  # others may still wait for answers over it
    finally:
        for pid in behind:
            os.kill(pid, signal.SIGCONT)
    assert comes_true(lambda: not processes.is_alive(first))


def test_a_connection_whose_server_died_is_replaced(sshd: Sshd, run: Run, target: Target) -> None:
    before = sshd.log.count(LOGIN)
    assert run(target)[0].ok
    for pid in processes.descendants(sshd.pid):
        os.kill(pid, signal.SIGKILL)
    (result,) = run(target)  # at once: the master may not have noticed
    assert result.ok, result.error
    assert sshd.log.count(LOGIN) - before == 2


def test_a_master_killed_under_a_script_makes_it_lost(
    run: Run, target: Target, tmp_path: Path
) -> None:
    assert run(target)[0].ok
    first = master()
    results: list[Result] = []
    script = f"touch {tmp_path}/here; sleep 60\n"
    runner = threading.Thread(target=lambda: results.extend(run(target, script=script)))
    runner.start()
    assert comes_true((tmp_path / "here").exists)
    os.kill(first, signal.SIGKILL)
    runner.join()
    assert (results[0].outcome, results[0].reason) == (Outcome.LOST, "connection_lost")


def test_cancel_does_not_wait_for_a_master_that_does_not_answer(run: Run, target: Target) -> None:
    assert run(target)[0].ok
    first = master()
    os.kill(first, signal.SIGSTOP)
    try:
        scope = Scope()
        timer = threading.Timer(0.2, scope.cancel)
        timer.start()
        (result,) = run(target, scope=scope)
        timer.join()
        assert (result.outcome, result.reason) == (Outcome.CANCELLED, "cancelled")
        assert result.duration_s < mux_client.ANSWER_S
    finally:
        os.kill(first, signal.SIGKILL)


# -- ended -------------------------------------------------------------------------------------


def test_disconnect_ends_the_masters_of_these_targets_or_all(
    sshd: Sshd, run: Run, target: Target
) -> None:
    other = replace(target, name="other", host="localhost")
    tuned = replace(target, ssh=replace(target.ssh, keepalive_s=7.0))
    assert all(result.ok for result in run(target, tuned, other))
    pids = [mux_client.pid_of(socket) for socket in sockets()]
    assert disconnect([other]) == (1, 0)
    assert len(sockets()) == 2
    assert disconnect([target]) == (2, 0)  # with whatever settings
    assert disconnect() == (0, 0)
    assert comes_true(lambda: not any(processes.is_alive(pid) for pid in pids))
    assert run(target)[0].ok
    assert disconnect() == (1, 0)


def test_disconnect_puts_a_master_that_does_not_answer_out_of_reach(
    run: Run, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(masters, "LEAVE_S", 0.2)
    assert run(target)[0].ok
    pid = master()
    os.kill(pid, signal.SIGSTOP)
    try:
        assert disconnect() == (0, 1)
        assert sockets() == []
    finally:
        os.kill(pid, signal.SIGKILL)


# -- the directory -----------------------------------------------------------------------------


def test_a_directory_that_is_not_private_stops_the_script(run: Run, target: Target) -> None:
    place = masters.directory()
    place.chmod(0o770)
    (result,) = run(target)
    place.chmod(0o700)
    assert (result.outcome, result.reason) == (Outcome.FAILED, "local_io_error")
    assert str(place) in str(result.error)


def test_without_a_runtime_directory_sockets_are_in_a_temporary_one(
    run: Run, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as without:
        without.delenv("XDG_RUNTIME_DIR")
        assert run(target)[0].ok
        (socket,) = sockets()
    place = Path(socket).parent
    assert place == Path(os.environ["TMPDIR"], f"rune-{os.getuid()}")
    assert disconnect() == (1, 0)  # also by a process that has a runtime directory
    shutil.rmtree(place)


# -- auto --------------------------------------------------------------------------------------


def test_auto_takes_a_connection_that_is_there(run: Run, target: Target) -> None:
    automatic = replace(target, transport="auto")
    assert with_transport(automatic).transport == "ssh"
    assert run(target)[0].ok
    assert with_transport(automatic).transport == "openssh"
    os.kill(master(), signal.SIGKILL)
    assert comes_true(lambda: with_transport(automatic).transport == "ssh")


@pytest.mark.parametrize(
    ("own", "wanted", "line", "expected"),
    [
        ("auto", None, "", "ssh"),
        ("auto", None, "Ciphers aes256-ctr", "openssh"),
        ("ssh", "auto", "Ciphers aes256-ctr", "openssh"),
        ("openssh", "auto", "", "ssh"),
        ("local", "auto", "Ciphers aes256-ctr", "local"),
        ("ssm", "auto", "Ciphers aes256-ctr", "ssm"),
        ("auto", "ssh", "Ciphers aes256-ctr", "ssh"),
        ("ssh", None, "Ciphers aes256-ctr", "ssh"),
        ("auto", None, "Host", "ssh"),  # what is wrong is said when the target's turn comes
    ],
)
def test_auto_chooses_by_what_the_target_needs(
    tmp_path: Path, own: str, wanted: str | None, line: str, expected: str
) -> None:
    config = tmp_path / "config"
    config.write_text(f"{line}\n")
    target = Target("h", transport=own, ssh=SshSettings(config_file=str(config)))
    assert with_transport(target, wanted).transport == expected
