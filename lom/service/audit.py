"""The audit log: its lines, and whether it is as it was written."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from lmm.errors import RequestError
from lom.admission.audit.chain import HEAD_SUFFIX
from lom.admission.audit.verify import read, verify
from lom.admission.safeguards import audit_logs
from lom.settings.values import Settings


def log_file(settings: Settings) -> str:
    """Return the first log that runs are recorded in. Raises RequestError where none is."""
    logs = audit_logs(settings)
    if not logs:
        raise RequestError("invalid_request", "runs are not recorded here; name a FILE")
    return logs[0].path


def head_file(path: str) -> str:
    """Return the file beside a log that holds its last hash."""
    return f"{path}{HEAD_SUFFIX}"


def lines(path: str, last: int | None) -> list[Mapping[str, Any]]:
    """Return the lines of a log, the ``last`` ones of it. Raises RequestError."""
    try:
        return list(deque(read(path), maxlen=last))
    except OSError as error:
        raise _unreadable(path, error) from None


def row(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a line of the log in short."""
    deciders = [rule["rule"] or "default" for rule in record.get("rules", ())]
    return {
        "seq": record["seq"],
        "time": record.get("time"),
        "event": record.get("event"),
        "user": record.get("who", {}).get("user"),
        "action": record.get("action") or record.get("command"),
        "targets": record.get("targets", {}).get("count"),
        "decided by": record.get("status") or record.get("reason") or ", ".join(deciders),
        "run_id": record.get("run_id"),
    }


def verification(paths: Sequence[str], expect: str | None) -> dict[str, Any]:
    """Return the faults of one log in several files, the oldest first; ``expect`` is a hash in it.

    Raises RequestError (``local_io_error``).
    """
    try:
        report = verify(paths, expect)
    except OSError as error:
        raise _unreadable(error.filename or paths[-1], error) from None
    faults = [{"file": one.file, "line": one.line, "fault": one.why} for one in report.faults]
    return {
        "ok": not faults,
        "files": list(paths),
        "lines": report.lines,
        "last_hash": report.last_hash,
        "anchored": report.anchored,
        "faults": faults,
    }


def _unreadable(path: str, error: OSError) -> RequestError:
    return RequestError("local_io_error", f"cannot read the audit log {path}: {error.strerror}")
