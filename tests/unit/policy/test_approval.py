"""What an approval is bound to, and whether the answers are enough: values only."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from lom.admission.approvals.standing import Answer, Demand, differences, plan_hash, standing

SUBJECT: dict[str, Any] = {
    "version": 1,
    "action": "disk.wipe",
    "parameters": {"disk": "sdb", "passes": 1, "deep": {"quick": True, "list": [1, 2]}},
    "secret_parameters": ["/token"],
    "plugins": [{"name": "disk-wipe", "version": "1.0.0", "sha256": "a", "manifest_sha256": "b"}],
    "targets": [
        {
            "name": name,
            "address": name,
            "transport": "ssh",
            "plugin": "disk-wipe",
            "settings": {"port": 22, "ssh": {"proxy_jump": "j"}},
        }
        for name in ("web1", "web2")
    ],
    "options": {"timeout_s": None, "concurrency": 64, "batch": "1,10%", "become": {"user": "root"}},
}

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.just(1.0),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
Path = tuple[str | int, ...]


def leaves(value: Any, path: Path = ()) -> Iterator[Path]:
    if isinstance(value, dict | list) and value:
        for key, one in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(one, (*path, key))
    else:
        yield path


def changed(subject: Any, path: Path, value: Any) -> Any:
    made = copy.deepcopy(subject)
    place = made
    for part in path[:-1]:
        place = place[part]
    place[path[-1]] = value
    return made


def shuffled(value: Any, order: Any) -> Any:
    """Return the value with the keys of every object in another order."""
    if isinstance(value, dict):
        keys = list(value)
        order.shuffle(keys)
        return {key: shuffled(value[key], order) for key in keys}
    return [shuffled(one, order) for one in value] if isinstance(value, list) else value


@pytest.mark.parametrize("path", [*leaves(SUBJECT)], ids=str)
@given(value=JSON)
def test_any_change_in_any_part_changes_the_hash_and_is_named(path: Path, value: Any) -> None:
    if path[-1] == "name":
        value = str(value)  # what has no name is no subject: specs/approval_v1.json
    other = changed(SUBJECT, path, value)
    assume(json.dumps(other, sort_keys=True) != json.dumps(SUBJECT, sort_keys=True))
    assert plan_hash(other) != plan_hash(SUBJECT)
    named = differences(SUBJECT, other)
    assert any(re.search(rf"\b{str(path[0]).removesuffix('s')}", one) for one in named)


@given(st.randoms())
def test_the_order_of_keys_and_a_way_through_json_change_nothing(order: Any) -> None:
    other = shuffled(json.loads(json.dumps(SUBJECT)), order)
    assert plan_hash(other) == plan_hash(SUBJECT)
    assert differences(SUBJECT, other) == []


def target(name: str, **fields: Any) -> dict[str, Any]:
    return {**SUBJECT["targets"][0], "name": name, "address": name, **fields}


WEB1, WEB2 = SUBJECT["targets"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"action": "disk.show"}, ["action"]),
        ({"parameters": {**SUBJECT["parameters"], "disk": "sda"}}, ["parameters.disk"]),
        ({"parameters": {"disk": "sdb", "passes": 1}}, ["parameters.deep"]),
        ({"secret_parameters": []}, ["secret_parameters"]),
        ({"targets": [WEB1, WEB2, target("web3")]}, ["target web3 is new"]),
        ({"targets": [WEB2]}, ["target web1 is gone"]),
        ({"targets": [WEB2, WEB1]}, ["the order of the targets"]),
        (
            {"targets": [WEB1, target("web2", address="10.0.0.9", settings={})]},
            ["target web2 (address, settings)"],
        ),
        (
            {"plugins": [{**SUBJECT["plugins"][0], "sha256": "c"}]},
            ["plugin disk-wipe (sha256)"],
        ),
        ({"options": {**SUBJECT["options"], "batch": None}}, ["options.batch"]),
        # equal in Python, not in JSON
        ({"options": {**SUBJECT["options"], "concurrency": 64.0}}, ["options.concurrency"]),
        ({"parameters": {**SUBJECT["parameters"], "passes": True}}, ["parameters.passes"]),
    ],
)
def test_what_differs_is_told_in_words(change: dict[str, Any], words: list[str]) -> None:
    other = {**SUBJECT, **change}
    assert plan_hash(other) != plan_hash(SUBJECT)
    assert differences(SUBJECT, other) == words


def test_thousands_of_differences_are_counted() -> None:
    many = {**SUBJECT, "targets": [target(f"n{number}") for number in range(5000)]}
    words = differences(SUBJECT, many)
    assert len(words) == 11
    assert words[-1] == "4992 more"


# -- the answers -------------------------------------------------------------------------------

NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)
HASH = "a" * 64
ALICE = Demand("wipe", "/etc/rune/policy.yaml", ("alice",), 3600.0)
LEADS = Demand("prod", "rune.yaml", ("@leads", "bo*"), 3600.0)


def said(user: str, approved: bool = True, *, ago_s: float = 0, **fields: Any) -> Answer:
    at = NOW - timedelta(seconds=ago_s)
    return replace(Answer(user, frozenset(), HASH, approved, at, None), **fields)


@pytest.mark.parametrize(
    ("demands", "answers", "came_to"),
    [
        ((), [], "ok"),
        ((ALICE,), [], "approval_required"),
        ((ALICE,), [said("alice")], "ok"),
        ((ALICE,), [said("carol")], "approval_required"),
        ((ALICE,), [said("alice", plan_hash="b" * 64)], "approval_required"),
        ((ALICE,), [said("alice", ago_s=3600)], "ok"),
        ((ALICE,), [said("alice", ago_s=3601)], "approval_void"),
        ((ALICE,), [said("alice", ago_s=9000), said("alice", ago_s=5)], "ok"),
        ((ALICE,), [said("alice"), said("alice", False, ago_s=9000)], "approval_denied"),
        ((ALICE,), [said("alice"), said("carol", False)], "ok"),
        ((ALICE,), [said("alice", False, plan_hash="b" * 64), said("alice")], "ok"),
        ((LEADS,), [said("carol", groups=frozenset({"leads"}))], "ok"),
        ((LEADS,), [said("leads")], "approval_required"),
        ((LEADS,), [said("bob")], "ok"),
        # nobody approves, or denies, what they asked for
        ((Demand("any", "p", ("*",), 60.0),), [said("ann")], "approval_required"),
        ((Demand("any", "p", ("*",), 60.0),), [said("ann", False), said("bob")], "ok"),
        ((ALICE, LEADS), [said("alice")], "approval_required"),
        ((ALICE, LEADS), [said("alice"), said("bob")], "ok"),
        ((ALICE, LEADS), [said("alice", groups=frozenset({"leads"}))], "ok"),
        ((ALICE, LEADS), [said("alice"), said("bob", False)], "approval_denied"),
    ],
)
def test_what_the_answers_come_to(
    demands: tuple[Demand, ...], answers: list[Answer], came_to: str
) -> None:
    for order in (answers, answers[::-1]):
        found = standing(demands, order, "ann", HASH, NOW)
        assert (found.reason or "ok") == came_to
        assert bool(found.why) is (came_to != "ok")
        assert bool(found.approved_by) is (came_to == "ok" and bool(demands))


def test_those_who_approved_are_told_once() -> None:
    both = said("alice", groups=frozenset({"leads"}))
    assert standing((ALICE, LEADS), [both], "ann", HASH, NOW).approved_by == (both,)
    denied = standing((ALICE,), [said("alice", False, reason="not now")], "ann", HASH, NOW)
    assert denied.why == "it was denied by alice at 2026-01-02 12:00 UTC: not now"
    missing = standing((ALICE, LEADS), [said("alice")], "ann", HASH, NOW)
    assert missing.why == "it needs an approval by @leads or bo* (rule 'prod' of rune.yaml)"
