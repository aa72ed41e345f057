"""Start to end on the host: interpreters, deadlines, cancels, broken connections, no orphans."""

from __future__ import annotations

import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lmm.model import Limits, Outcome, Target
from lmm.testing import Sshd, TcpProxy
from tests.conformance.conftest import GUARD

from .stubborn import STUBBORN, all_running, gone, pids, tidied

REPOSITORY = Path(__file__).resolve().parents[2]
OK = '{"payload":{"result":"success","output_data":{"from":"%s"}}}'

# -- starting ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("interpreter", "script"),
    [
        ("bash", f"[[ $BASH_VERSION ]] && echo '{OK}'"),
        ("sh", f"echo '{OK}'"),
        ("python3", f"print('{OK}')"),
        ("perl", f"print '{OK}'"),
        ("node", f"console.log('{OK}')"),
        ("/bin/bash", f"echo '{OK}'"),
    ],
)
def test_interpreters(host: Any, interpreter: str, script: str) -> None:
    result = host.run(script.replace("%s", interpreter), interpreter=(interpreter,))
    assert result.output_data == {"from": interpreter}, result.error


def test_interpreter_with_arguments(host: Any) -> None:
    script = "import sys; print(" + repr(OK) + " % sys.flags.isolated)"
    result = host.run(script, interpreter=("python3", "-I", "-u"))
    assert result.output_data == {"from": "1"}


def test_file_name_is_kept(host: Any) -> None:
    script = "console.log(" + repr(OK) + ".replace('%s', import.meta.url.split('/').pop()))"
    result = host.run(script, interpreter=("node",), filename="plugin.mjs")
    assert result.output_data == {"from": "plugin.mjs"}, result.error


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A compiled program that answers, built here."""
    folder = tmp_path_factory.mktemp("program")
    text = OK.replace("%s", "c").replace('"', '\\"')
    (folder / "p.c").write_text(f'#include <stdio.h>\nint main(void) {{ puts("{text}"); }}\n')
    subprocess.run(["cc", "-o", folder / "p", folder / "p.c"], check=True)
    return (folder / "p").read_bytes()


def test_compiled_program(host: Any, program: bytes) -> None:
    result = host.run(program, interpreter=())
    assert result.output_data == {"from": "c"}, result.error


@pytest.mark.needs_root
@pytest.mark.parametrize("transport", ["local", "ssh", "openssh"])
def test_noexec_directories(
    host_factory: Any, program: bytes, tmp_path: Path, transport: str
) -> None:
    """A script does not mind noexec; a program goes to the next directory."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "noexec,size=4m", "none", tmp_path], check=True)
    if transport == "local":
        os.environ["XDG_RUNTIME_DIR"] = str(tmp_path)
    try:
        with Sshd(environment={"XDG_RUNTIME_DIR": str(tmp_path)}) as server:
            here = Target("x", transport="local")
            target = here if transport == "local" else server.target("x", transport=transport)
            host = host_factory(target)
            where = host.run(f"printf '{OK}' \"$0\"")
            assert str(tmp_path) in where.output_data["from"]
            assert host.run(program, interpreter=()).output_data == {"from": "c"}
            assert not list(tmp_path.iterdir())
            host.pool.close()
    finally:
        subprocess.run(["umount", tmp_path], check=True)


def test_missing_interpreter_and_command_are_named(host: Any) -> None:
    result = host.run("x", interpreter=("no-such-interpreter",))
    assert (result.outcome, result.reason) == (Outcome.FAILED, "dependency_missing")
    assert "no-such-interpreter" in result.message
    result = host.run("x", requires=("cat", "no-such-command"))
    assert result.reason == "dependency_missing"
    assert "no-such-command" in result.message


def test_nothing_is_left_on_the_host(host: Any) -> None:
    where = host.run(f"printf '{OK}' \"$0\"")
    folder = Path(where.output_data["from"]).parents[1]
    assert folder.name.startswith(".rune-")
    assert not folder.exists()


def test_the_directory_is_private(host: Any) -> None:
    result = host.run(f'printf \'{OK}\' "$(stat -c %a "${{0%/*}}")"')
    assert result.output_data == {"from": "700"}


def test_no_descriptor_of_ours_is_inherited(host: Any) -> None:
    script = (
        "import os\ndef is_open(fd):\n    try: os.fstat(fd)\n    except OSError: return False\n"
        "    return True\n"
        f"print({OK!r} % [fd for fd in range(1024) if is_open(fd)])"
    )
    result = host.run(script, interpreter=("python3",))
    assert result.output_data == {"from": "[0, 1, 2]"}


# -- ending ------------------------------------------------------------------------------------


def test_deadline(host: Any) -> None:
    result = host.run("sleep 60", limits=Limits(timeout_s=0.5))
    assert (result.outcome, result.reason) == (Outcome.TIMED_OUT, "timed_out")
    assert result.duration_s < 10


def test_deadline_leaves_no_process(host: Any, scratch: Path) -> None:
    for timeout_s in (2, 10, 30):  # until it comes as far as that
        limits = Limits(timeout_s=timeout_s)
        result = host.run(STUBBORN % {"place": scratch}, interpreter=("python3",), limits=limits)
        assert result.outcome is Outcome.TIMED_OUT
        if all_running(scratch):
            break
    assert gone(pids(scratch), 0.5)
    assert tidied(scratch, 0.5)


def test_cancel_leaves_no_process(host: Any, scratch: Path) -> None:
    watcher = host.cancel_when(lambda: all_running(scratch))
    result = host.run(STUBBORN % {"place": scratch}, interpreter=("python3",))
    watcher.join()
    assert (result.outcome, result.reason) == (Outcome.CANCELLED, "cancelled")
    assert gone(pids(scratch), host.dies_within_s)
    assert tidied(scratch, host.dies_within_s)


def test_cancel_of_what_has_not_started(host: Any) -> None:
    host.scope.cancel()
    result = host.run("sleep 60")
    assert (result.outcome, result.reason) == (Outcome.CANCELLED, "cancelled")


def test_a_plugin_may_tidy_up_on_term(host: Any, scratch: Path) -> None:
    script = (
        f"trap 'echo tidied >{scratch}/tidied; exit 0' TERM; echo x >{scratch}/ready;"
        " while :; do sleep 0.05; done"
    )
    watcher = host.cancel_when((scratch / "ready").exists)
    result = host.run(script)
    watcher.join()
    assert result.outcome is Outcome.CANCELLED
    note = scratch / "tidied"
    until = time.monotonic() + host.dies_within_s
    while not (note.exists() and note.stat().st_size) and time.monotonic() < until:
        time.sleep(0.02)
    assert note.read_text() == "tidied\n"


def test_what_a_plugin_leaves_in_its_group_ends_with_it(host: Any, scratch: Path) -> None:
    answer = OK % "x"
    result = host.run(f"sleep 600 & echo $! >{scratch}/pid; echo '{answer}'")
    assert result.outcome is Outcome.OK
    assert gone([int((scratch / "pid").read_text())])


def test_what_a_plugin_detached_does_not_hold_up_the_result(host: Any, scratch: Path) -> None:
    answer = OK % "x"
    result = host.run(
        f"setsid bash -c 'echo $$ >{scratch}/pid; sleep 600' & "
        f"until [[ -s {scratch}/pid ]]; do sleep 0.01; done; echo '{answer}'"
    )
    left = int((scratch / "pid").read_text())
    os.killpg(left, signal.SIGKILL)
    assert result.outcome is Outcome.OK
    assert result.duration_s < 20


def test_main_shell_killed_on_the_host(host: Any, scratch: Path) -> None:
    """kill -9 of the bootstrap itself: its guard works on alone."""
    script = f"echo ${{0%/*}} >{scratch}/where; echo $$ >{scratch}/pid; kill -9 $PPID; sleep 600"
    result = host.run(script)
    assert (result.outcome, result.reason) == (Outcome.LOST, "connection_lost")
    assert gone([int((scratch / "pid").read_text())])
    assert tidied(scratch)


def test_dropped_connection_leaves_no_process(remote: Any, sshd: Sshd, scratch: Path) -> None:
    with TcpProxy("127.0.0.1", sshd.port) as proxy:
        known = scratch / "known_hosts"
        known.write_text(f"[127.0.0.1]:{proxy.port} {sshd.host_key}\n")
        ssh = replace(remote.target.ssh, known_hosts=(str(known),))
        remote.target = replace(remote.target, port=proxy.port, ssh=ssh)

        def cut() -> bool:
            if all_running(scratch):
                proxy.cut()
                return True
            return False

        watcher = remote.cancel_when(lambda: cut() and False)
        result = remote.run(STUBBORN % {"place": scratch}, interpreter=("python3",))
        remote.scope.cancel()
        watcher.join()
    assert (result.outcome, result.reason) == (Outcome.LOST, "connection_lost")
    assert gone(pids(scratch))
    assert tidied(scratch)


@pytest.mark.parametrize("killed", [1, 2])
def test_a_killed_guard_has_a_successor(
    remote: Any, proxy: TcpProxy, scratch: Path, killed: int
) -> None:
    """The guard has a child that takes its place, and then has one, too."""
    script = f"""{GUARD}
for ((n = 0; n < {killed}; n++)); do kill_guard; done
echo ${{0%/*}} >{scratch}/where
trap '' TERM
echo $$ >{scratch}/pid
sleep 600"""

    def cut() -> bool:
        if (scratch / "pid").exists() and (scratch / "pid").read_text():
            proxy.cut()
        return False

    watcher = remote.cancel_when(cut)
    result = remote.run(script, limits=Limits(timeout_s=60))
    remote.scope.cancel()
    watcher.join()
    assert (result.outcome, result.reason) == (Outcome.LOST, "connection_lost")
    assert gone([int((scratch / "pid").read_text())])
    assert tidied(scratch)


@pytest.mark.parametrize(
    ("late", "script"),
    [
        ("set?+m", "kill -STOP $$; sleep 600"),
        ("printf*rune_payload*", "exec <&-; sleep 600"),
    ],
    ids=["stops", "closes-stdin"],
)
def test_a_plugin_that_is_faster_than_its_shell(
    host_factory: Any, scratch: Path, late: str, script: str
) -> None:
    """What it does at once, while the shell is held up, does not cost the deadline."""
    wait = f"trap '[[ $BASH_COMMAND != {late} ]] || sleep 0.5' DEBUG"
    (scratch / "hold_up").write_text(f"[[ $- != *s* ]] || {{ set -T; {wait}; }}\n")
    with Sshd(environment={"BASH_ENV": str(scratch / "hold_up")}) as server:
        host = host_factory(server.target("x"))
        result = host.run(script, limits=Limits(timeout_s=3))
        host.pool.close()
    assert (result.outcome, result.reason) == (Outcome.TIMED_OUT, "timed_out")


def test_kill_9_of_rune_leaves_no_process(host: Any, scratch: Path) -> None:
    """RUNE in a process of its own, killed while its plugin runs on the host.

    Systems Manager, which does not hear of that, ends the script at its deadline.
    """
    limits = Limits(timeout_s=5 if host.target.transport == "ssm" else 60)
    invocation = host.invocation(
        STUBBORN % {"place": scratch}, interpreter=("python3",), limits=limits
    )
    (scratch / "job").write_bytes(pickle.dumps(invocation))
    code = (
        "import pickle, sys\n"
        "from lmm.testing import carry\nfrom lmm.transports import TransportPool\n"
        "job = pickle.loads(open(sys.argv[1], 'rb').read())\n"
        "carry([job], TransportPool().get)\n"
    )
    rune = subprocess.Popen([sys.executable, "-c", code, scratch / "job"], cwd=REPOSITORY)
    try:
        until = time.monotonic() + 20
        while not all_running(scratch) and time.monotonic() < until:
            time.sleep(0.02)
        assert all_running(scratch)
    finally:
        rune.kill()
        rune.wait()
    assert gone(pids(scratch))
    assert tidied(scratch)
    # here, an ssh master lives on until it has been idle for its time; end it at once
    for control in Path(os.environ["TMPDIR"]).glob("rune-*/*"):
        subprocess.run(["ssh", "-O", "exit", "-S", control, "x"], capture_output=True, check=True)
        shutil.rmtree(control.parent)
