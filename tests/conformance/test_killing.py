"""What is killed runs nothing more."""

from __future__ import annotations

import pickle
import shutil
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lmm.model import Limits, Outcome
from lmm.testing import Account, Sshd, TcpProxy, processes
from lmm.transports import disconnect
from tests.conformance.conftest import REPOSITORY
from tests.scale import repeats
from tests.support.invocations import CARRY
from tests.support.waiting import until

OK = '{"payload":{"result":"success","output_data":{}}}'
SHELLS = 40  # in each invocation
# These would go on when their children are killed, as TERM does nothing to them.
BLOCKING = """\
import os, signal, subprocess
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
print(file=open(os.environ["at"] + "/deaf", "a"))
unblock = lambda: signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
subprocess.run(["sleep", "600"], preexec_fn=unblock)
print(file=open(os.environ["went_on"], "w"))"""
TAKES = "import signal; signal.sigwait([signal.SIGTERM])"
WAITING = "echo >>$at/deaf; sleep 600; echo within: $? >>$went_on"
DEAF = [
    f"dash -ic '{WAITING}'",
    f"bash -ic '{WAITING}'",
    f"script -qc '{WAITING}' /dev/null",
    f"script -qc 'dash -ic \"{WAITING}\"' /dev/null",
    f"unshare --pid --fork --mount-proc bash -c '{WAITING}'",
    f"unshare -Urpf --mount-proc bash -c '{WAITING}'",
    f"python3 -c '{BLOCKING}'".replace("\n", "; "),
    f"env --block-signal=TERM bash -c 'echo >>$at/deaf; python3 -c \"{TAKES}\"; echo >$went_on'",
]
# What a shell waits for; then it would make a file.
WAITS = [
    *["sleep 600", "bash -c 'sleep 600; :'", "(sleep 600 | cat)", "set -m; sleep 600"] * 7,
    *["python3 -c 'import time; time.sleep(600)'"] * 4,
    *(f"{one} || echo >>$at/deaf" for one in DEAF),  # not every account may make namespaces
]
assert len(WAITS) == SHELLS
# Fails where one has gone on: its file is there.
SCRIPT = """\
export at=%s/$RUNE_PARAM_NAME went_on
mkdir $at
echo $$ >$at/pids
while IFS= read -r wait; do
  went_on=$at/went-on.$((++n))
  bash -c "echo \\$\\$ >>$at/pids; $wait; echo without: \\$? >>$went_on" </dev/null &>$at/said.$n &
done <<'END'
%s
END
until (($(wc -l <$at/pids) > n && $(wc -l <$at/deaf) >= %s)); do sleep 0.1; done
echo >$at/up
sleep 600
echo main >$at/went-on.main
"""


def crowd(host: Any, scratch: Path, timeout_s: float = 120.0) -> list[Any]:
    """Return invocations that wait in 200 shells."""
    script = SCRIPT % (scratch, "\n".join(WAITS), len(DEAF))
    return [
        host.invocation(
            script,
            {"name": f"node{number}"},
            target=replace(host.target, name=f"node{number}"),
            limits=Limits(timeout_s, grace_s=60.0),
        )
        for number in range(5)
    ]


def all_up(scratch: Path) -> bool:
    return len(list(scratch.glob("*/up"))) == 5


def nothing_went_on(scratch: Path) -> None:
    pids = {int(pid) for path in scratch.glob("*/pids") for pid in path.read_text().split()}
    assert not processes.wait_gone(pids, 120.0)
    went_on = []
    for path in scratch.glob("*/went-on.*"):
        number = path.suffix[1:]
        if number.isdigit():
            said = path.with_name(f"said.{number}").read_text(errors="replace")
            went_on.append((WAITS[int(number) - 1], path.read_text(), said))
        else:
            went_on.append((number, path.read_text(), ""))
    assert went_on == []
    for path in scratch.glob("node*"):
        shutil.rmtree(path)


@pytest.mark.soak
def test_at_the_deadline_no_shell_goes_on(host: Any, scratch: Path) -> None:
    for _ in range(repeats(1)):
        results = host.carry(*crowd(host, scratch, 4.0))
        assert {one.outcome for one in results} == {Outcome.TIMED_OUT}
        nothing_went_on(scratch)


@pytest.mark.soak
def test_at_a_cancel_no_shell_goes_on(host: Any, scratch: Path) -> None:
    for _ in range(repeats(1)):
        host.scope = type(host.scope)()
        watcher = host.cancel_when(lambda: all_up(scratch))
        results = host.carry(*crowd(host, scratch))
        watcher.join()
        assert {one.outcome for one in results} == {Outcome.CANCELLED}
        nothing_went_on(scratch)


@pytest.mark.soak
def test_when_the_connection_drops_no_shell_goes_on(
    remote: Any, proxy: TcpProxy, scratch: Path
) -> None:
    def drop() -> None:
        until(lambda: all_up(scratch))
        proxy.cut()

    for _ in range(repeats(1)):
        dropper = threading.Thread(target=drop)
        dropper.start()
        results = remote.carry(*crowd(remote, scratch))
        dropper.join()
        assert {one.outcome for one in results} == {Outcome.LOST}
        nothing_went_on(scratch)


@pytest.mark.soak
def test_when_rune_is_killed_no_shell_goes_on(streaming: Any, scratch: Path) -> None:
    for _ in range(repeats(1)):
        (scratch / "jobs").write_bytes(pickle.dumps(crowd(streaming, scratch)))
        argv = [sys.executable, "-c", CARRY, str(scratch / "jobs")]
        with subprocess.Popen(argv, cwd=REPOSITORY) as rune:
            try:
                until(lambda: all_up(scratch))
            finally:
                rune.kill()
        nothing_went_on(scratch)
    disconnect()


COMMANDS = {  # they end after a tenth of a second, or with a fault at their TERM
    "waits": "exit(any(time.sleep(0.02) or signal.sigpending() for _ in range(5)))",
    "dies": "signal.pthread_sigmask(signal.SIG_SETMASK, []); time.sleep(0.1)",
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("shell", ["bash -c", "bash -ic"])
def test_no_shell_that_blocks_term_goes_on_after_what_it_has_just_started(
    host: Any, scratch: Path, shell: str, command: str
) -> None:
    """Neither as that ends by its TERM, nor as it is stopped, which ends the wait with -i."""
    python = f"python3 -c 'import signal, time; {COMMANDS[command]}'"
    loop = f"echo $$ >{scratch}/pid\nwhile {python}; do echo >{scratch}/up; done"
    script = f'cat >{scratch}/loop <<"END"\n{loop}\necho >{scratch}/went-on\nEND\n'
    script += f"env --block-signal=TERM {shell} '. {scratch}/loop'"
    watcher = host.cancel_when((scratch / "up").exists)
    result = host.run(script)
    watcher.join()
    assert result.outcome is Outcome.CANCELLED
    assert not processes.wait_gone({int((scratch / "pid").read_text())}, 30.0)
    assert not (scratch / "went-on").exists()


def the_trap_alone_runs(host: Any, scratch: Path, child: str) -> None:
    """Cancel a plugin with a trap, whose child in front does what it is told."""
    script = f"""\
trap 'echo tidied >{scratch}/tidied; exit 0' TERM
bash -c '{child}'
echo >{scratch}/went-on"""
    watcher = host.cancel_when(lambda: (scratch / "child").exists())
    result = host.run(script)
    watcher.join()
    assert result.outcome is Outcome.CANCELLED
    until(lambda: (scratch / "tidied").exists())
    assert not processes.wait_gone({int((scratch / "child").read_text())}, 10.0)
    assert not (scratch / "went-on").exists()


def test_a_foreground_child_of_a_trap_dies_too(host: Any, scratch: Path) -> None:
    """Bash runs the trap when its child has ended; whether it goes on then is its own will."""
    the_trap_alone_runs(host, scratch, f"echo $$ >{scratch}/child; exec sleep 600")


def test_what_ignores_term_keeps_no_trap_from_running(host: Any, scratch: Path) -> None:
    forever = "while :; do sleep 600; done"
    the_trap_alone_runs(host, scratch, f'trap "" TERM; echo $$ >{scratch}/child; {forever}')


def test_what_stays_after_term_is_killed_with_its_parents(host: Any, scratch: Path) -> None:
    """A shell with a trap goes on when its child is killed, so it has to stop before that."""
    script = f"""\
trap : TERM
for n in 1 2 3 4 5 6 7 8; do
  bash -c "trap : TERM
    bash -c 'trap : TERM; echo \\$\\$ >>{scratch}/pids; while :; do sleep 600; done'
    echo >{scratch}/went-on.$n" &
done
bash -c 'trap : TERM; while :; do sleep 600; done'
echo >{scratch}/went-on.main"""
    watcher = host.cancel_when(
        lambda: (scratch / "pids").exists() and (scratch / "pids").read_text().count("\n") == 8
    )
    result = host.run(script)
    watcher.join()
    assert result.outcome is Outcome.CANCELLED
    pids = {int(pid) for pid in (scratch / "pids").read_text().split()}
    assert not processes.wait_gone(pids, 15.0)
    assert not list(scratch.glob("went-on.*"))


@pytest.mark.parametrize("command", [":", ""], ids=["catches", "ignores"])
def test_what_was_found_once_is_not_forgotten(host: Any, scratch: Path, command: str) -> None:
    """A mark, a parent and a group are gone at once, when all others have died of their TERM."""
    child = f"trap '{command}' TERM; echo $$ >{scratch}/pid; while :; do sleep 600; done"
    script = 'env -i PATH="$PATH" setsid bash -c "$RUNE_PARAM_CHILD" & wait'
    watcher = host.cancel_when(lambda: (scratch / "pid").exists())
    result = host.run(script, {"child": child})
    watcher.join()
    assert result.outcome is Outcome.CANCELLED
    assert not processes.wait_gone({int((scratch / "pid").read_text())}, host.dies_within_s)


def test_what_forks_all_the_time_is_caught(streaming: Any, scratch: Path) -> None:
    """Each child is in a session of its own and nobody's; a fork may be under way at any time."""
    script = f"while :; do setsid bash -c 'echo $$ >>{scratch}/pids; exec sleep 600' & done"
    result = streaming.run(script, limits=Limits(0.5, grace_s=60.0))
    assert (result.outcome, result.reason) == (Outcome.TIMED_OUT, "timed_out")
    pids = {int(pid) for pid in (scratch / "pids").read_text().split()}
    assert not processes.wait_gone(pids, 1.0)


FORKS = """\
import os, signal, subprocess, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
open(os.environ["up"], "w").close()
while True: subprocess.run(["true"])"""
READS = """\
import os, signal, time
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
open(os.environ["up"], "w").close()
signal.sigwait([signal.SIGTERM])
time.sleep(1.5)"""


@pytest.mark.parametrize(
    "script",
    [
        "trap 'exit 0' TERM; echo >{up}; while :; do /bin/true; done",
        f"export up={{up}}; exec python3 -c '{FORKS}'",
        f"export up={{up}}; exec python3 -c '{READS}'",
    ],
    ids=["bash", "python", "sigwait"],
)
def test_what_blocks_term_for_a_moment_or_to_read_it_takes_it(
    streaming: Any, scratch: Path, script: str
) -> None:
    """Bash and Python block TERM while they start a command."""
    invocations = [
        streaming.invocation(
            script.format(up=scratch / f"up{number}"),
            target=replace(streaming.target, name=f"node{number}"),
            limits=Limits(120.0, grace_s=60.0),
        )
        for number in range(10)
    ]
    watcher = streaming.cancel_when(lambda: len(list(scratch.glob("up*"))) == 10)
    results = streaming.carry(*invocations)
    watcher.join()
    assert [one.exit_code for one in results] == [0] * 10


# Plugins that look as if they had ended, or were none; each says its process id.
ODD = {
    "its first thread has ended": """\
threading.Thread(target=time.sleep, args=[600]).start()
ctypes.CDLL(None).pthread_exit(None)""",
    "it has joined the group of the bootstrap": """\
os.setpgid(0, os.getpgid(os.getppid()))
time.sleep(600)""",
}


@pytest.mark.parametrize("odd", ODD)
def test_odd_plugins_are_killed_at_their_deadline(streaming: Any, scratch: Path, odd: str) -> None:
    script = f"""\
import ctypes, os, threading, time
open("{scratch}/pid", "w").write(str(os.getpid()))
{ODD[odd]}"""
    result = streaming.run(script, interpreter=("python3",), limits=Limits(1.0, grace_s=60.0))
    assert (result.outcome, result.reason) == (Outcome.TIMED_OUT, "timed_out")
    assert not processes.wait_gone({int((scratch / "pid").read_text())}, 1.0)


# Takes every process that its account may have, and none of them acts on TERM at once.
CROWD = """\
$SIG{TERM} = sub { sleep 600 };
for (1 .. 100) {
    my $child = fork;
    if (!defined $child) { open my $full, ">", "%s"; last }
    last if !$child;
}
sleep 600"""


@pytest.mark.needs_root
@pytest.mark.parametrize("transport", ["ssh", "openssh"])
@pytest.mark.parametrize("cancelled", [True, False], ids=["cancel", "deadline"])
def test_a_plugin_that_takes_all_processes_is_killed(
    host_factory: Any, sshd: Sshd, public: Path, transport: str, cancelled: bool
) -> None:
    with Account(bashrc="ulimit -u 40") as made:
        host = host_factory(sshd.target("x", user=made.name, transport=transport))
        script = CROWD % (public / "full")
        if cancelled:
            watcher = host.cancel_when(lambda: (public / "full").exists())
        limits = Limits(60.0 if cancelled else 3.0, grace_s=60.0)
        result = host.run(script, interpreter=("perl",), limits=limits)
        if cancelled:
            watcher.join()
        assert (public / "full").exists()
        assert result.outcome is (Outcome.CANCELLED if cancelled else Outcome.TIMED_OUT)
        until(lambda: {processes.name(pid) for pid in made.pids()} <= {"sshd"})


def test_what_has_stopped_itself_gets_its_term(streaming: Any, scratch: Path) -> None:
    script = f"trap 'echo >{scratch}/tidied; exit 0' TERM; kill -STOP $$; echo >{scratch}/went-on"
    result = streaming.run(script, limits=Limits(1.0))
    assert (result.outcome, result.reason) == (Outcome.TIMED_OUT, "timed_out")
    assert (scratch / "tidied").exists()
    assert not (scratch / "went-on").exists()


@pytest.mark.parametrize("transport", ["ssh", "openssh"])
def test_another_users_process_does_not_hold_up_the_end(
    host_factory: Any, sshd: Sshd, public: Path, transport: str
) -> None:
    """Nobody can stop it, nor has to: the shell that waits for it is gone."""
    with Account(sudo="nopasswd") as made:
        host = host_factory(sshd.target("x", user=made.name, transport=transport))
        sleep = f"sh -c 'echo $$ >{public}/pid; exec sleep 40'"
        script = f"sudo -n {sleep}; echo >{public}/went-on"
        result = host.run(script, limits=Limits(2.0, grace_s=60.0))
        processes.end({int((public / "pid").read_text())})  # unless the kernel's HUP has ended it
        assert (result.outcome, result.reason) == (Outcome.TIMED_OUT, "timed_out")
        assert result.duration_s < 40.0
        assert not (public / "went-on").exists()


def test_what_a_plugin_left_in_its_group_does_not_go_on(host: Any, scratch: Path) -> None:
    """Neither what acts on TERM nor what does not."""
    waits = "\n".join(WAITS).replace("set -m; ", "")  # that is another group
    script = SCRIPT % (scratch, waits, len(DEAF))
    script = script.replace("sleep 600\necho main", f"echo '{OK}'; exit\n")
    assert host.run(script, {"name": "node"}).outcome is Outcome.OK
    nothing_went_on(scratch)
