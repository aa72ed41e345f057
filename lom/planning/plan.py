"""What a run will do, worked out before anything is touched: pure values and a pure function.

Nothing here connects, writes or asks; ``rune run --dry-run`` prints what this module returns.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any, NamedTuple

from lmm import __version__
from lmm.envelope import timestamp
from lmm.errors import RequestError, RuneError
from lmm.model import Target
from lom.planning.options import RunOptions, count_of, timeout_of
from lom.registry.manifest import Capability, Plugin

if TYPE_CHECKING:
    from lom.ledger.records import RunFacts


@dataclass(frozen=True, slots=True)
class Step:
    """One target's part of a plan: the chosen plugin and why, or the error that rules it out."""

    target: Target
    plugin: Plugin | None
    capability: Capability | None
    why: str
    error: RuneError | None = None
    pair: Pair | None = None


class Pair(NamedTuple):
    """Whom a target meets, where that is reached, and on which port."""

    server: Step
    address: str
    port: int


@dataclass(frozen=True, slots=True)
class Plan:
    """A validated request and what it comes to on each target, in the order of the output.

    ``origin`` are the paths that inventory and plugins came from: ``inventory``, ``plugin_path``.
    With ``resumes`` it is that of a run which the ledger has, and which is taken up again.
    ``calls_that_fit`` are as many as this process has descriptors for.
    """

    run_id: str
    action: str
    request: Mapping[str, Any]
    steps: tuple[Step, ...]
    params: Mapping[str, Any]
    secret_params: frozenset[str]
    options: RunOptions
    batches: tuple[tuple[int, ...], ...] = field(default=())
    origin: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    resumes: bool = False
    calls_that_fit: int | None = None

    @property
    def concurrency(self) -> int:
        """How many calls are made at the same time: as asked, or as descriptors allow."""
        asked = self.options.concurrency
        return asked if self.calls_that_fit is None else min(asked, self.calls_that_fit)

    @property
    def bound(self) -> str | None:
        """Why fewer calls are made at the same time than was asked; None if that is not so."""
        if self.concurrency == self.options.concurrency:
            return None
        return (
            f"{self.concurrency} at the same time instead of {self.options.concurrency}: this"
            " process may not open more files (ulimit -n)"
        )

    @property
    def max_failures(self) -> int | None:
        """How many targets may fail before no more are started; None: all."""
        return count_of(self.options.max_failures, len(self.steps), "max_failures")

    def document(self) -> dict[str, Any]:
        """Return the plan as JSON values, for ``--dry-run``; secrets are masked."""
        return {
            "run_id": self.run_id,
            "action": self.action,
            "request": self.request,
            "concurrency": self.concurrency,
            "concurrency_bound": self.bound,
            "max_failures": self.max_failures,
            "batches": [len(batch) for batch in self.batches],
            "targets": [
                {
                    "target": step.target.name,
                    "transport": step.target.transport,
                    "ping_status": step.target.seen,
                    "plugin": step.plugin and f"{step.plugin.name} {step.plugin.version}",
                    "risk": step.capability and step.capability.risk,
                    "timeout_s": step.capability
                    and timeout_of(step.capability, self.options.timeout_s),
                    "why": step.why,
                    "peer": step.pair and step.pair.server.target.name,
                    "error": step.error.message if step.error else None,
                }
                for step in self.steps
            ],
        }


def split(total: int, sizes: str | None) -> tuple[tuple[int, ...], ...]:
    """Return the indexes of the targets of each batch.

    ``sizes`` lists how many targets each batch has, as counts or shares of all of them; the last
    one repeats until none is left. None: all in one batch.
    """
    if sizes is None:
        return (tuple(range(total)),) if total else ()
    asked = [count_of(size, total, "batch") or 0 for size in sizes.split(",")]
    if 0 in asked:
        raise RequestError("invalid_request", "a batch has at least 1 target @ $.batch")
    batches: list[tuple[int, ...]] = []
    at = 0
    for size in chain(asked, repeat(asked[-1])):
        if at >= total:
            return tuple(batches)
        batches.append(tuple(range(at, min(at + size, total))))
        at += len(batches[-1])
    raise AssertionError("repeat() has no end")


def build_request(
    action: str,
    targets: Sequence[str],
    params: Mapping[str, Any],
    run_id: str,
    context: Mapping[str, Any],
    min_version: str | None = None,
) -> dict[str, Any]:
    """Return the RCS message of a run; ``params`` hold no secret any more."""
    return {
        "message_metadata": {
            "version": "3.0.0",
            "message_id": run_id,
            "created_at": timestamp(),
        },
        "routing": {
            "event_type": "ACTION_EXECUTE_REQUEST",
            "source_module": "lom",
            "action": action,
            "targets": list(targets),
            **({"min_version": min_version} if min_version else {}),
        },
        "payload": {
            "schema_version": "3.0.0",
            "content_type": "application/json",
            "data": {"input_parameters": dict(params), "context": dict(context)},
        },
        "observability": {"trace_id": os.urandom(16).hex(), "span_id": os.urandom(8).hex()},
    }


def facts_of(plan: Plan, started_at: str, idempotency_key: str | None) -> RunFacts:
    """Return what the ledger keeps of a plan that begins at this instant, or waits."""
    from lom.ledger.records import RunFacts

    return RunFacts(
        run_id=plan.run_id,
        action=plan.action,
        request=plan.request,
        secret_params=sorted(plan.secret_params),
        options={**plan.options.document(), **plan.origin},
        version=__version__,
        started_at=started_at,
        targets=[
            (step.target.name, step.target.transport, step.plugin.name if step.plugin else None)
            for step in plan.steps
        ],
        idempotency_key=idempotency_key,
    )
