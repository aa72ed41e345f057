"""What a person at a terminal sees: colours, progress, questions (real ptys)."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest


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

    def start(*arguments: str, **options: Any) -> Person:
        people.append(Person(fleet.start, *arguments, **options))
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
    assert "\x1b[3" not in person.seen
    assert "it broke" in person.seen


def test_progress_is_on_stderr_and_disappears(fleet: Any, terminal: Any) -> None:
    go = fleet.folder / "go"
    fleet.plugin(
        "t.wait",
        'echo \'##rune {"kind": "progress", "percent": 50, "message": "half"}\' >&2\n'
        f"until [ -e {go} ]; do sleep 0.05; done\n"
        'echo \'{"payload": {"result": "success", "output_data": {}}}\'\n',
    )
    person = terminal("run", "t.wait", "-t", "web", "-o", "json", stdout=subprocess.PIPE)
    person.read("0/2 done  2 running")
    person.read("(50% half)")
    go.touch()
    person.read()
    out = person.process.stdout.read()
    assert person.process.wait(30) == 0
    assert out.startswith(b'{"run_id"')
    assert person.seen.endswith("\r\x1b[K")


def test_failures_show_as_they_come(fleet: Any, terminal: Any) -> None:
    go = fleet.folder / "go"
    fleet.plugin(
        "t.half",
        'grep -q \'"target":"web1"\' && { echo \'{"error": {"code": 3, "message": "early"}}\';'
        f" exit 3; }}\nuntil [ -e {go} ]; do sleep 0.05; done\nexit 0\n",
    )
    person = terminal("run", "t.half", "-t", "web", stdout=subprocess.DEVNULL)
    person.read("web1  \x1b[31mfailed\x1b[0m  early")
    go.touch()
    person.read()
    assert person.process.wait(30) == 7


def test_quiet_and_pipes_have_no_progress(fleet: Any, terminal: Any) -> None:
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
