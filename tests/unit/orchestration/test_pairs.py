"""Pairs: each target is once a client and once a server, and never in two pairs at a time."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmm.errors import HostError, RequestError
from lmm.model import Target
from lom.planning.pairs import FIRST_PORT, batches_of, paired, takes_pairs
from lom.planning.plan import Step
from lom.registry.manifest import load_plugin

IPERF = load_plugin(Path(__file__).resolve().parents[3] / "plugins" / "net-iperf", "test")


def steps_of(*targets: Target) -> tuple[Step, ...]:
    return tuple(Step(one, IPERF, IPERF.capability("net.iperf"), "") for one in targets)


def names(count: int) -> list[Target]:
    return [Target(f"n{number}", host=f"10.0.0.{number}") for number in range(count)]


@given(count=st.integers(2, 40))
def test_a_ring_in_two_or_three_rounds(count: int) -> None:
    steps = paired(steps_of(*names(count)), {})
    met = [(step.target.name, step.pair.server.target.name) for step in steps if step.pair]
    assert len(met) == count
    assert {server for _, server in met} == {client for client, _ in met}
    assert all(client != server for client, server in met)
    batches = batches_of(steps, None)
    assert sorted(index for batch in batches for index in batch) == list(range(count))
    assert len(batches) == (2 if count % 2 == 0 else 3)
    for batch in batches:
        assert max(Counter(name for index in batch for name in met[index]).values()) == 1


def test_ports_of_servers_that_share_an_address() -> None:
    shared = [Target(f"n{n}", host="10.0.0.1") for n in range(2)] + [Target("x", host="10.0.0.2")]
    steps = paired(steps_of(*shared), {})
    ends = [(step.pair.address, step.pair.port) for step in steps if step.pair]
    assert ends == [
        ("10.0.0.1", FIRST_PORT),
        ("10.0.0.2", FIRST_PORT),
        ("10.0.0.1", FIRST_PORT + 1),
    ]
    (first, *_) = paired(steps_of(*shared), {"port": 7000})
    assert first.pair
    assert first.pair.port == 7000


def test_where_others_reach_a_target() -> None:
    targets = [
        Target("a", vars={"pair_address": "192.0.2.7"}),
        Target("b", transport="local"),
        Target("c"),
    ]
    steps = paired(steps_of(*targets), {})
    assert [step.pair.address for step in steps if step.pair] == ["127.0.0.1", "c", "192.0.2.7"]
    with pytest.raises(RequestError, match="variable pair_address"):
        paired(steps_of(Target("a"), Target("i", host="i-0123456789", transport="ssm")), {})


def test_what_cannot_run_meets_nobody() -> None:
    one, two, three = steps_of(*names(3))
    broken = replace(two, error=HostError("no_plugin_fits", "none"), capability=None)
    steps = paired((one, broken, three), {})
    assert [step.pair and step.pair.server.target.name for step in steps] == ["n2", None, "n0"]
    with pytest.raises(RequestError, match="pairs of targets, and 1 was selected"):
        paired((one, broken), {})


def test_one_end_alone_is_asked_for_by_its_role() -> None:
    steps = steps_of(*names(2))
    assert takes_pairs(steps, {})
    assert not takes_pairs(steps, {"role": "server"})
    assert batches_of(steps, "1") == ((0,), (1,))
