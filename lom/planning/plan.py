"""What a run will do, worked out before anything is touched: pure values and a pure function.

Nothing here connects, writes or asks; ``rune run --dry-run`` prints what this module returns.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from itertools import chain, repeat
from typing import Any

from lmm.envelope import timestamp
from lmm.errors import RequestError, RuneError
from lmm.model import Become, Limits, OnDisconnect, SecretRef, Target
from lom.registry.manifest import Capability, Plugin
from lom.settings.values import WAIT

DEFAULT_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How a run is carried out; durations in seconds, sizes in bytes.

    ``max_failures`` is a count (``"10"``) or a share of the targets (``"10%"``); ``batch`` is one,
    or lists the batches' sizes, of which the last repeats (``"1,10%,100%"``). ``deadline_s`` bounds
    the whole run. ``retries`` is how often a target is started again, first after about
    ``retry_wait_s``. ``min_version`` is the lowest version of a plugin that will do. ``on_locked``
    says what becomes of a target whose host another run is changing: ``wait``, for
    ``lock_timeout_s`` at most, or ``fail``. ``approved`` is the id under which the run waits for
    its approval. ``on_disconnect`` is what hosts do with a plugin when its connection drops; None:
    as its manifest says. ``idempotency_key`` makes the same request the same run. ``confirm`` is
    asked for actions whose risk is destructive, unless ``yes`` or approved, and between batches
    with ``confirm_between``.
    """

    timeout_s: float | None = None
    concurrency: int = 64
    batch: str | None = None
    max_failures: str | None = None
    pause_between_s: float = 0.0
    confirm_between: bool = False
    deadline_s: float | None = None
    retries: int = 0
    retry_wait_s: float = 5.0
    on_locked: str = WAIT
    lock_timeout_s: float = 300.0
    transport: str | None = None
    min_version: str | None = None
    max_stdout: int = DEFAULT_LIMITS.stdout_bytes
    max_stderr: int = DEFAULT_LIMITS.stderr_bytes
    connect_timeout_s: float | None = None
    become: Become | None = None
    on_disconnect: OnDisconnect | None = None
    idempotency_key: str | None = None
    yes: bool = False
    approved: str | None = None
    confirm: Callable[[str], bool] | None = None

    def document(self) -> dict[str, Any]:
        """Return the options as JSON values, without what only this process can have."""
        become = self.become and {
            "user": self.become.user,
            "password": self.become.password and self.become.password.reference,
        }
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        # a confirmation counts once, and a key is no part of the request that it stands for
        del values["yes"], values["approved"], values["confirm"], values["idempotency_key"]
        return {**values, "become": become}

    @classmethod
    def of(cls, document: Mapping[str, Any], **given: Any) -> RunOptions:
        """Return the options that a ``document`` tells, with what is given beside."""
        known = {one.name for one in fields(cls)}
        values = {name: value for name, value in document.items() if name in known}
        if become := values.get("become"):
            password = become["password"]
            values["become"] = Become(become["user"], SecretRef(password) if password else None)
        if values.get("on_disconnect"):
            values["on_disconnect"] = OnDisconnect(values["on_disconnect"])
        return cls(**{**values, **given})


@dataclass(frozen=True, slots=True)
class Step:
    """One target's part of a plan: the chosen plugin and why, or the error that rules it out."""

    target: Target
    plugin: Plugin | None
    capability: Capability | None
    why: str
    error: RuneError | None = None
    pair: Pair | None = None


@dataclass(frozen=True, slots=True)
class Pair:
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
                    "ping_status": step.target.ssm.ping_status,
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


def timeout_of(capability: Capability, asked: float | None) -> float:
    """Return the seconds an invocation may take: what was asked, else what the plugin says."""
    return asked if asked is not None else capability.timeout_s


def count_of(text: str | None, total: int, name: str) -> int | None:
    """Return ``"10"`` or ``"10%"`` of ``total`` as a count of at least 1 (0 stays 0)."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d{1,18})(%?)", text.strip())
    number = int(match[1]) if match else -1
    if not match or (match[2] and number > 100):
        raise RequestError(
            "invalid_request",
            f"{text!r} is neither a count nor a percentage such as 10 or 10% @ $.{name}",
            field=f"$.{name}",
        )
    return max(1, total * number // 100) if match[2] and number else number


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
        "observability": {"trace_id": secrets.token_hex(16), "span_id": secrets.token_hex(8)},
    }
