"""Which targets of an action that takes two meet, on which port, and in what order. Pure.

The targets stand in a ring: each is the client of the next one, so each has one result and is once
a server. A target is in one pair at a time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from lmm.errors import RequestError
from lmm.model import Target
from lmm.register import kind_of
from lom.planning.plan import Pair, Step, split

ROLE, PEER, PORT = "role", "peer", "port"  # parameters that are the orchestrator's to give
SERVER, CLIENT = "server", "client"
ADDRESS = "pair_address"  # a target's variable: where others reach it
FIRST_PORT = 5201


def takes_pairs(steps: Sequence[Step], params: Mapping[str, Any]) -> bool:
    """Whether pairs are to be made; not for who gives the role, and so asks for one end alone."""
    return ROLE not in params and any(one.capability and one.capability.pairs for one in steps)


def paired(steps: Sequence[Step], params: Mapping[str, Any]) -> tuple[Step, ...]:
    """Return the steps, each that can run with its pair. Raises RequestError (``invalid_request``).

    Servers that share an address get ports of their own, from the parameter ``port`` on.
    """
    ring = [step for step in steps if step.error is None]
    if len(ring) < 2:
        raise RequestError(
            "invalid_request",
            f"this action runs on pairs of targets, and {len(ring)} was selected; select two or"
            f" more, or be one end alone with -p {ROLE}={SERVER} or {CLIENT}",
            field="targets",
        )
    servers = dict(zip((s.target.name for s in ring), [*ring[1:], ring[0]], strict=True))
    used: Counter[str] = Counter()
    made = []
    for step in steps:
        if step.error is None:
            server = servers[step.target.name]
            address = _address_of(server.target)
            port = int(params.get(PORT, FIRST_PORT)) + used[address]
            used[address] += 1
            step = replace(step, pair=Pair(server, address, port))
        made.append(step)
    return tuple(made)


def batches_of(steps: Sequence[Step], sizes: str | None) -> tuple[tuple[int, ...], ...]:
    """Return the indexes of each batch: the rounds of pairs, else as ``split`` does."""
    paired = any(step.pair for step in steps)
    return rounds(steps) if paired else split(len(steps), sizes)


def rounds(steps: Sequence[Step]) -> tuple[tuple[int, ...], ...]:
    """Return the indexes of the steps of each round, in none of which a target is twice."""
    found: list[list[int]] = []
    taken: list[set[str]] = []
    for index, step in enumerate(steps):
        names = {step.target.name, *([step.pair.server.target.name] if step.pair else [])}
        number = next((n for n, others in enumerate(taken) if not others & names), len(taken))
        if number == len(taken):
            found.append([])
            taken.append(set())
        found[number].append(index)
        taken[number] |= names
    return tuple(map(tuple, found))


def _address_of(target: Target) -> str:
    given = target.vars.get(ADDRESS)
    if given is not None:
        return str(given)
    kind = kind_of(target.transport)
    if kind.is_here:
        return "127.0.0.1"
    if kind.is_managed:
        raise RequestError(
            "invalid_request",
            f"others cannot reach {target.name!r} by the id of its instance; give it the variable"
            f" {ADDRESS}",
            name=target.name,
            field=ADDRESS,
        )
    return target.address
