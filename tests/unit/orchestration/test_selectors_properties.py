from __future__ import annotations

import contextlib
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from lmm.errors import RequestError
from lmm.model import SshSettings, Target
from lom.inventory.model import Inventory
from lom.inventory.selector_syntax import And, FileWord, Not, Or, Selector, Variable, Word
from lom.inventory.selectors import evaluate, parse, select

VARS: dict[str, dict[str, Any]] = {
    "web1": {"sku": "a100", "site": {"name": "ams"}, "n": 1, "tags": ["x", "y"]},
    "web2": {"sku": "h200", "site": {"name": "fra"}, "n": 1.5, "tags": []},
    "gpu01": {"sku": "h200", "on": True, "none": None},
    "gpu02": {"sku": "h100"},
    "db.main": {"text": "true"},
}
GROUPS = {"web": ("web1", "web2"), "gpu": ("gpu01", "gpu02"), "h": ("web2", "gpu01")}
INVENTORY = Inventory(
    targets={
        name: Target(name, vars=values, groups=tuple(g for g in GROUPS if name in GROUPS[g]))
        for name, values in VARS.items()
    },
    groups=GROUPS,
    defaults=Target(
        "", user="ops", port=2022, vars={"site": "x"}, ssh=SshSettings(keepalive_s=3.0)
    ),
)
EMPTY = Inventory()


WORDS = st.sampled_from(
    [
        *("web1", "web2", "gpu01", "db.main", "web", "gpu", "h", "all", "*", "g*", "?", "web[1-2]"),
        *("gpu[01-02]", "x@h", "h:22", "10.0.0.1", "[::1]:22", "local"),
    ]
).map(Word)
VARIABLES = st.builds(
    Variable, st.sampled_from(["sku", "site.name", "n"]), st.sampled_from(["h*", "a100", "1", ""])
)
LEAVES = WORDS | VARIABLES


def composed(inner: st.SearchStrategy[Selector]) -> st.SearchStrategy[Selector]:
    several = st.lists(inner, min_size=2, max_size=3).map(tuple)
    return st.builds(Not, inner) | st.builds(And, several) | st.builds(Or, several)


SELECTORS: st.SearchStrategy[Selector] = st.recursive(LEAVES, composed, max_leaves=12)
WITH_FILES: st.SearchStrategy[Selector] = st.recursive(
    LEAVES | st.sampled_from([FileWord("list"), FileWord("/a/b-c")]), composed, max_leaves=12
)


@settings(max_examples=150, deadline=None)
@given(WITH_FILES)
def test_a_selector_written_and_read_is_the_same(selector: Selector) -> None:
    assert parse(str(selector)) == selector


@settings(max_examples=150, deadline=None)
@given(SELECTORS)
def test_operators_mean_what_they_mean_for_sets(selector: Selector) -> None:
    def picked(part: Selector) -> set[str]:
        # The hosts that the whole selector names belong to what "not" is taken from.
        everything = Or((Word("all"), selector, Not(selector)))
        return {t.name for t in evaluate(And((everything, part)), INVENTORY)}

    def expected(part: Selector) -> set[str]:
        match part:
            case Not(operand):
                return universe - expected(operand)
            case And(operands):
                return set.intersection(*map(expected, operands))
            case Or(operands):
                return set.union(*map(expected, operands))
        return picked(part)

    universe = picked(Or((selector, Not(selector))))
    assert picked(selector) == expected(selector)
    assert [t.name for t in evaluate(selector, INVENTORY)] == [
        t.name for t in evaluate(parse(str(selector)), INVENTORY)
    ]


ANY_TEXT = st.text(max_size=40) | st.lists(
    st.sampled_from(
        [
            *("and", "or", "not", "(", ")", ",", "[", "]", "1-3", "0", "web", "gpu01", "@", ":"),
            *("sku", "=", "!=", "*", "?", "::1", "ssh://", "/", " ", "-", "\x00", "\ud800", "%"),
        ]
    ),
    max_size=10,
).map("".join)


@settings(max_examples=300, deadline=None)
@given(ANY_TEXT, st.sampled_from([INVENTORY, EMPTY]))
def test_any_text_is_a_selector_or_a_request_error(text: str, inventory: Inventory) -> None:
    with contextlib.suppress(RequestError):
        picked = select([text], inventory)
        assert picked
        assert len({target.name for target in picked}) == len(picked)
