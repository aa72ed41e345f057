"""What the ledger keeps of a run, as values; the same for every store."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

RUNNING, INTERRUPTED, UNKNOWN, WAITING = UNFINISHED = (
    *("running", "interrupted", "unknown"),
    "waiting",
)


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What is known of a run before it starts. All values are JSON without any secret.

    ``request`` is the RCS message, ``secret_params`` the JSON pointers of parameters that were
    masked in it, ``targets`` name, transport and plugin of each target in the plan's order.
    ``idempotency_key`` is what only one run of a person can have in a ledger.
    """

    run_id: str
    action: str
    request: Mapping[str, Any]
    secret_params: Sequence[str]
    options: Mapping[str, Any]
    version: str
    started_at: str
    targets: Sequence[tuple[str, str, str | None]]
    idempotency_key: str | None = None


@dataclass(frozen=True, slots=True)
class TargetRow:
    """A target of a run: ``state`` is ``not_started``, ``started`` or ``done``.

    ``started`` means that its script may have run and nobody knows how that ended; ``outcome``
    and ``attempt`` are those of the result, None before there is one.
    """

    name: str
    transport: str
    plugin: str | None
    state: str
    started_at: str | None
    outcome: str | None
    attempt: int | None


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run as the ledger has it.

    ``status`` is that of the result document; before there is one ``waiting`` (for an approval of
    the plan with this hash), ``running``, ``interrupted`` (its process is gone) or ``unknown``
    (its process cannot be seen from here). ``approved_by`` are the users who approved, None where
    nobody had to or has. ``gap`` says why the record is incomplete, None if it is not.
    """

    number: int
    run_id: str
    action: str
    request: Mapping[str, Any]
    secret_params: tuple[str, ...]
    options: Mapping[str, Any]
    version: str
    who: str
    host: str
    pid: int
    started_at: str
    finished_at: str | None
    status: str
    summary: Mapping[str, int]
    exit_code: int | None
    gap: str | None
    cancel_requested_at: str | None
    targets: int
    plan_hash: str | None
    approved_by: tuple[str, ...] | None
    idempotency_key: str | None

    @property
    def finished(self) -> bool:
        return self.finished_at is not None

    def listed(self) -> dict[str, Any]:
        """Return the run as ``runs list`` tells it (``specs/runs_v1.json``)."""
        return {
            "run_id": self.run_id,
            "action": self.action,
            "status": self.status,
            "started_at": self.started_at,
            "finished_at": self.finished_at,
            "targets": self.targets,
            "summary": self.summary,
            "exit_code": self.exit_code,
            "who": self.who,
            "host": self.host,
            "pid": self.pid,
            "version": self.version,
            "cancel_requested_at": self.cancel_requested_at,
            "incomplete": self.gap,
            "plan_hash": self.plan_hash,
            "approved_by": self.approved_by,
            "idempotency_key": self.idempotency_key,
        }


@dataclass(frozen=True, slots=True)
class Started:
    """A target that was started, and of which the ledger does not know how that ended.

    ``starts`` counts how often, ``attempt`` is the number of the last one, ``age_s`` how many
    seconds ago that was, ``heard`` how many lines of its stderr are in the ledger. It is
    ``over`` if its next attempt was waited for.
    """

    starts: int
    attempt: int
    age_s: float
    heard: int
    over: bool


@dataclass(frozen=True, slots=True)
class Earlier:
    """How far a run came: what was started, its begin and its last ``seq``."""

    started_at: str
    last_seq: int
    started: Mapping[str, Started]


Keep = Callable[[str, str, str], object]  # target, outcome, result document as JSON


def who() -> str:
    """Return the name of the user of the operating system, or the number of one without name."""
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())
