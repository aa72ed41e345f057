"""Approvals between users of the operating system: who may, of what exactly, once, and in time."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from lmm.envelope import timestamp
from tests.integration.clock import Clock
from tests.support.errors import reason

from .conftest import Done
from .office import ADMIN, INVENTORY, WIPE, Office, data


def test_a_run_waits_for_another_and_starts_once(office: Office) -> None:
    asked = office.ann(*WIPE)
    run_id, plan_hash = data(asked)["run_id"], data(asked)["plan_hash"]
    assert (asked.code, reason(asked)) == (3, "approval_required")
    assert f"needs an approval by {ADMIN} (rule 'wipe-needs-two' of" in asked.stderr
    assert f"`rune approve {run_id}`" in asked.stderr
    approved = (*WIPE, "--approved", run_id)

    [row] = office.ann("runs", "list", "--status", "waiting", "-o", "json").document["runs"]
    assert (row["run_id"], row["who"], row["plan_hash"]) == (run_id, office.ann.name, plan_hash)
    shown = office.ann("runs", "show", run_id, "-o", "json").document
    assert (shown["status"], shown["not_started"]) == ("waiting", ["web1"])

    early = office.ann(*approved)
    assert (early.code, reason(early)) == (3, "approval_required")
    own = office.ann("approve", run_id, "--yes", "-o", "json")
    assert (own.code, reason(own)) == (3, "policy_denied")
    assert "somebody else has to answer" in own.stderr
    other = office.stranger("approve", run_id, "--yes", "-o", "json")
    assert (other.code, reason(other)) == (3, "policy_denied")
    assert f"nobody may not answer {run_id}" in other.stderr

    [listed] = office.admin("approve", "--list", "-o", "json").document["requests"]
    assert (listed["run_id"], listed["user"], listed["plan_hash"], listed["targets"]) == (
        run_id,
        office.ann.name,
        plan_hash,
        1,
    )
    given = office.admin("approve", run_id[:-2], "--yes", "--expect", plan_hash, "-o", "json")
    assert given.code == 0, given.stderr
    assert given.document["answer"]["approved"] is True

    stolen = office.stranger(*approved)
    assert (stolen.code, reason(stolen)) == (3, "policy_denied")
    dry = office.ann(*approved, "--dry-run")
    assert (dry.code, dry.document["policy"]["allowed"]) == (0, True)
    started = office.ann(*approved)
    assert started.code == 0, started.stderr
    assert started.document["run_id"] == run_id
    assert started.document["results"][0]["output_data"] == {"wiped": True}
    again = office.ann(*approved)
    assert (again.code, reason(again)) == (3, "approval_void")
    assert f"the approval of {run_id} was used" in again.stderr
    assert office.admin("approve", "--list", "-o", "json").document == {"requests": []}

    [row] = office.ann("runs", "list", "-o", "json").document["runs"]
    assert (row["status"], row["plan_hash"]) == ("ok", plan_hash)
    assert row["approved_by"] == [ADMIN]
    events = [(line["event"], line.get("reason")) for line in office.ann.audit]
    assert events == [
        ("run.waiting", "approval_required"),
        ("approval.refused", "approval_required"),
        ("run.admitted", None),
        ("run.finished", None),
        ("approval.refused", "approval_void"),
    ]
    admitted = office.ann.audit[2]["approval"]
    assert (admitted["plan_hash"], admitted["approved_by"][0]["user"]) == (plan_hash, ADMIN)
    [line] = office.admin.audit
    assert (line["event"], line["run_id"], line["who"]["uid"]) == ("approval.given", run_id, 0)
    assert line["targets"]["names"] == ["web1"]


Change = Callable[[Office], tuple[str, ...]]


def other_address(office: Office) -> tuple[str, ...]:
    office.write("inventory.yaml", INVENTORY.replace("{transport", "{host: other, transport", 1))
    return ()


def other_bytes(office: Office) -> tuple[str, ...]:
    script = office.folder / "plugins" / "t-wipe" / "main.sh"
    script.write_text(script.read_text() + "# changed\n")
    return ()


def other_manifest(office: Office) -> tuple[str, ...]:
    manifest = office.folder / "plugins" / "t-wipe" / "plugin.json"
    manifest.write_text(manifest.read_text().replace("1.0.0", "1.0.1"))
    return ()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda office: ("-p", "token=x"), "parameters.token"),
        (lambda office: ("-t", "web2"), "target web2 is new"),
        (lambda office: ("--timeout", "7"), "options.timeout_s"),
        (lambda office: ("--batch", "1"), "options.batch"),
        (lambda office: ("--become",), "target web1 (settings)"),
        (other_address, "target web1 (address)"),
        (other_bytes, "plugin t-wipe (sha256)"),
        (other_manifest, "plugin t-wipe (manifest_sha256, version)"),
    ],
)
def test_a_changed_plan_is_not_what_was_approved(
    office: Office, change: Change, named: str
) -> None:
    run_id = office.ask()
    assert office.admin("approve", run_id, "--yes", "-q").code == 0
    changed = office.ann(*WIPE, "--approved", run_id, *change(office))
    assert (changed.code, reason(changed)) == (3, "approval_void")
    assert named in data(changed)["differences"]
    assert named in changed.stderr
    last = office.ann.audit[-1]
    assert (last["event"], last["reason"]) == ("approval.refused", "approval_void")


def test_what_is_the_same_plan_may_be_written_in_another_way(office: Office) -> None:
    run_id = office.ask()
    assert office.admin("approve", run_id, "--yes", "-q").code == 0
    params = office.write("job.json", '{"disk": "sdb"}')
    again = ("run", "t.wipe", "-t", "web[1-1]", "--params", str(params), "--approved", run_id)
    assert office.ann(*again, "-q").code == 0


def test_what_the_asker_forges_counts_for_nothing(office: Office) -> None:
    other = office.ask("run", "t.wipe", "-t", "web2", "-o", "json")
    assert office.admin("approve", other, "--yes", "-q").code == 0
    run_id = office.ask()
    plan_hash = office.admin("approve", "--list", "-o", "json").document["requests"][1]["plan_hash"]
    genuine = office.answer(other)
    forged = json.loads(genuine.read_text()) | {"run_id": run_id, "plan_hash": plan_hash}
    own = office.approvals / f"{run_id}.aaaaaaaa.answer.json"
    link, linked = (office.approvals / f"{run_id}.{one * 8}.answer.json" for one in "bc")

    def refused() -> str:
        done = office.ann(*WIPE, "--approved", run_id)
        assert done.code == 3
        return reason(done)

    office.ann.writes(own, json.dumps(forged))
    assert refused() == "approval_required"
    office.ann.writes(own, json.dumps(forged | {"user": office.ann.name}))
    assert refused() == "approval_required"
    link.symlink_to(genuine)
    assert refused() == "approval_required"
    # even a file of the admin's, if it has a second name or others could have written it
    genuine.write_text(json.dumps(forged))
    os.link(genuine, linked)
    assert refused() == "approval_required"
    linked.unlink()
    genuine.rename(linked)
    linked.chmod(0o666)
    assert refused() == "approval_required"
    linked.chmod(0o644)
    assert office.ann(*WIPE, "--approved", run_id, "-q").code == 0


def test_what_the_asker_cannot_remove_or_change_afterwards(office: Office) -> None:
    run_id = office.ask()
    assert office.admin("approve", run_id, "--deny", "not today", "-q").code == 0
    answer = office.answer(run_id)
    for command in (["rm", "-f", str(answer)], ["sh", "-c", f"echo > {answer}"]):
        user = str(office.ann.uid)
        alone = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", *command]
        assert subprocess.run(alone, capture_output=True, timeout=60).returncode != 0
    done = office.ann(*WIPE, "--approved", run_id)
    assert (done.code, reason(done)) == (3, "approval_denied")
    assert f"denied by {ADMIN}" in done.stderr
    assert "not today" in done.stderr
    assert office.admin.audit[-1]["event"] == "approval.denied"
    # an approval besides does not outvote it
    assert office.admin("approve", run_id, "--yes", "-q").code == 0
    assert reason(office.ann(*WIPE, "--approved", run_id)) == "approval_denied"


def test_who_approves_is_shown_what_the_hash_is_of(office: Office) -> None:
    run_id = office.ask()
    shown = office.admin("approve", run_id, "--dry-run")
    assert shown.code == 0
    for words in (f"asked by    {office.ann.name}", 'disk = "sdb"', "web1  local web1  t-wipe"):
        assert words in shown.text
    document = office.admin("approve", run_id, "--dry-run", "-o", "json").document
    [plugin] = document["subject"]["plugins"]
    assert f"t-wipe 1.0.0 sha256 {plugin['sha256']}" in shown.text
    assert document["plan_hash"] in shown.text
    assert not list(office.approvals.glob("*.answer.json"))
    unasked = office.admin("approve", run_id, "-o", "json")
    assert (unasked.code, reason(unasked)) == (3, "confirmation_required")

    # the asker changes the request after it was seen: what was approved is not what runs
    path = office.approvals / f"{run_id}.request.json"
    request = json.loads(path.read_text())
    request["subject"]["parameters"]["disk"] = "sda"
    office.ann.writes(path, json.dumps(request))
    seen = ("approve", run_id, "--yes", "--expect", document["plan_hash"], "-o", "json")
    refused = office.admin(*seen)
    assert (refused.code, reason(refused)) == (3, "approval_void")
    assert office.admin("approve", run_id, "--yes", "-q").code == 0
    request["subject"]["parameters"]["disk"] = "sdb"
    office.ann.writes(path, json.dumps(request))
    assert reason(office.ann(*WIPE, "--approved", run_id)) == "approval_required"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{}", "cannot be used"),
        ("not json", "cannot be used"),
        (None, "belongs to 'nobody'"),
    ],
)
def test_a_request_that_is_none_is_refused_and_not_listed(
    office: Office, text: str | None, words: str
) -> None:
    run_id = office.ask()
    path = office.approvals / f"{run_id}.request.json"
    content = path.read_text() if text is None else text
    path.unlink()
    office.stranger.writes(path, content)
    done = office.admin("approve", run_id, "--yes", "-o", "json")
    assert (done.code, reason(done)) == (2, "unknown_run")
    assert words in done.stderr
    assert office.admin("approve", "--list", "-o", "json").document == {"requests": []}


def test_an_approval_expires(office: Office, clock: Clock) -> None:
    run_id = office.ask()
    assert office.admin("approve", run_id, "--yes", "-q").code == 0

    def after(passed: timedelta) -> Done:
        clock.file.write_text(f"{passed.total_seconds():.0f}")
        return office.ann(*WIPE, "--approved", run_id, **clock.environment)

    late = after(timedelta(hours=8, minutes=1))
    assert (late.code, reason(late)) == (3, "approval_void")
    assert f"the approval by {ADMIN} has expired at" in late.stderr
    early = after(timedelta(hours=-1))
    assert (early.code, reason(early)) == (3, "approval_void")
    assert "is dated ahead" in early.stderr
    assert after(timedelta(hours=7, minutes=59)).code == 0


def test_an_answer_is_as_old_as_its_file_and_not_as_it_says(office: Office, clock: Clock) -> None:
    run_id = office.ask()
    assert office.admin("approve", run_id, "--yes", "-q").code == 0
    path = office.answer(run_id)
    answer = json.loads(path.read_text())

    def saying(at: timedelta, **changes: Any) -> Done:
        said = answer | {"at": timestamp(datetime.now(UTC) + at)} | changes
        path.write_text(json.dumps(said))
        os.utime(path, (0, 0))
        return office.ann(*WIPE, "--approved", run_id)

    ahead = saying(timedelta(hours=7))
    assert (ahead.code, reason(ahead)) == (3, "approval_required")
    denied = saying(timedelta(hours=7), approved=False, reason="not today")
    assert (denied.code, reason(denied)) == (3, "approval_denied")
    assert saying(timedelta(days=-3)).code == 0


def test_secrets_are_in_no_file_and_given_again(office: Office) -> None:
    command = (*WIPE, "--secret", "token=env:WIPE_TOKEN")
    run_id = office.ask(*command, WIPE_TOKEN="hunter2-from-env")
    request = (office.approvals / f"{run_id}.request.json").read_text()
    assert "hunter2" not in request
    assert json.loads(request)["subject"]["parameters"]["token"] == "********"
    shown = office.admin("approve", run_id, "--dry-run")
    assert 'token = "********"' in shown.text
    assert office.admin("approve", run_id, "--yes", "-q").code == 0
    without = office.ann(*WIPE, "--approved", run_id)
    assert data(without)["differences"] == ["parameters.token"]
    approved = office.ann(*command, "--approved", run_id, WIPE_TOKEN="hunter2-from-env")
    assert approved.code == 0
    for path in office.folder.rglob("*"):
        with contextlib.suppress(IsADirectoryError):
            assert b"hunter2" not in path.read_bytes()


def test_a_parameter_that_would_steer_the_terminal_is_spelt_out(office: Office) -> None:
    run_id = office.ask("run", "t.wipe", "-t", "web1", "-p", "disk=\x1b[2Jsdb", "-o", "json")
    shown = office.admin("approve", run_id, "--dry-run")
    assert "\x1b" not in shown.text
    assert "[2Jsdb" in shown.text


def test_a_folder_where_files_of_others_can_be_removed_is_refused(office: Office) -> None:
    office.approvals.chmod(0o777)
    done = office.ann(*WIPE)
    assert (done.code, reason(done)) == (2, "config_invalid")
    assert "chmod +t" in done.stderr
    office.approvals.rmdir()
    done = office.ann(*WIPE)
    assert (done.code, reason(done)) == (2, "local_io_error")
    assert "No such file" in done.stderr


def test_without_a_ledger_and_without_the_rule(office: Office) -> None:
    run_id = office.ask(*WIPE, "--no-ledger")
    assert office.admin("approve", run_id, "--yes", "-q").code == 0
    assert office.ann(*WIPE, "--no-ledger", "--approved", run_id).code == 0
    run_id = office.ask()
    office.write("rune.yaml", "approvals: approvals\n")
    # nothing demands an approval any more, so none confirms
    assert reason(office.ann(*WIPE, "--approved", run_id)) == "confirmation_required"
    assert office.ann(*WIPE, "--approved", run_id, "--yes").code == 0
