"""EPS documents and their fingerprints."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmm.contract import Violation, spec_validator
from lmm.eps import document, fingerprint
from lmm.errors import (
    ConnectionLost,
    HostError,
    InternalError,
    OutputError,
    PluginFailed,
    RequestError,
    RuneError,
    TimedOut,
    Unreachable,
    code_table,
)

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
RANGES = {
    "protocol": range(-32700, -32599),
    "communication": range(-32199, -32099),
    "validation": range(-32299, -32199),
    "security": range(-32399, -32299),
    "system": range(-32499, -32399),
    "business": range(-32599, -32499),
}


def check(found: dict[str, Any]) -> dict[str, Any]:
    assert spec_validator("eps_v2").violations(found) == []
    assert json.loads(json.dumps(found, allow_nan=False, ensure_ascii=False).encode()) == found
    return found


# -- the table ---------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", code_table())
def test_every_reason_gives_a_document(reason: str) -> None:
    row = code_table()[reason]
    found = check(document(RuneError(reason, "what went wrong"), trace_id=TRACE, span_id=SPAN))
    assert found["error_data"] == {
        "jsonrpc": "2.0",
        "error": {"code": row["code"], "message": "what went wrong", "data": {"reason": reason}},
        "id": None,
    }
    assert found["error_context"] == {
        "error_classification": row["classification"],
        "severity": row["severity"],
        "recoverable": row["recoverable"],
        "retry_recommended": row["retry_recommended"],
        "recovery_actions": row["recovery_actions"],
    }
    assert found["observability"]["trace_id"] == TRACE
    assert found["observability"]["span_id"] == SPAN


@pytest.mark.parametrize("reason", code_table())
def test_row(reason: str) -> None:
    row = code_table()[reason]
    assert row["code"] in RANGES[row["classification"]]
    assert row["title"]
    assert all(action.endswith(".") for action in row["recovery_actions"])
    assert row["recoverable"] or not row["retry_recommended"]


def test_codes_and_fingerprints_are_unique() -> None:
    codes = [row["code"] for row in code_table().values()]
    assert len(codes) == len(set(codes))
    prints = {fingerprint(RuneError(reason, "same words")) for reason in code_table()}
    assert len(prints) == len(codes)


# -- documents ---------------------------------------------------------------------------------


def test_data_of_error_and_subject() -> None:
    problem = RequestError(
        "inventory_invalid",
        "wrong",
        field="$.targets.web1.port",
        file=Path("/etc/inventory.yaml"),
        validation_errors=[Violation("$.targets.web1.port", "'x' is not of type 'integer'")],
    )
    subject = {"action": "noop", "target": "web1", "plugin": "", "run_id": "r1"}
    error = check(document(problem, subject=subject))["error_data"]["error"]
    assert error["data"] == {
        "reason": "inventory_invalid",
        "action": "noop",
        "target": "web1",
        "run_id": "r1",
        "field": "$.targets.web1.port",
        "file": "/etc/inventory.yaml",
        "validation_errors": ["'x' is not of type 'integer' @ $.targets.web1.port"],
    }


@pytest.mark.parametrize(
    ("subject", "id_"),
    [
        (None, None),
        ({"action": "noop"}, None),
        ({"run_id": "r1"}, "r1"),
        ({"run_id": "r1", "message_id": "m1"}, "m1"),
        ({"run_id": "", "message_id": ""}, None),
    ],
)
def test_id(subject: dict[str, str] | None, id_: str | None) -> None:
    found = check(document(InternalError("internal_error", "x"), subject=subject))
    assert found["error_data"]["id"] == id_
    assert found["observability"]["trace_id"] is None
    assert found["observability"]["span_id"] is None


@pytest.mark.parametrize("retryable", [True, False, None])
def test_a_plugins_own_error_travels_unchanged(retryable: bool | None) -> None:
    own: dict[str, Any] = {"code": 3, "message": "gone", "details": {"xid": 79, "n": [None, 0.5]}}
    if retryable is not None:
        own["retryable"] = retryable
    found = check(document(PluginFailed("plugin_failed", "gone", details=own)))
    assert found["error_data"]["error"]["data"]["details"] == own
    assert found["error_context"]["retry_recommended"] is (retryable is True)


def test_an_unknown_reason_is_a_fault_of_ours() -> None:
    found = check(document(RuneError("no_such_reason", "x")))
    assert found["error_data"]["error"]["code"] == code_table()["internal_error"]["code"]
    assert found["error_data"]["error"]["data"]["reason"] == "no_such_reason"


def test_an_empty_message_becomes_the_title() -> None:
    found = check(document(TimedOut("timed_out", "")))
    assert found["error_data"]["error"]["message"] == "The deadline passed"


@pytest.mark.parametrize(
    ("thing", "plain"),
    [
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
        (b"\xff\x00a", "\\xff\x00a"),
        ("\ud800", "\\ud800"),
        (Path("/a/b"), "/a/b"),
        (OSError(2, "No such file"), "[Errno 2] No such file"),
        ({1: (2, {3})}, {"1": [2, [3]]}),
    ],
    ids=repr,
)
def test_what_json_lacks_becomes_text(thing: Any, plain: Any) -> None:
    found = check(document(RuneError("no_route", "x", thing=thing)))
    assert found["error_data"]["error"]["data"]["thing"] == plain


THINGS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.binary()
    | st.dates()
    | st.builds(Path, st.just("a/b"))
    | st.builds(ValueError, st.text())
    | st.uuids(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner)
        | st.frozensets(st.integers(), max_size=3)
        | st.dictionaries(st.text() | st.integers(), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.text(), st.dictionaries(st.sampled_from(["host", "file", "x", "port"]), THINGS))
def test_anything_in_an_error_becomes_json(message: str, data: dict[str, Any]) -> None:
    check(document(RuneError("no_route", message, **data), subject={"target": "web1"}))


# -- fingerprints ------------------------------------------------------------------------------

Case = tuple[RuneError, dict[str, str]]


def on(host: str, n: int) -> list[Case]:
    """Faults as they look on one host at one time."""
    who = {"target": host, "action": "gpu.health", "plugin": "gpu-health", "run_id": f"r{n}"}
    address = f"10.0.{n}.{n + 1}"
    key = f"SHA256:{'aB3/' * n}{host}+x="
    random = str(uuid.UUID(int=n * 2**64 + n))
    lost = f"{host}: GPU {n} (GPU-{random}) fell off at 0x{n:08x}"

    def unreachable(reason: str, message: str) -> Case:
        return Unreachable(reason, message, host=host), who

    def plugin(code: int, message: str) -> Case:
        own = {"code": code, "message": message, "details": {"host": host}}
        return PluginFailed("plugin_failed", message, details=own), who

    def output(path: str, message: str) -> Case:
        return OutputError("output_data_invalid", f"{message} @ {path}", field=path), who

    return [
        unreachable("connection_refused", f"{host} ({address}) port {n}: refused"),
        unreachable("connection_refused", f"fe80::{n}%eth0 port {n}: refused"),
        unreachable("dns_failure", f"cannot resolve {host}.example.com"),
        unreachable("host_key_changed", f"the key of {address} is now {key}"),
        unreachable("host_key_unknown", f"no key for [{host}]:{n}: MD5:{n:02x}:0b"),
        plugin(3, lost),
        plugin(4, lost),
        plugin(3, "no GPU"),
        output(f"$.a[{n}]", f"'{host}' is not of type 'integer'"),
        output("$", "'x' is a required property"),
        output("$", "'y' is a required property"),
        output("$.b", f"{n} is less than the minimum of 0"),
        output("$.c", f"{n} is less than the minimum of 0"),
        (ConnectionLost("host_silent", f"no answer for {n}.5 s", target=host), {}),
        (HostError("dependency_missing", "command not found: node", field="node"), who),
        (HostError("dependency_missing", "command not found: perl", field="perl"), who),
        (HostError("bootstrap_failed", f"/tmp/.rune-x{host}{n}/main.sh: no program"), who),
        (PluginFailed("plugin_crashed", "exited with 1", exit_code=1), who),
        (PluginFailed("plugin_crashed", "exited with 127", exit_code=127), who),
        (OutputError("output_empty", "nothing"), who),
        (OutputError("output_empty", "nothing"), {**who, "action": "gpu.info"}),
        (OutputError("output_empty", "nothing"), {**who, "plugin": "gpu-health-amd"}),
        (InternalError("internal_error", f"broke at 2026-01-0{n}T03:04:0{n}Z in {random}"), who),
    ]


@pytest.mark.parametrize("number", range(len(on("web1", 1))))
def test_equal_for_the_same_fault_on_two_hosts(number: int) -> None:
    one, two = on("web-a.example.net", 3)[number], on("node0042", 7)[number]
    assert fingerprint(*one) == fingerprint(*two)
    found = check(document(one[0], subject=one[1]))
    assert found["observability"]["error_fingerprint"] == fingerprint(*two)


def test_different_for_different_faults() -> None:
    prints = [fingerprint(*case) for case in on("web1", 1)]
    assert len(set(prints)) == len(prints)


@given(
    st.from_regex(r"[a-z][a-z0-9.-]{3,20}", fullmatch=True),
    st.integers(0, 2**128 - 1),
    st.integers(0, 10**20),
)
def test_names_addresses_ids_and_numbers_do_not_count(name: str, bits: int, number: int) -> None:
    def told(name: str, bits: int, number: int) -> str:
        text = f"<{name}> [{uuid.UUID(int=bits)}] ({number}) {bits:032x}0 {number}.5ms"
        return fingerprint(RuneError("no_route", text, host=name), {"target": name})

    assert told(name, bits, number) == told("web1", 1, 2)


@given(st.text(), st.text())
def test_a_fingerprint_is_hexadecimal(message: str, host: str) -> None:
    found = fingerprint(RuneError("no_route", message, host=host))
    assert len(found) == 32
    assert int(found, 16) >= 0


def test_a_fingerprint_knows_no_weekday_and_no_zone() -> None:
    instants = (
        "Mon 2026-11-30 14:19 UTC",
        "Tue 2026-12-01 20:04 +0545",
        "Mi. 2026-12-02 09:00 CET",
    )
    prints = {
        fingerprint(RuneError("policy_denied", f"seen: user ann, risk read, {instant}"))
        for instant in instants
    }
    assert len(prints) == 1
