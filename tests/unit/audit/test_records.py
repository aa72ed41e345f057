"""What a caller can make long stands in a line of the audit log by its hash, or cut."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lmm.errors import PolicyDenied
from lmm.model import Target
from lom.admission.audit.chain import append
from lom.admission.audit.records import MOST_CHARACTERS, answered, decided, refused
from lom.admission.caller import Caller
from lom.planning.options import RunOptions
from lom.planning.plan import Plan, Step, build_request

CALLER = Caller("ann", frozenset(), "rune", 1000)


def made(names: list[str], **params: Any) -> Plan:
    return Plan(
        run_id="r1",
        action="noop",
        request=build_request("noop", names, params, "r1", {}),
        steps=tuple(Step(Target(name), None, None, "") for name in names),
        params=params,
        secret_params=frozenset(),
        options=RunOptions(),
    )


def record(names: list[str], why: str = "no") -> dict[str, Any]:
    error = PolicyDenied("policy_denied", why)
    return decided("run.denied", made(names), CALLER, {}, [], error)


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["web1", "web2"], "names"),
        (["n" * 512] * 100, "names"),
        (["n" * 512] * 130, "sha256"),
        (["\U0001f600" * 100] * 100, "sha256"),  # 12 bytes each
        (["n"] * 1000, "names"),
        (["n"] * 1001, "sha256"),
    ],
    ids=["few", "long", "too-long", "wide", "many", "too-many"],
)
def test_many_or_long_names_are_a_hash(names: list[str], told: str) -> None:
    assert record(names)["targets"].keys() == {"count", told}
    assert record(names)["targets"]["count"] == len(names)


def test_a_long_message_is_cut() -> None:
    assert record(["web1"], "x" * MOST_CHARACTERS)["message"] == "x" * MOST_CHARACTERS
    assert record(["web1"], "x" * 10**6)["message"] == "x" * (MOST_CHARACTERS - 1) + "…"


def test_whatever_is_asked_for_fits_a_line(tmp_path: Path) -> None:
    smile = "\U0001f600"  # nothing takes more bytes in a line
    names = [smile * 512] * 1000
    error = PolicyDenied("policy_denied", smile * 1_000_000)
    answer = {"user": "ann", "approved": True, "at": "", "reason": smile * 4096}
    approval = {"plan_hash": "0" * 64, "approved_by": [answer]}
    subject = {"action": "noop", "targets": [{"name": name} for name in names]}
    for line in (
        decided("run.denied", made(names, a=smile * 10**6), CALLER, {}, [], error, approval),
        refused("plugin list", CALLER, error),
        answered("r1", subject, answer, CALLER),
    ):
        append(str(tmp_path / "audit.jsonl"), line)
