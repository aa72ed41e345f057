"""service.restart: what it does to systemd, in which order, and how long it waits.

The situations it must tell apart are the cases beside the plugin.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from lmm.errors import RequestError
from lom.registry.files import bundled_plugins

CASES = bundled_plugins() / "service-restart" / "cases"
COMMANDS = {
    "systemctl": CASES / "bin" / "systemctl",
    "journalctl": CASES.parent.parent / "logs-gather" / "cases" / "bin" / "journalctl",
}


class Unit:
    """A unit of the stand-in for systemctl."""

    def __init__(self, work: Path, name: str = "web.service") -> None:
        self.folder = work / "units" / name
        self.folder.mkdir(parents=True)
        self.name = name
        self.put("now", "active", "running", 41)

    def put(self, file: str, active: str, sub: str, pid: int, result: str = "success") -> None:
        (self.folder / file).write_text(
            f"Id={self.name}\nLoadState=loaded\nActiveState={active}\nSubState={sub}\n"
            f"MainPID={pid}\nType=simple\nResult={result}\nExecMainStatus=0\n"
            "ActiveEnterTimestamp=Fri 2026-01-02 03:04:05 UTC\n"
        )

    def on_restart(self, script: str) -> None:
        (self.folder / "on-restart").write_text(script)


@pytest.fixture
def work(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


def _restart(bench: Any, work: Path, **parameters: Any) -> Any:
    return bench.run("service-restart", parameters, work.parent, commands=COMMANDS)


def test_it_restarts_once_and_only_that_service(bench: Any, work: Path) -> None:
    unit = Unit(work)
    unit.put("new", "active", "running", 52)
    unit.on_restart('cp "$folder/new" "$folder/now"\n')
    answer = _restart(bench, work, service="web")
    assert answer.exit_code == 0
    assert answer.stderr == ""
    assert answer.output_data["main_pid"] == 52
    asked = (work / "asked").read_text().splitlines()
    assert [line for line in asked if " show " not in f" {line}"] == [
        "is-system-running",
        "--no-ask-password restart -- web.service",
    ]


def test_the_duration_is_that_of_the_restart(bench: Any, work: Path) -> None:
    Unit(work).on_restart("sleep 0.3\n")
    began = time.monotonic()
    answer = _restart(bench, work, service="web")
    took = time.monotonic() - began
    assert 0.29 <= answer.output_data["duration_s"] <= took - 0.9  # it must stay up for a second


def test_a_failure_tells_the_journal_since_the_restart(bench: Any, work: Path) -> None:
    now = int(time.time())
    (work / "journal").write_text(
        f"{now - 60} web.service before the restart\n{now + 60} other.service of another\n"
    )
    unit = Unit(work)
    unit.put("new", "failed", "failed", 0, "exit-code")
    unit.on_restart(
        'cp "$folder/new" "$folder/now"\n'
        "for number in {11..25}; do"
        " printf '%(%s)T web.service line %s \"q\" \\\\ \\033[31m \\377\\n' -1 $number >>journal\n"
        "done\n"
        "echo 'Job for web.service failed.' >&2\nexit 1\n"
    )
    answer = _restart(bench, work, service="web")
    assert answer.exit_code == 3
    details = answer.error["details"]
    assert (details["active_state"], details["result"]) == ("failed", "exit-code")
    assert details["systemctl"] == "Job for web.service failed."
    lines = [line.partition(" host ")[2] for line in details["journal"]]
    assert lines == [f'line {number} "q" \\ \x1b[31m \ufffd' for number in range(11, 26)]


def test_giant_journal_lines_stay_within_the_details(bench: Any, work: Path) -> None:
    unit = Unit(work)
    unit.on_restart(
        'printf "%(%s)T web.service %s\\n" -1 "$(printf "%0100000d" 7)" >journal\nexit 1\n'
    )
    answer = _restart(bench, work, service="web")
    assert answer.exit_code == 3
    assert len(answer.stdout) < 20_000
    assert answer.error["details"]["journal"][0].endswith("07")


def test_without_journalctl_the_failure_is_still_told(bench: Any, work: Path) -> None:
    Unit(work).on_restart("echo 'Job for web.service failed.' >&2\nexit 1\n")
    answer = bench.run(
        "service-restart",
        {"service": "web"},
        work.parent,
        commands={"systemctl": COMMANDS["systemctl"]},
        without=["journalctl"],
    )
    assert answer.exit_code == 3
    assert answer.error["details"]["journal"] == []


@pytest.mark.parametrize(
    "complaint",
    [
        "Failed to restart web.service: Interactive authentication required.",
        "Failed to restart web.service: Access denied",
        "Failed to restart web.service: Permission denied",
    ],
)
def test_who_may_not_is_told_what_it_takes(bench: Any, work: Path, complaint: str) -> None:
    Unit(work).on_restart(f"echo '{complaint}' >&2\nexit 4\n")
    answer = _restart(bench, work, service="web")
    assert answer.exit_code == 3
    assert "may not restart web.service: that takes root" in answer.error["message"]
    assert answer.error["details"]["systemctl"] == complaint


def test_a_restart_that_hangs_is_given_up_and_leaves_no_process(bench: Any, work: Path) -> None:
    Unit(work).on_restart("exec sleep 600\n")
    answer = _restart(bench, work, service="web", wait_s=1.0)
    assert answer.exit_code == 3
    assert "systemd goes on with the restart" in answer.error["message"]


@pytest.mark.parametrize("state", ["offline\n", "unknown\n", ""])
def test_without_systemd_nothing_is_tried(bench: Any, work: Path, state: str) -> None:
    Unit(work)
    (work / "system-state").write_text(state)
    answer = _restart(bench, work, service="web")
    assert answer.exit_code == 2
    assert "systemd does not run" in answer.error["message"]
    assert (work / "asked").read_text() == "is-system-running\n"


@pytest.mark.parametrize("state", ["degraded\n", "starting\n"])
def test_a_system_that_is_not_all_well_is_good_enough(bench: Any, work: Path, state: str) -> None:
    Unit(work).on_restart("")
    (work / "system-state").write_text(state)
    assert _restart(bench, work, service="web").exit_code == 0


@pytest.mark.parametrize("name", ["a@b.service", "dev-disk\\x2dby", "a:b_c.d-e"])
def test_names_that_systemd_allows(bench: Any, work: Path, name: str) -> None:
    full = name if name.endswith(".service") else f"{name}.service"
    Unit(work, full).on_restart("")
    assert _restart(bench, work, service=name).output_data["unit"] == full


NAMES = ["", "-x", "--force", "a b", "a/b", "a;id", "$(id)", "*", "a\n", "ü", "x" * 256]


@pytest.mark.parametrize("name", NAMES, ids=repr)
def test_a_name_that_is_none_is_refused(bench: Any, work: Path, name: str) -> None:
    with pytest.raises(RequestError) as refusal:
        _restart(bench, work, service=name)
    assert refusal.value.data["field"] == "$.service"


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        *(("SERVICE", name) for name in NAMES[:-1]),
        ("WAIT_S", "0"),
        ("WAIT_S", "x"),
        ("WAIT_S", "301"),
    ],
    ids=repr,
)
def test_the_script_trusts_nobody(bench: Any, work: Path, variable: str, value: str) -> None:
    answer = bench.run(
        "service-restart",
        {"service": "web"},
        work.parent,
        env={f"RUNE_PARAM_{variable}": value},
        commands=COMMANDS,
    )
    assert answer.exit_code == 1
    assert not (work / "asked").exists()
