"""What a person at a terminal sees: colours, progress, questions (real ptys)."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from lmm.testing import processes
from lom.cli.interrupts import ONE_WISH_S

ROOT = Path(__file__).resolve().parents[3]


class Person:
    """Somebody with a process on a terminal of 80 columns."""

    def __init__(self, start: Callable[..., Any], *arguments: str, **options: Any) -> None:
        self.master, terminal = pty.openpty()
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        streams = {"stdin": terminal, "stdout": terminal, "stderr": terminal, **options}
        env = {"TERM": "xterm", **streams.pop("env", {})}
        self.process: subprocess.Popen[bytes] = start(*arguments, env=env, **streams)
        os.close(terminal)
        self.seen = ""

    def read(self, until: str | None = None) -> str:
        """Read to the end, or until ``until`` has come."""
        end = time.monotonic() + 30
        while until is None or until not in self.seen:
            assert time.monotonic() < end, self.seen
            if select.select([self.master], [], [], 0.1)[0]:
                try:
                    data = os.read(self.master, 65536)
                except OSError:
                    break
                if not data:
                    break
                self.seen += data.decode()
        return self.seen

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def end(self) -> int:
        self.read()
        return self.process.wait(30)


@pytest.fixture
def terminal(fleet: Any) -> Iterator[Callable[..., Person]]:
    people: list[Person] = []

    def start(*arguments: str, by: Callable[..., Any] = fleet.start, **options: Any) -> Person:
        people.append(Person(by, *arguments, **options))
        return people[-1]

    yield start
    for person in people:
        with contextlib.suppress(ProcessLookupError):
            person.process.kill()
        person.process.communicate()
        os.close(person.master)


def test_a_terminal_gets_colour_and_fitting_lines(terminal: Any) -> None:
    person = terminal("run", "noop", "-t", "web", "-p", f"text={'long ' * 40}")
    assert person.end() == 0
    assert "\x1b[32mok\x1b[0m" in person.seen
    assert "…" in person.seen
    assert "2 targets: \x1b[32m2 ok\x1b[0m" in person.seen


@pytest.mark.parametrize(
    ("arguments", "env"),
    [
        (["--no-color"], {}),
        ([], {"NO_COLOR": "1"}),
        ([], {"TERM": "dumb"}),
    ],
)
def test_no_colour_when_it_is_not_wanted(
    terminal: Any, arguments: list[str], env: dict[str, str]
) -> None:
    person = terminal("run", "t.broken", "-t", "web", *arguments, env=env)
    assert person.end() == 1
    assert not re.search(r"\x1b\[[0-9;]*m", person.seen)
    assert "it broke" in person.seen


@pytest.fixture
def waiting(fleet: Any) -> Path:
    """The file that ends ``t.wait``, an action that fails on web1 and is half through elsewhere."""
    go: Path = fleet.folder / "go"
    fleet.plugin(
        "t.wait",
        'grep -q \'"target":"web1"\' && { echo \'{"error": {"code": 3, "message": "early"}}\';'
        " exit 3; }\n"
        'echo \'##rune {"kind": "progress", "percent": 50, "message": "half"}\' >&2\n'
        f"until [ -e {go} ]; do sleep 0.05; done\n"
        'echo \'{"payload": {"result": "success", "output_data": {}}}\'\n',
    )
    return go


def test_progress_is_on_stderr_and_disappears(terminal: Any, waiting: Path) -> None:
    person = terminal("run", "t.wait", "-t", "web", "-o", "json", stdout=subprocess.PIPE)
    person.read("1/2 done")
    person.read("  50% half")
    person.read("web1  \x1b[31mfailed\x1b[0m")
    waiting.touch()
    person.read()
    out = person.process.stdout.read()
    assert person.process.wait(30) == 7
    assert out.startswith(b'{"run_id"')
    assert person.seen.endswith("A\x1b[J\x1b[?7h")


def test_a_dumb_terminal_gets_no_cursor_moved(terminal: Any) -> None:
    person = terminal("run", "noop", "-t", "web", env={"TERM": "dumb"})
    assert person.end() == 0
    assert "\x1b" not in person.seen
    assert "2 targets: 2 ok" in person.seen


def test_ctrl_c_is_answered_within_the_block(terminal: Any, waiting: Path) -> None:
    person = terminal("run", "t.wait", "-t", "web", stdout=subprocess.DEVNULL)
    person.read("50% half")
    person.process.send_signal(signal.SIGINT)
    person.read("cancelling; once more quits at once")
    assert person.end() == 130
    last_frame = person.seen.rpartition("\x1b[?7l")[2]
    assert re.match(r"\r\x1b\[\dA\x1b\[J\x1b\[\?7h2 targets: ", last_frame)


def test_ctrl_c_twice_leaves_a_terminal_that_needs_no_repair(fleet: Any, terminal: Any) -> None:
    pids = fleet.folder / "pids"
    fleet.plugin("t.stubborn", f"trap : TERM\necho $$ >> {pids}\nwhile :; do sleep 300; done\n")
    person = terminal("run", "t.stubborn", stdout=subprocess.DEVNULL)
    person.read("running  ")
    person.process.send_signal(signal.SIGINT)
    person.read("cancelling; once more quits at once")
    time.sleep(ONE_WISH_S)
    person.process.send_signal(signal.SIGINT)
    assert person.end() == 130
    assert person.seen.endswith("\x1b[?7h\r\n")
    assert "\x1b[?25l" not in person.seen
    assert not processes.wait_gone([int(pid) for pid in pids.read_text().split()], 30)


@pytest.mark.parametrize(("behind", "shown"), [("", True), (" & wait", False)])
def test_a_run_that_the_shell_put_behind_leaves_the_terminal_alone(
    fleet: Any, terminal: Any, behind: str, shown: bool
) -> None:
    fleet.plugin("t.second", "sleep 1\nexit 1\n")

    def shell(command: str, env: Mapping[str, str], **streams: Any) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            ["setsid", "--ctty", "bash", "-c", f"set -m; {command}"],
            cwd=fleet.folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), **env},
            **streams,
        )

    rune = f"{sys.executable} -m lom.cli run t.second --no-color"
    person = terminal(f"{rune}{behind}", by=shell)
    person.read()
    assert "1 target: " in person.seen
    assert ("0/1 done" in person.seen) is shown


def test_quiet_and_pipes_have_no_progress(terminal: Any) -> None:
    person = terminal("run", "noop", "-q", stdout=subprocess.DEVNULL)
    assert person.end() == 0
    assert person.seen == ""


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("n\n", 3), ("\n", 3)])
def test_a_destructive_action_asks_a_person(terminal: Any, answer: str, code: int) -> None:
    person = terminal("run", "t.wipe", "-t", "web")
    person.read("[y/N] ")
    person.type(answer)
    assert person.end() == code


def test_ctrl_c_at_the_question_starts_nothing(terminal: Any) -> None:
    person = terminal("run", "t.wipe", "-t", "web")
    person.read("[y/N] ")
    person.process.send_signal(2)
    assert person.end() == 130
    assert "cancelled" in person.seen


def test_programs_are_never_asked(terminal: Any) -> None:
    person = terminal("run", "t.wipe", "-t", "web", "-o", "json")
    assert person.end() == 3
    assert "[y/N]" not in person.seen
