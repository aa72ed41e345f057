"""Faults under a real ``rune``: what each target came to is counted, and nothing may be lost.

Every plugin here notes its target in a file the moment it runs, so that what really ran can be
held against what was told and what the ledger says.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lmm.testing import Sshd, processes
from lmm.transports import disconnect
from lom.ledger.sqlite.reader import SqliteReader
from tests.integration.cli.conftest import Done, Rune, success
from tests.integration.clock import clock as clock
from tests.support.errors import reason
from tests.support.waiting import PATIENCE_S, comes_true

TRANSPORTS = ("local", "ssh", "openssh")
NEVER_RAN = ("unreachable", "skipped")

# Sets t to the target's name, of which the digits are its number.
NOTE = """\
m=$(cat); m=${m#*'"target":"'}; m=${m#*'"target": "'}; t=${m%%\\"*}
echo "$t" >> "$RUNE_PARAM_RAN"
"""


@dataclass(frozen=True)
class Fleet:
    """``rune`` in a folder of its own, with the action ``note`` and targets to run it on."""

    rune: Rune
    sshd: Sshd

    @property
    def notes(self) -> Path:
        """Where each plugin writes its target's name."""
        return self.rune.folder / "ran"

    @property
    def ran(self) -> list[str]:
        """The targets whose plugin has run so far, each as often as it did."""
        return self.notes.read_text().split() if self.notes.exists() else []

    @property
    def plugins(self) -> set[int]:
        """The processes of our plugins that run now."""
        ours = processes.marked({"RUNE_PARAM_RAN": str(self.notes)})
        return {pid for pid in ours if processes.is_alive(pid)}

    @property
    def state(self) -> Path:
        """Where ledger and audit log are."""
        return Path(os.environ["HOME"], ".local", "state", "rune")

    def plugin(self, script: str = "") -> None:
        """Write the plugin: note the target, do ``script``, answer."""
        self.rune.plugin("note", NOTE + script + "\n" + success({}))

    def targets(self, lines: Sequence[str], server: Sshd | None = None, **ssh: object) -> None:
        """Write an inventory of n00, n01, …, each with a line such as ``port: 22``.

        ``ssh`` are settings for all.
        """
        server = server or self.sshd
        head: dict[str, object] = {
            "identity_files": f"[{server.identity_file}]",
            "use_agent": "false",
            "known_hosts": f"[{server.known_hosts}]",
            "config_file": server.ssh_config,
        }
        settings = ", ".join(f"{name}: {value}" for name, value in (head | ssh).items())
        self.rune.write(
            "inventory.yaml",
            f"defaults: {{user: {server.user}, port: {server.port}, host: 127.0.0.1,"
            f" ssh: {{{settings}}}}}\ntargets:\n"
            + "".join(f"  n{at:02}: {{{line}}}\n" for at, line in enumerate(lines)),
        )

    def mixed(self, count: int) -> None:
        """Write an inventory whose targets go over each transport in turn."""
        self.targets([f"transport: {TRANSPORTS[at % 3]}" for at in range(count)])

    def arguments(self, *more: str) -> tuple[str, ...]:
        """Return the arguments of ``rune`` that run the plugin on all targets."""
        return ("run", "note", "-t", "all", "-p", f"ran={self.notes}", "-o", "json", *more)

    def run(self, *more: str, **options: Any) -> Done:
        """Run the plugin on all targets."""
        return self.rune(*self.arguments(*more), **options)

    def count(self, document: Mapping[str, Any], is_recorded: bool = True) -> Counter[str]:
        """Return how many targets came to which outcome, after checking that nothing is lost.

        Each has one result, none ran twice, what never ran says so, and the ledger agrees.
        """
        results = {one["target"]: one["outcome"] for one in document["results"]}
        assert len(results) == len(document["results"]) == sum(document["summary"].values())
        assert len(self.ran) == len(set(self.ran)), "a target ran twice"
        assert set(self.ran) <= set(results)
        for name, outcome in results.items():
            assert name not in self.ran or outcome not in NEVER_RAN
            assert name in self.ran or outcome != "ok"
        if is_recorded:
            with SqliteReader(self.state / "ledger.sqlite") as reader:
                run = reader.find(document["run_id"])
                assert reader.document(run) == document
                assert {one.state for one in reader.targets(run)} == {"done"}
        return Counter(results.values())

    def is_quiet(self) -> bool:
        """Whether no session and no plugin is left, or soon is; masters of openssh are ended."""
        disconnect()
        left = processes.wait_gone(self.sshd.session_pids() - {self.sshd.pid}, PATIENCE_S)
        return not left and comes_true(lambda: not self.plugins)


@pytest.fixture
def fleet(tmp_path: Path, sshd: Sshd) -> Iterator[Fleet]:
    """A folder with the plugin ``note``; connections of openssh are ended afterwards."""
    made = Fleet(Rune(tmp_path), sshd)
    made.plugin()
    yield made
    disconnect()


def reasons(document: Mapping[str, Any]) -> Counter[tuple[str, str]]:
    """Return how many results have which outcome and reason; those that are ok have none."""
    return Counter((one["outcome"], reason(one)) for one in document["results"] if one["error"])
