"""Whose a request is decides what a start under its id is told, and how it is recorded."""

from __future__ import annotations

import os

import pytest

from tests.support.errors import reason

from .office import RULES, WIPE, Office, data
from .service import Service

FACTS = ("run", "host.info", "-t", "web1", "-o", "json")


@pytest.mark.needs_root
def test_a_start_that_is_refused_is_no_line_of_the_run(service: Service) -> None:
    alice, bob = service.alice, service.bob
    run_id = data(service(alice, *FACTS))["run_id"]
    assert service(bob, "approve", run_id, "--yes").code == 0
    assert service(alice, *FACTS, "--approved", run_id).code == 0
    for person, why in ((alice, "approval_void"), (bob, "policy_denied")):
        assert reason(service(person, *FACTS, "--approved", run_id)) == why
    unlisted = ("run", "logs.gather", "-t", "web1", "-o", "json")  # the rules refuse it
    assert reason(service(bob, *unlisted, "--approved", run_id)) == "policy_denied"
    lines = [line for line in service.audit if line.get("run_id") == run_id]
    assert [(line["event"], line["who"]["user"]) for line in lines] == [
        ("run.waiting", alice.name),
        ("approval.given", bob.name),
        ("run.admitted", alice.name),
        ("run.finished", alice.name),
        ("approval.refused", alice.name),
        ("approval.refused", bob.name),
        ("approval.refused", bob.name),
    ]


@pytest.mark.needs_root
def test_who_may_not_see_a_request_is_told_that_there_is_none(service: Service) -> None:
    run_id = data(service(service.bob, *FACTS))["run_id"]
    request = service.folder / "approvals" / f"{run_id}.request.json"
    absent = service(service.alice, *FACTS, "--approved", "r1")
    assert reason(absent) == "unknown_run"

    def told() -> str:
        done = service(service.alice, *FACTS, "--approved", run_id)
        return done.stderr.replace(run_id, "r1")

    assert told() == absent.stderr
    used = request.rename(request.with_name(f"{run_id}.used.json"))
    assert told() == absent.stderr
    used.unlink()


def test_what_could_not_be_recorded_still_waits(office: Office) -> None:
    run_id = office.ask()
    assert office.admin("approve", run_id, "--yes", "-q").code == 0
    office.write("broken", "")
    office.write("rune.yaml", f"{RULES}audit: {{log: broken/log, required: true}}\n")
    done = office.ann(*WIPE, "--approved", run_id)
    assert (done.code, reason(done)) == (3, "audit_unavailable")
    assert os.listdir(office.approvals)
    office.write("rune.yaml", RULES)
    assert office.ann(*WIPE, "--approved", run_id, "-q").code == 0
