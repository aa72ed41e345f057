"""Every command prints, with -o json, a document of the schema that specs/README.md names for it.

``Rune`` holds what it runs, here and in all other tests, against that schema.
"""

from __future__ import annotations

import time
from typing import Any

import pytest

from lom.cli.app import rune
from tests.support.documents import DOCUMENTS, check_document, schema_of

from .everything import leaves

HOLD = "while [ -e hold ]; do sleep 0.05; done\n"
POLICY = """\
approvals: approvals
policy:
  rules: [{name: two, actions: t.wipe, approval: {approvers: [somebody-else]}, effect: allow}]
"""
# In this order; {run} is a run that measured, {held} one that goes on, {killed} one whose process
# is gone, {waiting} one that needs an approval.
LINES = """\
run t.measure -t all
run t.measure -t all --dry-run
run t.wipe -t web1 --dry-run
action list
action show gpu.health
plugin list
plugin new t-new
plugin check t-new
plugin test t-new --only orphans
plugin run-local t-typed -p gpu_index=1
plugin run-local t-broken
plugin install plugins/t-new
plugin list
plugin remove t-new
plugin lock
plugin verify
target list
target show web1
target ping -t web1
target disconnect
target cache show web1
target cache clear web1
runs list
runs show {run}
runs show {killed}
runs events {run}
runs rerun {run}
runs rerun {run} --dry-run
runs compare {run} {run}
runs cancel {held}
runs resume {killed}
fleet report {run}
baseline save b {run}
baseline list
baseline show b
baseline remove b
approve --list
approve {waiting} --dry-run
audit show
audit verify
config show
config trust --list
doctor -t web1
runs prune --older-than 0s
"""


def test_every_command_has_a_schema_and_no_other_has() -> None:
    commands = set(leaves(rune)) - {"completion"}
    named = {command.partition(" --")[0] for command in DOCUMENTS}
    assert named == commands
    tried = {schema_of(line.split()) for line in LINES.splitlines()}
    assert tried == set(DOCUMENTS.values())


@pytest.fixture
def busy(fleet: Any, answers: Any) -> Any:
    """``fleet`` with what it takes to have a run of each kind."""
    metric = {"name": "speed", "value": 2.0, "unit": "GB/s", "better": "higher"}
    fleet.plugin("t.measure", answers({"metrics": [{**metric, "samples": [1.9, 2.0, 2.1]}]}))
    fleet.plugin("t.held", f"cd {fleet.folder}\n{HOLD}{answers({})}")
    fleet.folder.joinpath("approvals").mkdir()
    fleet.folder.joinpath("approvals").chmod(0o3770)
    fleet.write("rune.yaml", POLICY)
    fleet.write("hold", "")
    return fleet


def wait_for(rune: Any, status: str) -> str:
    """Return the newest run once it has this status."""
    while not (found := rune("runs", "list", "--status", status, "-o", "json").document["runs"]):
        time.sleep(0.1)
    return str(found[0]["run_id"])


def test_every_document_matches_its_schema(busy: Any) -> None:
    killed = busy.start("run", "t.held", "-t", "web1", "--timeout", "900")
    with killed:
        wait_for(busy, "running")
        killed.kill()
        killed.communicate()
    runs = {"killed": wait_for(busy, "interrupted")}
    with busy.start("run", "t.held", "-t", "web2", "--timeout", "900") as held:
        runs["held"] = wait_for(busy, "running")
        assert busy("run", "t.wipe", "-t", "db1", "-o", "json").code == 3
        runs["waiting"] = wait_for(busy, "waiting")
        for line in LINES.splitlines():
            done = busy(*line.format(**runs).split(), "-o", "json")
            assert "error_data" not in done.document, (line, done.stderr)
            runs.setdefault("run", done.document.get("run_id"))
            if line.startswith("runs cancel"):
                busy.folder.joinpath("hold").unlink()
                held.communicate()


def test_a_document_of_another_form_would_be_found() -> None:
    with pytest.raises(AssertionError, match="groups"):
        check_document(["target", "list", "-o", "json"], b'{"targets": [], "sources": []}')
