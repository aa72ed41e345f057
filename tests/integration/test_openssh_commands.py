"""Connections that one command leaves to the next: real processes of ``rune``, one after another
or at once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from lmm.ssh import masters, mux_client
from lmm.testing import Sshd, processes
from lmm.transports import disconnect

REPOSITORY = Path(__file__).resolve().parents[2]
LOGIN = "Accepted publickey for "
PATIENCE_S = 20.0


def sockets() -> list[str]:
    return sorted(str(path) for path in masters.directory().iterdir() if path.is_socket())


def master() -> int:
    (socket,) = sockets()
    return mux_client.pid_of(socket)


def comes_true(condition: Callable[[], Any]) -> bool:
    until = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.01)
    return True


@pytest.fixture
def inventory(sshd: Sshd) -> Iterator[Path]:
    path = Path(os.environ["HOME"], "inventory.yaml")
    path.write_text(sshd.inventory(1))
    yield path
    disconnect()


def rune(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "lom.cli", *words, "-o", "json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
    )


def document(process: subprocess.Popen[str]) -> Mapping[str, Any]:
    out, err = process.communicate()
    assert process.returncode == 0, err
    found: Mapping[str, Any] = json.loads(out)
    return found


def noop(inventory: Path, transport: str = "openssh") -> subprocess.Popen[str]:
    return rune("run", "noop", "-t", "all", "-i", str(inventory), "--transport", transport)


def test_a_second_command_uses_the_first_ones_connection(sshd: Sshd, inventory: Path) -> None:
    before = sshd.log.count(LOGIN)
    assert document(noop(inventory))["summary"]["ok"] == 1
    first = master()
    assert document(noop(inventory))["summary"]["ok"] == 1
    assert document(noop(inventory, "auto"))["summary"]["ok"] == 1
    assert master() == first
    assert sshd.log.count(LOGIN) - before == 1
    ended = document(rune("target", "disconnect", "nodes", "-i", str(inventory)))
    assert ended == {"disconnected": 1, "unanswered": 0}
    assert comes_true(lambda: not processes.is_alive(first))
    assert document(rune("target", "disconnect")) == {"disconnected": 0, "unanswered": 0}


def test_two_commands_at_once_do_not_fight(sshd: Sshd, inventory: Path) -> None:
    both = [noop(inventory) for _ in range(2)]
    assert [document(one)["summary"]["ok"] for one in both] == [1, 1]
    before = sshd.log.count(LOGIN)
    assert document(noop(inventory))["summary"]["ok"] == 1
    assert sshd.log.count(LOGIN) == before


def test_a_command_killed_while_it_logs_in_leaves_nothing_in_the_way(
    sshd: Sshd, inventory: Path
) -> None:
    listening = processes.descendants(sshd.pid)
    first = noop(inventory)
    assert comes_true(lambda: processes.descendants(sshd.pid) - listening)
    first.kill()
    first.communicate()
    assert document(noop(inventory))["summary"]["ok"] == 1
    assert len(sockets()) == 1
