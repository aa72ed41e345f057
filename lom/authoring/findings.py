"""What a check of a plugin found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from lom.registry.manifest import Plugin


class Status(StrEnum):
    """What a finding comes to; only ``failed`` fails a plugin."""

    OK = "ok"
    WARN = "warn"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Finding:
    """One check's answer: ``what`` was seen and, where it is not well, the ``remedy``.

    ``action`` is None for what concerns the whole plugin.
    """

    check: str
    status: Status
    what: str = ""
    remedy: str = ""
    action: str | None = None

    def document(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "check": self.check,
            "action": self.action,
            "status": str(self.status),
            "what": self.what,
            "remedy": self.remedy,
        }


def ok(check: str, what: str = "", action: str | None = None) -> Finding:
    return Finding(check, Status.OK, what, action=action)


def warn(check: str, what: str, remedy: str, action: str | None = None) -> Finding:
    return Finding(check, Status.WARN, what, remedy, action)


def failed(check: str, what: str, remedy: str, action: str | None = None) -> Finding:
    return Finding(check, Status.FAILED, what, remedy, action)


def skipped(check: str, why: str, action: str | None = None) -> Finding:
    return Finding(check, Status.SKIPPED, why, action=action)


def report(plugin: Plugin, findings: Sequence[Finding]) -> dict[str, Any]:
    """Return what checks of a plugin found, as JSON values."""
    return {
        "plugin": plugin.name,
        "version": plugin.version,
        "directory": str(plugin.directory),
        "actions": [one.action for one in plugin.capabilities],
        "findings": [one.document() for one in findings],
        "summary": counts(findings),
    }


def counts(findings: Iterable[Finding]) -> dict[str, int]:
    """Return how many findings there are of each status."""
    counted = Counter(str(one.status) for one in findings)
    return {str(status): counted[status] for status in Status}
