"""Which rule decides: users, groups, actions, risks, targets, hours, numbers, and order."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from lmm.errors import RequestError
from lmm.model import Become, SshSettings, Target
from lom.admission.caller import Caller
from lom.admission.decide import Question, denial, verdicts_of
from lom.inventory.model import Inventory
from lom.settings.policy.hours import parse_window
from lom.settings.policy.rules import Policy, Rule
from lom.settings.values import SYSTEM_POLICY

TARGETS = {
    "p1": Target("p1", host="10.0.0.1", vars={"rack": "r1"}),
    "p2": Target("p2", host="10.0.0.2", vars={"rack": "r2"}),
    "c1": Target("c1", host="10.0.0.3"),
    "dev": Target("dev", host="10.0.0.4"),
}
INVENTORY = Inventory(TARGETS, {"prod": ("p1", "p2", "c1"), "canary": ("c1",)})
LOCAL = Target("local", transport="local")
NOON = datetime(2025, 1, 6, 12, 0, tzinfo=UTC)  # a Monday


def ask(
    policy: Policy,
    *targets: str,
    user: str = "ann",
    groups: tuple[str, ...] = (),
    action: str = "service.restart",
    risk: str = "change",
    now: datetime = NOON,
) -> dict[str, tuple[str | None, bool]]:
    """Return by target which rule decided and whether it allows."""
    caller = Caller(user, frozenset(groups), user, 1000)
    subjects = tuple((TARGETS[name], risk) for name in targets)
    verdicts = verdicts_of(policy, Question(action, subjects, caller, now), INVENTORY)
    return {
        name: (one.rule.name if one.rule else None, one.allowed)
        for one in verdicts
        for name in one.targets
    }


def one_rule(effect: str = "deny", **conditions: Any) -> Policy:
    return Policy("p.yaml", rules=(Rule("it", effect, **conditions),))


@pytest.mark.parametrize(
    ("conditions", "question", "matches"),
    [
        ({}, {}, True),
        ({"users": ("ann",)}, {}, True),
        ({"users": ("an",)}, {}, False),
        ({"users": ("bob", "a*")}, {}, True),
        ({"users": ("A*",)}, {}, False),
        ({"users": ("@ops",)}, {"groups": ("staff", "ops")}, True),
        ({"users": ("@ops",)}, {"user": "ops"}, False),
        ({"users": ("ops",)}, {"groups": ("ops",)}, False),
        ({"users": ("@o*",)}, {"groups": ("ops",)}, True),
        ({"actions": ("service.*",)}, {}, True),
        ({"actions": ("service",)}, {}, False),
        ({"actions": ("gpu.*", "service.restart")}, {}, True),
        ({"risks": ("destructive",)}, {}, False),
        ({"risks": ("change", "destructive")}, {}, True),
        ({"hours": (parse_window("Mon 11:00-13:00 UTC"),)}, {}, True),
        ({"hours": (parse_window("Tue 11:00-13:00 UTC"),)}, {}, False),
        (
            {"hours": (parse_window("Tue 11:00-13:00 UTC"), parse_window("12:00-12:01 UTC"))},
            {},
            True,
        ),
        ({"targets": "prod"}, {}, True),
        ({"targets": "prod and not p1"}, {}, False),
        ({"targets": "rack=r1"}, {}, True),
        ({"targets": "prod", "users": ("bob",)}, {}, False),
    ],
)
def test_a_rule_matches_when_all_its_conditions_do(
    conditions: dict[str, Any], question: dict[str, Any], matches: bool
) -> None:
    answer = ask(one_rule(**conditions), "p1", **question)
    assert answer == {"p1": ("it", False) if matches else (None, True)}


def test_the_first_rule_that_matches_decides_for_each_target() -> None:
    policy = Policy(
        "p.yaml",
        "deny",
        (
            Rule("canary first", "allow", targets="canary"),
            Rule("no prod", "deny", targets="prod"),
            Rule("late", "allow", targets="p1 or dev"),
        ),
    )
    assert ask(policy, "p1", "c1", "dev") == {
        "p1": ("no prod", False),
        "c1": ("canary first", True),
        "dev": ("late", True),
    }
    assert ask(replace(policy, rules=policy.rules[:2]), "dev") == {"dev": (None, False)}


@pytest.mark.parametrize(("default", "allowed"), [("allow", True), ("deny", False)])
def test_the_default_holds_where_no_rule_matches(default: str, allowed: bool) -> None:
    assert ask(Policy("p.yaml", default), "p1") == {"p1": (None, allowed)}


def test_max_targets_counts_what_the_rule_decides_and_matches_all_the_same() -> None:
    limited = Rule("few", "allow", targets="prod", max_targets=2)
    policy = Policy("p.yaml", rules=(limited, Rule("more", "allow")))
    assert ask(policy, "p1", "p2", "dev") == {
        "p1": ("few", True),
        "p2": ("few", True),
        "dev": ("more", True),
    }
    assert ask(policy, "p1", "p2", "c1") == dict.fromkeys(("p1", "p2", "c1"), ("few", False))


@pytest.mark.parametrize("selector", ["prud", "rack=r1 and staging", "colour=red"])
def test_a_selector_that_means_nothing_is_an_error_even_where_the_rule_does_not_matter(
    selector: str,
) -> None:
    rule = Rule("typo", "deny", line=7, users=("nobody-at-all",), targets=selector)
    with pytest.raises(RequestError, match=r"rule 'typo': .* line 7 of p\.yaml") as caught:
        ask(Policy("p.yaml", rules=(rule,)), "p1")
    assert caught.value.reason == "config_invalid"


def test_a_host_given_straight_is_in_no_group() -> None:
    straight = Target("ops@10.0.0.1", host="10.0.0.1")
    question = Question(
        "noop", ((straight, "read"),), Caller("ann", frozenset(), "ann", 1000), NOON
    )
    policy = Policy("p.yaml", rules=(Rule("not prod", "deny", targets="not prod"),))
    assert [one.allowed for one in verdicts_of(policy, question, INVENTORY)] == [False]


# -- a policy with an inventory of its own -----------------------------------------------------

OWN = Policy("p.yaml", "allow", (Rule("no prod", "deny", targets="prod"),), "/etc/inventory.yaml")


@pytest.mark.parametrize(
    ("target", "allowed"),
    [
        (TARGETS["dev"], True),
        (TARGETS["p1"], False),
        (LOCAL, True),
        (replace(TARGETS["dev"], transport="openssh"), True),
        (replace(TARGETS["dev"], become=Become("root")), True),
        (replace(TARGETS["dev"], ssh=SshSettings(connect_timeout_s=3.0)), True),
        # what would lead elsewhere, or put on another group's clothes, is not the target
        (Target("p9", host="10.0.0.1"), False),
        (Target("root@10.0.0.1", host="10.0.0.1", user="root"), False),
        (replace(TARGETS["dev"], host="10.0.0.1"), False),
        (replace(TARGETS["dev"], port=2222), False),
        (replace(TARGETS["dev"], user="root"), False),
        (replace(TARGETS["dev"], transport="local"), False),
        (replace(TARGETS["dev"], ssh=SshSettings(options={"HostName": "10.0.0.1"})), False),
        (replace(TARGETS["dev"], ssh=SshSettings(proxy_jump="p1")), False),
        (Target("laptop", transport="local"), False),
    ],
)
def test_only_targets_as_the_policys_inventory_has_them_are_known(
    target: Target, allowed: bool
) -> None:
    question = Question("noop", ((target, "read"),), Caller("ann", frozenset(), "ann", 1), NOON)
    assert [one.allowed for one in verdicts_of(OWN, question, INVENTORY)] == [allowed]


@pytest.mark.parametrize("name", ["local", "localhost", "dev", "laptop"])
@pytest.mark.parametrize("inventory", [None, "/etc/inventory.yaml"])
@pytest.mark.parametrize("source", [SYSTEM_POLICY, "/home/rune/config.yaml"])
@pytest.mark.parametrize("bound", [True, False])
def test_this_machine_is_the_accounts_where_people_share_one(
    name: str, inventory: str | None, source: str, bound: bool
) -> None:
    here = Target(name, transport="local")
    caller = Caller("ann", frozenset(), "rune", 1, bound=bound)
    question = Question("noop", ((here, "read"),), caller, NOON)
    policy = Policy(source, "allow", (), inventory)

    def allowed(known: Inventory) -> list[bool]:
        return [one.allowed for one in verdicts_of(policy, question, known)]

    binds = bound and source == SYSTEM_POLICY
    known = inventory is None or name in ("local", "localhost")
    assert allowed(INVENTORY) == [known and not binds]
    listing = Inventory({name: here})
    assert allowed(listing) == [not binds or inventory is not None]


def test_a_denial_names_the_rule_and_what_it_saw() -> None:
    caller = Caller("ann", frozenset(), "ann", 1000)
    question = Question(
        "service.restart", tuple((TARGETS[n], "change") for n in ("p1", "dev")), caller, NOON
    )
    policy = Policy("/etc/rune/policy.yaml", rules=(Rule("no prod", "deny", 7, targets="prod"),))
    verdict = next(one for one in verdicts_of(policy, question, INVENTORY) if not one.allowed)
    error = denial(verdict, question)
    assert error.reason == "policy_denied"
    assert error.message.startswith(
        "rule 'no prod' (/etc/rune/policy.yaml, line 7) denies service.restart on 1 target(s): p1;"
    )
    assert "user ann, risk change" in error.message
    assert error.data["targets"] == ["p1"]
    assert error.data["rule"] == "no prod"


def test_thousands_of_targets_are_not_all_spelt_out() -> None:
    names = [f"n{number}" for number in range(5000)]
    targets = {name: Target(name) for name in names}
    question = Question(
        "noop",
        tuple((target, "read") for target in targets.values()),
        Caller("ann", frozenset(), "ann", 1000),
        NOON,
    )
    [verdict] = verdicts_of(one_rule(targets="all"), question, Inventory(targets))
    error = denial(verdict, question)
    assert error.data["target_count"] == 5000
    assert len(error.data["targets"]) == 20
    assert len(error.message) < 500
