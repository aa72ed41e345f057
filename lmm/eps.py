"""Errors on their way out: a ``RuneError`` as the EPS document that people and programs get.

Which faults there are stands in ``specs/eps_codes.json``; here is only how one is told, and the
fingerprint by which the same fault on many hosts is one.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from typing import Any

from lmm.errors import RuneError, code_table
from lmm.model import JSON

# whom it happened to and when, in an error's data or subject: no part of what happened
_WHO = ("target", "host", "address", "user", "run_id", "message_id", "trace_id", "span_id")
_ID_KEYS = ("message_id", "run_id")

_VOLATILE = tuple(
    (re.compile(pattern), mark)
    for pattern, mark in (
        # the offending value that a schema's violation begins with
        (r"^(['\"]).*\1(?= (?:is (?:not|too|less|greater)|does not|should|differs) )", "<value>"),
        # an instant as people read it, in any zone
        (r"\b[^\W\d]{1,10}\.? \d{4}-\d\d-\d\d \d\d:\d\d [A-Z+-][A-Z0-9]{1,5}\b", "<time>"),
        (r"(?:/tmp|/var/tmp|/dev/shm|/run/user/\d+)/[^\s'\",:;)]+", "<file>"),
        (r"\b(?:SHA256:[A-Za-z0-9+/]+=*|MD5:[0-9a-f:]+)", "<key>"),
        (r"(?i)\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", "<id>"),
        (r"(?i)(?<![\w:])(?:[0-9a-f]{0,4}:){2,7}[0-9a-f]{0,4}(?:%\w+)?(?![\w:])", "<address>"),
        (r"\b\d{1,3}(?:\.\d{1,3}){3}\b", "<address>"),
        (r"(?i)\b0x[0-9a-f]+\b", "#"),
        (r"(?i)\b(?=[a-f]*\d)(?=\d*[a-f])[0-9a-f]{8,}\b", "#"),
        (r"[-+]?\d+(?:[.,]\d+)*(?:[eE][-+]?\d+)?", "#"),
    )
)


def document(
    error: RuneError,
    *,
    trace_id: str = "",
    span_id: str = "",
    subject: Mapping[str, str] | None = None,
) -> dict[str, JSON]:
    """Return the EPS document of an error.

    ``subject`` says whom it concerns (``action``, ``plugin``, ``target``, ``run_id``,
    ``message_id``); it joins the error's data, and the document's id is taken from it. An
    unknown reason counts as ``internal_error``.
    """
    subject = {key: value for key, value in (subject or {}).items() if value}
    row = _row(error)
    data = {"reason": error.reason, **subject, **error.data}
    return {
        "error_data": {
            "jsonrpc": "2.0",
            "error": {
                "code": row["code"],
                "message": _plain(error.message) or row["title"],
                "data": _plain(data),
            },
            "id": next((subject[key] for key in _ID_KEYS if key in subject), None),
        },
        "error_context": {
            "error_classification": row["classification"],
            "severity": row["severity"],
            "recoverable": row["recoverable"],
            "retry_recommended": row["retry_recommended"] or _own(error).get("retryable") is True,
            "recovery_actions": list(row["recovery_actions"]),
        },
        "observability": {
            "trace_id": trace_id or None,
            "span_id": span_id or None,
            "error_fingerprint": fingerprint(error, subject),
        },
    }


def fingerprint(error: RuneError, subject: Mapping[str, str] | None = None) -> str:
    """Return 32 hex digits, equal for the same fault on two hosts and at two times.

    Made of code, reason, action, plugin, field, exit code, the plugin's own error code, and the
    message with hosts, addresses, ids, numbers and temporary files left out.
    """
    facts = {**(subject or {}), **error.data}
    who = {str(facts[key]) for key in _WHO if facts.get(key)}
    own = _own(error)
    parts = [
        _row(error)["code"],
        error.reason,
        facts.get("action"),
        facts.get("plugin"),
        _masked(str(facts.get("field", "")), who),
        facts.get("exit_code"),
        own.get("code"),
        _masked(str(own.get("message", error.message)), who),
    ]
    return hashlib.sha256(json.dumps(_plain(parts)).encode()).hexdigest()[:32]


def _row(error: RuneError) -> dict[str, Any]:
    table = code_table()
    return table[error.reason if error.reason in table else "internal_error"]


def _own(error: RuneError) -> Mapping[str, Any]:
    """Return the plugin's own error, empty when the error is not a plugin's."""
    own = error.data.get("details")
    return own if isinstance(own, Mapping) else {}


def _masked(text: str, who: set[str]) -> str:
    for name in sorted(who, key=len, reverse=True):
        text = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", "<who>", text)
    for pattern, mark in _VOLATILE:
        text = pattern.sub(mark, text)
    return text


def _plain(value: Any) -> JSON:
    """Return a value as JSON can carry it in UTF-8; what it has no type for becomes text."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, Mapping):
        return {_text(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(inner) for inner in value]
    return _text(value)


def _text(value: Any) -> str:
    if isinstance(value, bytes | bytearray):
        return bytes(value).decode("utf-8", "backslashreplace")
    return str(value).encode("utf-8", "backslashreplace").decode()
