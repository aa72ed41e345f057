"""How instances that sources found become targets: names, addresses, who wins. No AWS is asked."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmm.aws.discovery import FoundInstance
from lmm.aws.names import is_instance_id
from lmm.aws.session import AwsAccount
from lom.documents.document import Document
from lom.inventory.sources import FoundTarget, Source, gather
from lom.names import name_fault


def source(key: str = "s", **settings: object) -> Source:
    given = {"source": "ec2", "name": "tags.Name", **settings}
    data = {k: v for k, v in given.items() if v is not None}
    return Source(key, data, Document("inventory.yaml", Path()), ("sources", key))


def instance(number: int, tag: str | None = None, **known: str | None) -> FoundInstance:
    found = f"i-{number:017x}"
    tags = {} if tag is None else {"Name": tag}
    return FoundInstance(
        instance_id=found,
        account=AwsAccount(known.get("region") or "eu-west-1"),
        vars={"instance_id": found, "tags": tags, "computer_name": f"host{number}"},
        private_address=known.get("private"),
        public_address=known.get("public"),
        ping_status="Online",
    )


def names(found: list[FoundTarget]) -> list[str]:
    return [one.name for one in found]


ZERO = f"i-{0:017x}"


@pytest.mark.parametrize(
    ("tag", "name"),
    [
        ("gpu1", "gpu1"),
        ("1001", "1001"),
        (None, ZERO),
        ("", ZERO),
        ("with space", ZERO),
        ("-x", ZERO),
        ("all", ZERO),
        ("local", ZERO),
        ("localhost", ZERO),
        ("taken", ZERO),
        (f"i-{7:017x}", ZERO),  # another instance's id
    ],
)
def test_the_name_of_one(tag: str | None, name: str) -> None:
    assert names(gather([(source(), [instance(0, tag)])], {"taken"})) == [name]


def test_a_name_that_two_want_goes_to_neither() -> None:
    found = gather(
        [(source(), [instance(1, "twin"), instance(2, "twin"), instance(3, "x")])], frozenset()
    )
    assert names(found) == [f"i-{1:017x}", f"i-{2:017x}", "x"]


def test_without_a_wish_the_id_is_the_name() -> None:
    assert names(gather([(source(name=None), [instance(1, "x")])], frozenset())) == [f"i-{1:017x}"]
    assert names(gather([(source(name="computer_name"), [instance(1)])], frozenset())) == ["host1"]


def test_an_instance_of_two_sources_is_one_target_of_both() -> None:
    first, second = source("first", name=None), source("second")
    (one,) = gather(
        [
            (first, [instance(1, region="eu-west-1")]),
            (second, [instance(1, "x", region="us-east-1")]),
        ],
        frozenset(),
    )
    assert one.name == "x"
    assert [each.name for each in one.sources] == ["first", "second"]
    assert one.layer["ssm"]["region"] == "eu-west-1"


@pytest.mark.parametrize(
    ("address", "expected"),
    [("private", "10.0.0.1"), ("public", f"i-{1:017x}")],  # never the name of another host
)
def test_the_address(address: str, expected: str) -> None:
    found = gather(
        [(source(address=address), [instance(1, "www", private="10.0.0.1")])], frozenset()
    )
    assert found[0].layer["host"] == expected


TAGS = st.none() | st.text(max_size=6) | st.sampled_from(["a", "b", "local", "or", f"i-{1:017x}"])


@given(
    st.lists(st.tuples(st.integers(0, 9), TAGS)),
    st.sets(st.sampled_from(["a", "b", "c", f"i-{2:017x}"])),
)
def test_names_are_unique_valid_and_free(
    found: list[tuple[int, str | None]], taken: set[str]
) -> None:
    here = source()
    targets = gather([(here, [instance(number, tag) for number, tag in found])], taken)
    assert {one.instance.instance_id for one in targets} == {f"i-{n:017x}" for n, _ in found}
    assert len(set(names(targets))) == len(targets)
    for one in targets:
        assert name_fault(one.name) is None
        assert one.name == one.instance.instance_id or one.name not in taken
        assert one.instance.instance_id not in taken or one.name == one.instance.instance_id
        assert one.name == one.instance.instance_id or not is_instance_id(one.name)
    assert names(targets) == sorted(names(targets))
