"""What a check has found, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass

from lmm.errors import RuneError


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at; ``status`` is ``ok``, ``warn`` or ``fail``."""

    check: str
    status: str
    found: str
    advice: str = ""


def advice_of(error: RuneError) -> str:
    """Return what the code table says to do about an error."""
    return " ".join(error.row["recovery_actions"])
