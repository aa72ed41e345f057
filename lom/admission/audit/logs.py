"""Appends a record to every audit log of a run."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from lmm.errors import PolicyDenied
from lmm.ownership import make_private
from lom.settings.policy.values import AuditLog


def write(logs: Sequence[AuditLog], record: Mapping[str, Any]) -> PolicyDenied | None:
    """Append to every audit log; return why one that is required has not got the line."""
    from lom.admission.audit.chain import append

    problem = None
    for log in logs:
        try:
            make_private(os.path.dirname(os.path.abspath(log.path)))
            append(log.path, record)
        except OSError as error:
            why = f"the audit log {log.path} cannot be written: {error.strerror}"
            if log.required:
                problem = PolicyDenied("audit_unavailable", f"{why}; it is required", file=log.path)
            _warn(why)
    return problem


def _warn(text: str) -> None:
    import logging

    logging.getLogger("rune").warning("warning: %s", text)
