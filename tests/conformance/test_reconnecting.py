"""Connections that break and RUNEs that are killed: the host is asked what became of the plugin."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from lmm.model import Limits, OnDisconnect, Outcome
from lmm.testing import TcpProxy, processes
from tests.support.waiting import until

KILL, CONTINUE = OnDisconnect.KILL, OnDisconnect.CONTINUE
BOTH = pytest.mark.parametrize("mode", [KILL, CONTINUE])
OK = '{"payload":{"result":"success","output_data":{"n":1}}}'
EVENT = '##rune {"kind":"progress","percent":%d}'
FOREVER = "while :; do sleep 0.05; done"


def gone(scratch: Path, name: str = "pids") -> bool:
    """Whether the processes whose ids a script wrote are."""
    return not any(processes.is_alive(int(pid)) for pid in (scratch / name).read_text().split())


def written(scratch: Path, name: str = "pids") -> bool:
    return (scratch / name).exists() and (scratch / name).read_text().endswith("\n")


# -- connections that break ----------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("seed", range(6))
def test_a_cut_at_any_moment(
    remote: Any, proxy: TcpProxy, keep: Any, scratch: Path, mode: Any, seed: int
) -> None:
    script = f"echo x >>{scratch}/runs; sleep 0.3; echo '{OK}'"
    wait_s = random.Random(seed).uniform(0.0, 0.9)
    kept = keep(remote, script, mode)
    timer = threading.Timer(wait_s, proxy.cut)
    timer.start()
    (result,) = remote.carry(kept)
    timer.join()
    runs = (scratch / "runs").read_text() if (scratch / "runs").exists() else ""
    if result.outcome is Outcome.OK:
        assert runs == "x\n"
    elif mode is KILL and runs:
        assert (result.outcome, result.reason) == (Outcome.CANCELLED, "disconnected")
        assert runs == "x\n"
    else:
        assert result.outcome is Outcome.UNREACHABLE, result.error
        assert runs == ""


def test_a_cut_while_stderr_is_ahead_of_the_answer(
    remote: Any, proxy: TcpProxy, keep: Any, scratch: Path
) -> None:
    """On a busy host all of stderr may be sent before any of stdout."""
    kept = keep(remote, f"until [[ -e {scratch}/go ]]; do sleep 0.05; done; echo '{OK}'")

    def tees() -> list[int]:
        """Return what sends stdout, and what sends stderr, once they are there."""
        words = keep.state(kept).split()
        found = processes.descendants(int(words[3])) if len(words) > 3 else set()
        return sorted(pid for pid in found if processes.name(pid) == "tee")

    def cut() -> bool:
        if len(found := tees()) < 2 or (scratch / "go").exists():
            return False
        os.kill(found[0], signal.SIGSTOP)
        (scratch / "go").touch()
        until(lambda: " end 0 exit " in keep.files(kept)["err"].read_text())
        time.sleep(0.3)  # until RUNE has it, too
        proxy.cut()
        os.kill(found[0], signal.SIGCONT)
        return False

    watcher = remote.cancel_when(cut)
    (result,) = remote.carry(kept)
    remote.scope.cancel()
    watcher.join()
    assert (result.outcome, result.output_data) == (Outcome.OK, {"n": 1}), result.error


def test_a_plugin_may_tidy_up_when_the_connection_drops(
    remote: Any, proxy: TcpProxy, keep: Any, scratch: Path
) -> None:
    """Bash says on stderr that its child was terminated, and must not die of that."""
    script = (
        f"trap 'echo tidied >{scratch}/tidied; exit 0' TERM; echo up >{scratch}/up;"
        " while :; do sleep 0.05; done"
    )

    def cut() -> bool:
        if written(scratch, "up"):
            (scratch / "up").unlink()
            proxy.cut()
        return False

    watcher = remote.cancel_when(cut)
    (result,) = remote.carry(keep(remote, script))
    remote.scope.cancel()
    watcher.join()
    assert (result.outcome, result.reason) == (Outcome.CANCELLED, "disconnected")
    assert (scratch / "tidied").read_text() == "tidied\n"


def test_a_run_that_reconnects_misses_nothing(
    remote: Any, proxy: TcpProxy, keep: Any, scratch: Path
) -> None:
    script = (
        f"echo '{EVENT % 1}' >&2; until [[ -e {scratch}/cut ]]; do sleep 0.05; done;"
        f"echo '{EVENT % 2}' >&2; echo '{OK}'"
    )

    def cut() -> bool:
        if remote.events and not (scratch / "cut").exists():
            proxy.cut()
            (scratch / "cut").touch()
        return False

    watcher = remote.cancel_when(cut)
    (result,) = remote.carry(keep(remote, script, CONTINUE))
    remote.scope.cancel()
    watcher.join()
    assert (result.outcome, result.output_data) == (Outcome.OK, {"n": 1})
    assert [data["percent"] for kind, data in remote.events if kind == "progress"] == [1, 2]


def test_cancelled_while_the_connection_is_away(
    remote: Any, proxy: TcpProxy, keep: Any, scratch: Path
) -> None:
    """The operator's cancel reaches a plugin that would run on, as soon as its host does."""

    def cut_and_cancel() -> bool:
        if not written(scratch):
            return False
        proxy.cut()
        return True

    watcher = remote.cancel_when(cut_and_cancel)
    kept = keep(remote, f"echo $$ >{scratch}/pids; {FOREVER}", CONTINUE)
    (result,) = remote.carry(kept)
    watcher.join()
    assert (result.outcome, result.reason) == (Outcome.CANCELLED, "cancelled")
    until(lambda: gone(scratch))


def test_a_cancel_reaches_what_would_run_on(host: Any, keep: Any, scratch: Path) -> None:
    kept = keep(host, f"echo $$ >{scratch}/pids; {FOREVER}", CONTINUE)
    watcher = host.cancel_when(lambda: written(scratch))
    (result,) = host.carry(kept)
    watcher.join()
    assert (result.outcome, result.reason) == (Outcome.CANCELLED, "cancelled")
    assert gone(scratch)


# -- a RUNE that was killed ----------------------------------------------------------------------


def test_killed_rune_kills_by_default(
    streaming: Any, keep: Any, scratch: Path, second_rune: Any
) -> None:
    kept = keep(streaming, f"echo $$ >{scratch}/pids; {FOREVER}")
    with second_rune(kept):
        until(lambda: written(scratch))
    result = keep.ask(streaming, kept)
    assert (result.outcome, result.reason) == (Outcome.CANCELLED, "disconnected")
    assert gone(scratch)


def test_killed_rune_and_a_plugin_that_runs_on(
    streaming: Any, keep: Any, scratch: Path, second_rune: Any
) -> None:
    """Whoever asks while it runs hears all that it has said, what it still says, and the end."""
    script = (
        f"echo '{EVENT % 1}' >&2; echo x >>{scratch}/runs;"
        f"until [[ -e {scratch}/go ]]; do sleep 0.05; done; echo '{EVENT % 2}' >&2; echo '{OK}'"
    )
    kept = keep(streaming, script, CONTINUE)
    with second_rune(kept):
        until((scratch / "runs").exists)

    def go() -> bool:
        if streaming.events:
            (scratch / "go").touch()
        return False

    watcher = streaming.cancel_when(go)
    result = keep.ask(streaming, kept)
    streaming.scope.cancel()
    watcher.join()
    assert (result.outcome, result.output_data) == (Outcome.OK, {"n": 1})
    assert [d["percent"] for kind, d in streaming.events if kind == "progress"] == [1, 2]
    assert (scratch / "runs").read_text() == "x\n"


@pytest.mark.parametrize("how", ["cancel", "kill"])
def test_what_runs_on_can_still_be_cancelled(
    streaming: Any, keep: Any, scratch: Path, second_rune: Any, how: str
) -> None:
    script = f"trap '' TERM; echo log >&2; setsid sleep 600 & echo $! $$ >{scratch}/pids; {FOREVER}"
    kept = keep(streaming, script, CONTINUE)
    with second_rune(kept):
        until(lambda: written(scratch))
    watcher = streaming.cancel_when(lambda: how == "kill" or bool(streaming.events))
    if how == "kill":
        watcher.join()
        streaming.scope = type(streaming.scope)()
    result = keep.ask(streaming, kept, kill=how == "kill")
    watcher.join()
    assert (result.outcome, result.reason) == (Outcome.CANCELLED, "cancelled")
    assert gone(scratch)


@BOTH
@pytest.mark.parametrize("kill", [False, True])
def test_another_rune_still_holds_the_connection(
    streaming: Any, keep: Any, scratch: Path, second_rune: Any, mode: Any, kill: bool
) -> None:
    """As when the network is gone and the host has not noticed: who asks needs no answer there."""
    script = (
        f"echo $$ >{scratch}/pids; until [[ -e {scratch}/go ]]; do sleep 0.05; done; echo '{OK}'"
    )
    kept = keep(streaming, script, mode)
    with second_rune(kept) as other:
        until(lambda: written(scratch))
        other.send_signal(signal.SIGSTOP)
        if not kill:
            (scratch / "go").touch()
        result = keep.ask(streaming, kept, kill=kill)
    assert result.outcome is (Outcome.CANCELLED if kill else Outcome.OK), result.error
    assert gone(scratch)


@pytest.mark.parametrize("ends", ["ok", "timed_out"])
def test_rune_was_stopped_until_the_grace_was_over(
    streaming: Any, scratch: Path, second_rune: Any, ends: str
) -> None:
    """As by SIGSTOP or a laptop's lid: what the host has said meanwhile is the result."""
    wait = f"echo $PPID >{scratch}/runs; until [[ -e {scratch}/go ]]; do sleep 0.02; done"
    answer = OK.replace('"n":1', f'"n":"{"1" * 40_000}"')  # several packets
    limits = Limits(timeout_s=1.5, grace_s=0.2)
    with second_rune(streaming.invocation(f"{wait}; echo '{answer}'", limits=limits)) as rune:
        until(lambda: written(scratch, "runs"))
        began = time.monotonic()
        rune.send_signal(signal.SIGSTOP)
        if ends == "ok":
            (scratch / "go").touch()
        until(lambda: time.monotonic() > began + limits.timeout_s + limits.grace_s + 1)
        until(lambda: gone(scratch, "runs"))  # the host's shell has said how it ended
        rune.send_signal(signal.SIGCONT)
        told, _ = rune.communicate(timeout=20)
    assert told.decode().split() == [ends]


def test_the_deadline_holds_with_nobody_there(
    streaming: Any, keep: Any, scratch: Path, second_rune: Any
) -> None:
    script = (
        f"echo ${{0%/*/*}} >{scratch}/at; setsid sleep 600 & echo $! $$ >{scratch}/pids; {FOREVER}"
    )
    kept = keep(streaming, script, CONTINUE, limits=Limits(timeout_s=4))
    with second_rune(kept):
        until(lambda: written(scratch))
    until(lambda: gone(scratch))
    until(lambda: not Path((scratch / "at").read_text().strip()).exists())
    result = keep.ask(streaming, kept)
    assert (result.outcome, result.reason) == (Outcome.TIMED_OUT, "timed_out")


@pytest.mark.parametrize("stream", ["output", "stderr"])
def test_a_flood_that_nobody_reads_is_stopped(
    streaming: Any, keep: Any, scratch: Path, second_rune: Any, stream: str
) -> None:
    to = "" if stream == "output" else ">&2"
    script = (
        f"trap '' PIPE; echo $$ >{scratch}/pids; until [[ -e {scratch}/go ]]; do sleep 0.05; done;"
        f" yes {to}; {FOREVER}"
    )
    limits = Limits(timeout_s=60, stdout_bytes=100_000, stderr_bytes=50_000)
    kept = keep(streaming, script, CONTINUE, limits=limits)
    with second_rune(kept):
        until(lambda: written(scratch))
    (scratch / "go").touch()
    until(lambda: "ended" in keep.state(kept))
    assert gone(scratch)
    assert "flood" in keep.state(kept)
    assert max(path.stat().st_size for path in keep.files(kept).values()) < 110_000
    result = keep.ask(streaming, kept)
    assert (result.outcome, result.reason) == (Outcome.INVALID_OUTPUT, f"{stream}_too_large")


@BOTH
def test_killed_shell_on_the_host(streaming: Any, keep: Any, scratch: Path, mode: Any) -> None:
    """What nobody can know any more is lost, and soon; nothing of it goes on."""
    script = f"echo $$ >{scratch}/pids; kill -9 $PPID; {FOREVER}"
    kept = keep(streaming, script, mode, limits=Limits(timeout_s=60))
    (result,) = streaming.carry(kept)
    assert (result.outcome, result.reason) == (Outcome.LOST, "receipt_incomplete")
    assert result.duration_s < 40
    assert gone(scratch)
    until(lambda: not processes.marked({"RUNE_INVOCATION": keep.state(kept).split()[2][16:]}))


def test_a_host_that_was_rebooted(
    streaming: Any, keep: Any, scratch: Path, second_rune: Any
) -> None:
    kept = keep(streaming, f"echo $$ >{scratch}/pids; {FOREVER}", CONTINUE)
    with second_rune(kept):
        until(lambda: written(scratch))
    os.kill(int((scratch / "pids").read_text()), signal.SIGKILL)
    until(lambda: "ended" in keep.state(kept))
    until(lambda: not processes.is_alive(int(keep.state(kept).split()[3])))
    state = keep.files(kept)["state"]
    words = state.read_text().splitlines()[0].split()
    state.write_text(" ".join([*words[:5], "00000000-another-boot", words[6]]) + "\n")
    for name in ("out", "err"):
        keep.files(kept)[name].write_text("")
    result = keep.ask(streaming, kept)
    assert (result.outcome, result.reason) == (Outcome.LOST, "receipt_incomplete")


STRANGER = """\
import os, subprocess, sys
file = os.open(sys.argv[1], os.O_RDONLY)
os.dup2(file, 3)
child = subprocess.Popen(["sleep", "600"], start_new_session=True)
print(child.pid, flush=True)
child.wait()
"""


@BOTH
@pytest.mark.parametrize("kill", [False, True])
@pytest.mark.parametrize("rebooted", [False, True])
def test_whoever_has_the_id_of_a_dead_shell_is_let_alone(
    streaming: Any, keep: Any, scratch: Path, mode: Any, kill: bool, rebooted: bool
) -> None:
    """Neither children of that process are killed, nor is what it has open written to."""
    kept = keep(streaming, f"kill -9 $PPID; {FOREVER}", mode)
    streaming.carry(kept)
    state = keep.files(kept)["state"]
    (scratch / "precious").write_text("not the plugin's\n")
    argv = [sys.executable, "-c", STRANGER, str(scratch / "precious")]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, close_fds=True) as stranger:
        assert stranger.stdout
        child = int(stranger.stdout.readline())
        words = state.read_text().splitlines()[0].split()
        words[3] = str(stranger.pid)
        if rebooted:
            words[5] = "00000000-another-boot"
        state.write_text(" ".join(words) + "\n")
        keep.files(kept).get("stop", state.with_suffix(".stop")).unlink(missing_ok=True)
        result = keep.ask(streaming, kept, kill=kill)
        alive = processes.is_alive(child), processes.is_alive(stranger.pid)
        processes.end({child, stranger.pid})
    assert alive == (True, True)
    assert (scratch / "precious").read_text() == "not the plugin's\n"
    assert (result.outcome, result.reason) == (Outcome.LOST, "receipt_incomplete")
