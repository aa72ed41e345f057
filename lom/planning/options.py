"""How a run is to be carried out: its options, which of them can hold, what they come to."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from lmm.errors import RequestError
from lmm.model import Become, Limits, OnDisconnect, SecretRef
from lmm.register import AUTO, is_choice, names
from lom.registry.manifest import Capability
from lom.settings.values import LONGEST_S, ON_LOCKED, WAIT, Settings

DEFAULT_LIMITS = Limits()
_LOWEST = {
    "timeout_s": 0.001,
    "connect_timeout_s": 0.001,
    "concurrency": 1,
    "max_stdout": 1,
    "max_stderr": 1,
    "pause_between_s": 0,
    "deadline_s": 0.001,
    "retries": 0,
    "retry_wait_s": 0.001,
    "lock_timeout_s": 0.001,
}
_MOST_KEY = 255  # characters of an idempotency key


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How a run is carried out; durations in seconds, sizes in bytes.

    ``max_failures`` is a count (``"10"``) or a share of the targets (``"10%"``); ``batch`` is one,
    or lists the batches' sizes, of which the last repeats (``"1,10%,100%"``). ``deadline_s`` bounds
    the whole run. ``retries`` is how often a target is started again, first after about
    ``retry_wait_s``. ``min_version`` is the lowest version of a plugin that will do. ``on_locked``
    says what becomes of a target whose host another run is changing: ``wait``, for
    ``lock_timeout_s`` at most, or ``fail``. ``on_disconnect`` is what hosts do with a plugin when
    its connection drops; None: as its manifest says. With ``confirm_between`` somebody is asked
    before each batch but the first.
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

    def document(self) -> dict[str, Any]:
        """Return the options as JSON values."""
        become = self.become and {
            "user": self.become.user,
            "password": self.become.password and self.become.password.reference,
        }
        return {**{one.name: getattr(self, one.name) for one in fields(self)}, "become": become}

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> RunOptions:
        """Return the options that a ``document`` tells."""
        known = {one.name for one in fields(cls)}
        values = {name: value for name, value in document.items() if name in known}
        if become := values.get("become"):
            password = become["password"]
            values["become"] = Become(become["user"], SecretRef(password) if password else None)
        if values.get("on_disconnect"):
            values["on_disconnect"] = OnDisconnect(values["on_disconnect"])
        return cls(**values)


@dataclass(frozen=True, slots=True)
class Start:
    """What counts for one start of a plan, and is no part of what was asked for.

    ``confirm`` is asked for actions whose risk is destructive, unless ``yes`` or approved, and
    between batches with ``confirm_between``. ``approved`` says that the plan has waited under its
    run id, and that somebody may have approved of it. ``idempotency_key`` makes the same request
    the same run.
    """

    yes: bool = False
    approved: bool = False
    confirm: Callable[[str], bool] | None = None
    idempotency_key: str | None = None


def checked(options: RunOptions) -> RunOptions:
    """Return the options if they can hold. Raises RequestError (``invalid_request``)."""
    for name, lowest in _LOWEST.items():
        value = getattr(options, name)
        if value is not None and value < lowest:
            raise RequestError(
                "invalid_request", f"{value} is less than {lowest} @ $.{name}", field=f"$.{name}"
            )
        if value is not None and name.endswith("_s") and value > LONGEST_S:
            raise RequestError(
                "invalid_request",
                f"{value} is more than {LONGEST_S:.0f} @ $.{name}",
                field=f"$.{name}",
            )
    if options.on_locked not in ON_LOCKED:
        raise RequestError(
            "invalid_request",
            f"{options.on_locked!r} is neither {' nor '.join(ON_LOCKED)} @ $.on_locked",
            field="$.on_locked",
        )
    if options.transport is not None and not is_choice(options.transport):
        raise RequestError(
            "invalid_request",
            f"there is no transport {options.transport!r} @ $.transport;"
            f" known are {', '.join(names())} and {AUTO}",
            field="$.transport",
        )
    return options


def check_start(start: Start, options: RunOptions) -> None:
    """Raise RequestError (``invalid_request``) where a plan with these options cannot start so."""
    if options.confirm_between and start.confirm is None:
        raise RequestError(
            "invalid_request",
            "nobody can be asked: it takes a terminal and the output format table"
            " @ $.confirm_between",
            field="$.confirm_between",
        )
    key = start.idempotency_key
    if key is not None and not (key.isprintable() and 0 < len(key) <= _MOST_KEY):
        raise RequestError(
            "invalid_request",
            f"a key has 1 to {_MOST_KEY} printable characters @ $.idempotency_key",
            field="$.idempotency_key",
        )


def options_of(settings: Settings, **given: Any) -> RunOptions:
    """Return run options: what is given and not None, else the settings, else the defaults."""
    options = RunOptions(
        timeout_s=settings.timeout_s,
        concurrency=settings.concurrency,
        transport=settings.transport,
        connect_timeout_s=settings.connect_timeout_s,
        max_stdout=settings.max_stdout_bytes,
        max_stderr=settings.max_stderr_bytes,
        retries=settings.retries,
        retry_wait_s=settings.retry_wait_s,
        on_locked=settings.on_locked,
        lock_timeout_s=settings.lock_timeout_s,
    )
    return replace(options, **{k: v for k, v in given.items() if v is not None})


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
