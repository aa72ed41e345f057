"""What a plugin writes and how it ends decides the outcome, over every transport alike."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from lmm.model import Limits, Outcome

OK = 'echo \'{"payload":{"result":"success","output_data":{"n":1}}}\''


def test_success(host: Any) -> None:
    result = host.run(f"{OK}; echo to-stderr >&2")
    assert (result.outcome, result.output_data, result.exit_code) == (Outcome.OK, {"n": 1}, 0)
    assert result.stderr == "to-stderr\n"
    assert result.error is None


@pytest.mark.parametrize(
    ("script", "outcome", "expected"),
    [
        (
            'echo \'{"error":{"code":3,"message":"disk full","details":{"free":0}}}\'; exit 3',
            Outcome.FAILED,
            "plugin_failed",
        ),
        ("exit 7", Outcome.FAILED, "plugin_crashed"),
        ("kill -9 $$", Outcome.FAILED, "plugin_crashed"),
        (f"{OK}; exit 4", Outcome.INVALID_OUTPUT, "output_exit_code_mismatch"),
        (
            'echo \'{"error":{"code":3,"message":"m","details":{}}}\'',
            Outcome.INVALID_OUTPUT,
            "output_exit_code_mismatch",
        ),
        ("true", Outcome.INVALID_OUTPUT, "output_empty"),
        ("exec 1>&-; true", Outcome.INVALID_OUTPUT, "output_empty"),
        (f"{OK}; {OK}", Outcome.INVALID_OUTPUT, "output_not_one_object"),
        ("echo '[1]'", Outcome.INVALID_OUTPUT, "output_not_one_object"),
        ("echo hello", Outcome.INVALID_OUTPUT, "output_not_json"),
        (f"echo noise; {OK}", Outcome.INVALID_OUTPUT, "output_not_json"),
        (
            'echo \'{"payload":{"result":"success","output_data":{"n":NaN}}}\'',
            Outcome.INVALID_OUTPUT,
            "output_not_finite",
        ),
        (
            'echo \'{"payload":{"result":"success","output_data":{"n":1,"n":2}}}\'',
            Outcome.INVALID_OUTPUT,
            "output_duplicate_key",
        ),
        (
            'printf \'{"payload":{"result":"success","output_data":{"n":"\\xff"}}}\'',
            Outcome.INVALID_OUTPUT,
            "output_not_utf8",
        ),
        (
            'printf \'{"payload":{"result":"success","output_data":{"n":\'; '
            "for i in {1..5000}; do printf '['; done; for i in {1..5000}; do printf ']'; done; "
            "printf '}}}'",
            Outcome.INVALID_OUTPUT,
            "output_too_deep",
        ),
        (
            'echo \'{"payload":{"result":"success"}}\'',
            Outcome.INVALID_OUTPUT,
            "output_envelope_invalid",
        ),
    ],
)
def test_outcomes(host: Any, script: str, outcome: Outcome, expected: str) -> None:
    result = host.run(script)
    assert (result.outcome, result.reason) == (outcome, expected)


def test_a_plugins_own_error_travels_unchanged(host: Any) -> None:
    own = {"code": 3, "message": "disk full", "details": {"free": 0, "ü": ["$(x)"]}}
    result = host.run(f"cat <<'EOF'\n{json.dumps({'error': own})}\nEOF\nexit 3")
    assert result.problem["data"]["details"] == own
    assert result.exit_code == 3


def test_the_plugins_schema_is_enforced(host: Any) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer", "maximum": 0}}}
    result = host.run(OK, output_schema=schema)
    assert (result.outcome, result.reason) == (Outcome.INVALID_OUTPUT, "output_data_invalid")
    message = result.message
    assert "1 is greater than the maximum of 0 @ $" in message
    assert message.endswith(".n")


def test_eight_megabytes_of_stdout_arrive(host: Any) -> None:
    size = 8 * 1024 * 1024
    result = host.run(
        'printf \'{"payload":{"result":"success","output_data":{"x":"\'; '
        f"head -c {size} /dev/zero | tr '\\0' x; printf '\"}}}}}}'"
    )
    assert result.outcome is Outcome.OK
    assert result.output_data["x"] == "x" * size


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("yes", "output_too_large"),
        ("yes | head -c 50000000 >&2; sleep 60", "stderr_too_large"),
        ("yes >&2", "stderr_too_large"),
        (f"head -c 300000 /dev/zero; {OK}", "output_too_large"),
    ],
)
def test_over_the_cap_is_invalid_output(host: Any, script: str, expected: str) -> None:
    limits = Limits(timeout_s=30, stdout_bytes=200_000, stderr_bytes=100_000)
    result = host.run(script, limits=limits)
    assert (result.outcome, result.reason) == (Outcome.INVALID_OUTPUT, expected)
    assert len(result.stderr) <= 100_000


def test_stderr_below_the_cap_is_kept(host: Any) -> None:
    result = host.run(f"head -c 900000 /dev/zero | tr '\\0' e >&2; {OK}")
    assert result.outcome is Outcome.OK
    assert result.stderr == "e" * 900_000


def test_progress_lines_become_events_and_stay_out_of_the_log(host: Any) -> None:
    result = host.run(
        "echo 'starting' >&2\n"
        'echo \'##rune {"kind":"progress","percent":50,"message":"half"}\' >&2\n'
        "echo '##rune {broken' >&2\n" + OK
    )
    assert result.outcome is Outcome.OK
    assert ("progress", {"percent": 50, "message": "half"}) in host.events
    assert result.stderr == "starting\n##rune {broken\n"


def test_a_broken_line_is_still_log_text(host: Any) -> None:
    result = host.run(f"printf 'no newline \\xff' >&2; {OK}")
    assert result.outcome is Outcome.OK
    assert result.stderr == "no newline \\xff"


def test_the_newline_before_an_end_line_is_not_the_plugins(host: Any) -> None:
    """However long it comes before the end line, which the last words wait for in vain."""
    event = """printf '##rune {"kind":"progress"}' >&2"""
    for script, log in (
        ("printf 'words' >&2", "words"),
        ("printf 'words\\n' >&2", "words\n"),
        (f"echo words >&2; {event}", "words\n"),
        (f"{event}; echo >&2; printf words >&2", "words"),
    ):
        limits = Limits(timeout_s=30, stderr_bytes=60)
        result = host.run(f"{script}; sleep 0.05; {OK}", limits=limits)
        assert (result.outcome, result.stderr) == (Outcome.OK, log)
    exact = host.run(f"printf %060d 0 >&2; sleep 0.05; {OK}", limits=limits)
    assert (exact.outcome, exact.stderr) == (Outcome.OK, "0" * 60)


def test_output_that_looks_like_a_frame_is_output(host: Any) -> None:
    result = host.run("printf '\\n##rune-0 end 0 exit \\n'; " + OK)
    assert result.reason == "output_not_json"


def test_many_at_once(host: Any) -> None:
    targets = [replace(host.target, name=f"node{i}") for i in range(24)]
    results = host.carry(*(host.invocation(OK, target=target) for target in targets))
    assert sorted(r.target for r in results) == sorted(t.name for t in targets)
    assert {r.outcome for r in results} == {Outcome.OK}
