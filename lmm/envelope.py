"""Messages on their way to a plugin and back: bytes to checked values and values to bytes.

What a plugin wrote is refused here or nowhere. How bytes travel belongs in ``bootstrap``, how
an error is told in ``eps``.
"""

from __future__ import annotations

import json
import math
import os
import re
import signal
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from lmm.contract import Violation, spec_validator, validator_for
from lmm.errors import OutputError, PluginFailed, RequestError, shortened
from lmm.model import JSON, Invocation
from lmm.redact import NOTHING, Redactor

BPCS_VERSION = "2.0.0"
EVENT_PREFIX = b"##rune "
DEPTH = 100  # levels of nesting; json itself gives up near 1000, other readers earlier
FIRST_BYTES = 512  # of a plugin's output, kept for its author
VARIABLE_BYTES = 32 * 1024
ENVIRONMENT_BYTES = 256 * 1024  # exec fails when arguments and environment pass 1/4 of the stack

_CONTAINERS = (dict, list)  # a union would be made anew for each of a million values
_SPACE = " \t\r\n"
_ESCAPED_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_CONTROLS = re.compile("[\x7f-\x9f\u2028\u2029]")  # json escapes those below 0x20 itself


# Then something else than the answer stands on stdout, and its first line tells what.
_NO_ANSWER = frozenset({"output_not_json", "output_not_one_object", "output_not_utf8"})


class _NotStrict(ValueError):
    """Why bytes are not one strict JSON object; ``reason`` is a row of the code table.

    ``<it>`` in the message stands for ``quoted``, a part of them.
    """

    def __init__(self, reason: str, message: str, quoted: str = "") -> None:
        super().__init__(message)
        self.reason = reason
        self.quoted = quoted

    def told(self, hide: Callable[[str], str] = str) -> str:
        """Return the message; what it quotes is hidden before it is shortened."""
        return str(self).replace("<it>", _shown(hide(self.quoted)))


# -- bytes to values ---------------------------------------------------------------------------


def loads_strict(data: bytes, redactor: Redactor = NOTHING) -> JSON:
    """Return the one JSON object that a plugin wrote.

    Raises OutputError (``output_empty``, ``output_not_utf8``, ``output_not_json``,
    ``output_not_one_object``, ``output_duplicate_key``, ``output_not_finite``,
    ``output_too_deep``, ``output_number_too_long``) with the first 512 bytes as ``first_bytes``.
    """
    try:
        return _parse(data)
    except _NotStrict as error:
        first = first_bytes(data, redactor, cut=True)
        began = _beginning(first) if error.reason in _NO_ANSWER else ""
        raise OutputError(
            error.reason, f"{error.told(redactor.text)}{began}", first_bytes=first
        ) from None


def _beginning(first: str) -> str:
    """Return what to add to a message about a stdout that is no answer: its first line."""
    lines = [line for line in first.splitlines() if line.strip()]
    return f"; stdout begins with {_shown(lines[0])}" if lines else ""


def loads_request(data: bytes, what: str) -> JSON:
    """Return the one JSON object in ``data``, as strictly; ``what`` names it in messages.

    Raises RequestError (``parse_error``).
    """
    try:
        return _parse(data)
    except _NotStrict as error:
        raise RequestError("parse_error", f"{what}: {error.told()}") from None


def _parse(data: bytes) -> JSON:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _NotStrict(
            "output_not_utf8", f"byte {error.start} (0x{data[error.start]:02x}) is not UTF-8"
        ) from None
    if text.startswith("\ufeff"):
        raise _NotStrict("output_not_json", "a byte order mark stands before the JSON")
    start = len(text) - len(text.lstrip(_SPACE))
    if start == len(text):
        raise _NotStrict("output_empty", "there is no output where one JSON object should be")
    try:
        value, end = _DECODER.raw_decode(text, start)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno} column {error.colno}"
        raise _NotStrict("output_not_json", f"{error.msg} at {where}") from None
    except _NotStrict:
        raise
    except ValueError:  # sys.get_int_max_str_digits()
        raise _NotStrict("output_number_too_long", "an integer has too many digits") from None
    except RecursionError:
        raise _too_deep() from None
    rest = text[end:].lstrip(_SPACE)
    if rest:
        line = text.count("\n", 0, len(text) - len(rest)) + 1
        raise _NotStrict(
            "output_not_one_object", f"something follows the first JSON value on line {line}"
        )
    if not isinstance(value, dict):
        raise _NotStrict("output_not_one_object", "the JSON value is not an object")
    if data.count(b"{") + data.count(b"[") > DEPTH:
        _check_depth(value)
    if _ESCAPED_SURROGATE.search(data):
        _check_surrogates(value)
    return value


def _pairs(pairs: list[tuple[str, JSON]]) -> dict[str, JSON]:
    value = dict(pairs)
    if len(value) != len(pairs):
        twice = next(key for key, count in Counter(k for k, _ in pairs).items() if count > 1)
        raise _NotStrict("output_duplicate_key", "the key <it> stands twice in one object", twice)
    return value


def _float(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise _NotStrict("output_not_finite", "the number <it> is out of range", digits)
    return value


def _constant(name: str) -> JSON:
    raise _NotStrict("output_not_finite", f"{name} is not JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_pairs, parse_float=_float, parse_constant=_constant)


def _check_depth(value: JSON) -> None:
    level: list[Any] = [value]
    for _ in range(DEPTH):
        level = [
            child
            for parent in level
            for child in (parent.values() if isinstance(parent, dict) else parent)
            if isinstance(child, _CONTAINERS)
        ]
        if not level:
            return
    raise _too_deep()


def _check_surrogates(value: JSON) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise _NotStrict(
            "output_not_utf8", "a \\ud800 to \\udfff escape without its other half is no character"
        ) from None


def _too_deep() -> _NotStrict:
    return _NotStrict("output_too_deep", f"more than {DEPTH} levels of nesting")


def _shown(text: str) -> str:
    return repr(shortened(text, 60))


def first_bytes(data: bytes, redactor: Redactor, *, cut: bool = False) -> str:
    """Return the first 512 bytes for the author of a plugin; ``cut`` if there was more to come."""
    return redactor.bytes(data, cut=cut)[:FIRST_BYTES].decode("utf-8", "backslashreplace")


# -- values to bytes ---------------------------------------------------------------------------


def timestamp(instant: datetime | None = None) -> str:
    """Return an instant (default: now) as the contract writes it, in UTC with milliseconds."""
    instant = (instant or datetime.now(UTC)).astimezone(UTC)
    return instant.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def build_message(
    *,
    action: str,
    target: str,
    run_id: str,
    input_parameters: Mapping[str, JSON],
    timeout_s: float,
    trace_id: str,
    attempt: int = 1,
    span_id: str = "",
    message_id: str = "",
    correlation_id: str = "",
    context: Mapping[str, JSON] | None = None,
    created_at: datetime | None = None,
) -> dict[str, JSON]:
    """Return a BPCS input message; ids left empty are made, ``correlation_id`` is left out.

    The deadline is ``created_at`` (default: now) plus ``timeout_s`` seconds. ``context`` holds
    further fields of the context, which cannot replace those of the contract.
    """
    created_at = created_at or datetime.now(UTC)
    metadata = {
        "version": BPCS_VERSION,
        "message_id": message_id or str(uuid.uuid4()),
        "created_at": timestamp(created_at),
    }
    if correlation_id:
        metadata["correlation_id"] = correlation_id
    return {
        "message_metadata": metadata,
        "payload": {
            "input_parameters": dict(input_parameters),
            "context": {
                **(context or {}),
                "target": target,
                "action": action,
                "run_id": run_id,
                "attempt": attempt,
                "deadline": timestamp(created_at + timedelta(seconds=timeout_s)),
                "timeout_s": timeout_s,
            },
        },
        "observability": {"trace_id": trace_id, "span_id": span_id or os.urandom(8).hex()},
    }


def encode_message(message: Mapping[str, JSON]) -> bytes:
    """Return a message as compact UTF-8 JSON on one line without raw control characters.

    Raises RequestError (``invalid_request``) for what JSON cannot carry.
    """
    try:
        text = json.dumps(message, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        return _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text).encode()
    except UnicodeEncodeError:
        problem = "a text with half a surrogate pair is not UTF-8"
    except (TypeError, ValueError, RecursionError) as error:
        problem = str(error)
    raise RequestError("invalid_request", f"the parameters cannot be sent as JSON: {problem}")


_CONTEXT = ("target", "action", "run_id", "deadline")  # none of them is a secret


def environment(message: Mapping[str, JSON], write_only: frozenset[str]) -> list[tuple[str, bytes]]:
    """Return a plugin's variables: where and what it is run for, and its scalar parameters.

    ``RUNE_TARGET``, ``RUNE_ACTION``, ``RUNE_RUN_ID`` and ``RUNE_DEADLINE`` are those of the
    message's context, ``RUNE_PARAM_<NAME>`` the parameters.

    ``write_only`` holds JSON pointers below ``input_parameters``. Left out: what they name,
    null, a value with NUL or over 32 KiB, all parameters whose names become one variable, and
    those that would take the whole over 256 KiB.
    """
    context = message["payload"]["context"]
    variables = [(f"RUNE_{name.upper()}", str(context[name]).encode()) for name in _CONTEXT]
    parameters = message["payload"]["input_parameters"]
    names = {name: re.sub("[^A-Z0-9]", "_", name.upper()) for name in parameters}
    taken = Counter(names.values())
    room = ENVIRONMENT_BYTES
    for name, variable in names.items():
        pointer = "/" + name.replace("~", "~0").replace("/", "~1")
        if not variable or taken[variable] > 1 or {pointer, "/*", ""} & write_only:
            continue
        value = _variable(parameters[name])
        if value is None or b"\0" in value or len(value) > VARIABLE_BYTES:
            continue
        size = len(b"RUNE_PARAM_=\0") + len(variable) + len(value)
        if size <= room:
            room -= size
            variables.append((f"RUNE_PARAM_{variable}", value))
    return variables


def _variable(value: JSON) -> bytes | None:
    """Return a scalar as an environment holds it; None if it cannot."""
    try:
        if isinstance(value, str):
            return value.encode()
        if isinstance(value, bool | int | float):
            return json.dumps(value).encode()
    except ValueError:  # half a surrogate pair, more digits than Python prints
        return None
    return None


# -- what a plugin said ------------------------------------------------------------------------


def parse_event(line: bytes, redactor: Redactor = NOTHING) -> dict[str, JSON] | None:
    """Return the event in a line of a plugin's stderr, without secrets; None when the line is
    plain log text, or no event any more once a number in it is hidden."""
    if not line.startswith(EVENT_PREFIX):
        return None
    try:
        event = _parse(line[len(EVENT_PREFIX) :])
    except _NotStrict:
        return None
    if spec_validator("bpcs_event_v2").violations(event):
        return None
    hidden = {**redactor.value(event), "kind": event["kind"]}
    return None if spec_validator("bpcs_event_v2").violations(hidden) else hidden


def read_answer(
    stdout: bytes, invocation: Invocation, exit_status: int, redactor: Redactor = NOTHING
) -> dict[str, JSON]:
    """Return the ``output_data`` of a plugin that ended with ``exit_status``, as it wrote it.

    Raises PluginFailed with the plugin's own error as ``details`` (``plugin_failed``), or when
    it ended without any answer (``plugin_crashed``); OutputError for an answer that breaks the
    contract, with ``first_bytes`` and, for a schema, ``validation_errors``. Where these shorten
    something, the secrets are hidden first; in all else they still stand.
    """
    if exit_status and not stdout.strip():
        raise _crashed(exit_status)
    answer = loads_strict(stdout, redactor)
    found = spec_validator("bpcs_output_v2").violations(answer, redactor.text)
    _refuse(stdout, redactor, "output_envelope_invalid", found)
    _check_metadata(stdout, redactor, answer, invocation.message)
    error = answer.get("error")
    expected = error["code"] if error else 0
    if exit_status != expected:
        said = f"error.code {expected}" if error else "a payload"
        raise OutputError(
            "output_exit_code_mismatch",
            f"the plugin wrote {said} but exited with {exit_status}",
            exit_code=exit_status,
            first_bytes=first_bytes(stdout, redactor),
            **({"details": error} if error else {}),
        )
    if error:
        raise PluginFailed("plugin_failed", error["message"], details=error)
    output_data: dict[str, JSON] = answer["payload"]["output_data"]
    found = validator_for(invocation.output_schema).violations(output_data, redactor.text)
    _refuse(stdout, redactor, "output_data_invalid", found, below=".payload.output_data")
    return output_data


def _crashed(exit_status: int) -> PluginFailed:
    message = f"the plugin exited with {exit_status} and wrote nothing on stdout"
    try:
        name = signal.Signals(exit_status - 128).name
    except ValueError:
        return PluginFailed("plugin_crashed", message, exit_code=exit_status)
    message = f"the plugin was killed by {name} and wrote nothing on stdout"
    return PluginFailed("plugin_crashed", message, exit_code=exit_status, signal=name)


def _refuse(
    stdout: bytes, redactor: Redactor, reason: str, found: list[Violation], below: str = ""
) -> None:
    if not found:
        return
    found = [Violation(f"${below}{one.path[1:]}", one.message) for one in found]
    raise OutputError(
        reason,
        str(found[0]),
        field=found[0].path,
        validation_errors=[str(one) for one in found],
        first_bytes=first_bytes(stdout, redactor),
    )


def _check_metadata(
    stdout: bytes, redactor: Redactor, answer: JSON, message: Mapping[str, JSON]
) -> None:
    for section, fields in (
        ("message_metadata", ("message_id", "correlation_id")),
        ("observability", ("trace_id", "span_id")),
    ):
        for name in fields:
            sent, said = message[section].get(name), answer.get(section, {}).get(name)
            if said is not None and said != sent:
                field = f"$.{section}.{name}"
                raise OutputError(
                    "output_metadata_mismatch",
                    f"{said!r} differs from the request's {sent!r} @ {field}",
                    field=field,
                    first_bytes=first_bytes(stdout, redactor),
                )
