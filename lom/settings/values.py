"""The settings as values: which there are, their defaults, and what follows from them alone.

No file is read here, so that every surface may use it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import TYPE_CHECKING

from lmm.errors import RequestError
from lom.documents.places import STATE, home, user_folder

if TYPE_CHECKING:
    from pathlib import Path

    from lom.settings.policy.values import Safeguards

SYSTEM_POLICY = "/etc/rune/policy.yaml"
LOCK_FILE = "plugins.lock.json"  # in force where it stands in the current folder
OUTPUTS = ("table", "json", "ndjson", "yaml", "csv")
WAIT = "wait"
ON_LOCKED = (WAIT, "fail")
LONGEST_S = 1e9  # of a duration: what is longer has no date to end at, and cannot be waited for
FLAG, VARIABLE = "flag", "environment variable"  # sources of settings


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings in force; durations in seconds, sizes in bytes.

    ``None`` means: as the action, the target or ``~/.ssh/config`` says. ``calls_at_once``
    bounds the calls of all runs of one process; None: 256, or a run's own concurrency if that is
    more. ``sources`` tells for each setting where its value came from. ``safeguards`` gives
    what stands between plans and runs at the moment of the call; None: what the machine's policy
    asks for.
    """

    output: str = "table"
    inventory: tuple[str, ...] = ()
    plugin_path: tuple[str, ...] = ()
    concurrency: int = 64
    timeout_s: float | None = None
    connect_timeout_s: float | None = None
    max_stdout_bytes: int = 16 * 1024 * 1024
    max_stderr_bytes: int = 1024 * 1024
    transport: str | None = None
    color: str = "auto"
    retries: int = 0
    retry_wait_s: float = 5.0
    on_locked: str = WAIT
    lock_timeout_s: float = 300.0
    calls_at_once: int | None = None
    state_dir: str | None = None
    ledger: bool = True
    sources: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    safeguards: Callable[[], Safeguards] | None = field(default=None, compare=False)


KEYS = tuple(one.name for one in fields(Settings) if one.name not in ("sources", "safeguards"))
SAFEGUARD_KEYS = ("policy", "plugin_lock", "audit", "approvals")


def is_named(settings: Settings, key: str) -> bool:
    """Whether a path was named for this very call, by a program, an option or a variable. What was
    found, or stands in a file, must be the user's own."""
    source = settings.sources.get(key, FLAG)
    return source == FLAG or source.startswith(VARIABLE)


def state_folder(settings: Settings) -> Path:
    """Return where RUNE keeps what lasts: ``state_dir``, else below ``$XDG_STATE_HOME`` or
    ``~/.local/state``.

    Raises RequestError: ``config_invalid`` where there is no home, ``untrusted_path`` for one that
    is not named for this call and others may change: what they write there would be the record of
    runs, and what is run again.
    """
    from pathlib import Path

    if settings.state_dir is not None:
        named = Path(os.path.expanduser(settings.state_dir)).absolute()
        if not is_named(settings, "state_dir"):
            from lom.documents.trust import refuse_foreign

            refuse_foreign(named)
        return named
    folder = user_folder(STATE, home=home())
    if folder is None:
        raise RequestError(
            "config_invalid",
            f"there is no place to keep runs: HOME is not set and uid {os.geteuid()} has no entry"
            " among the users; set HOME, or name a folder with RUNE_STATE_DIR or --state-dir",
            field="state_dir",
        )
    _refuse_foreign_home(folder)
    return Path(folder)


def _refuse_foreign_home(folder: str) -> None:
    from lom.documents.trust import refuse_foreign

    try:
        refuse_foreign(folder)
    except RequestError as error:
        raise RequestError(
            error.reason,
            f"{error.message}; or keep runs elsewhere: name a folder with --state-dir or"
            " RUNE_STATE_DIR, or set HOME to your own (`sudo -H` does); with --no-ledger actions"
            " that only read need none",
            **error.data,
        ) from None
