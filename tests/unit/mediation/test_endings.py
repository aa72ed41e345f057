"""What the host's last word means, and the names under which it keeps it."""

from __future__ import annotations

import re
import uuid
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lmm.bootstrap import End, build_stream
from lmm.endings import error_of
from lmm.envelope import build_message
from lmm.errors import RequestError
from lmm.failures import outcome_of
from lmm.files import upload
from lmm.job import MediatedJob
from lmm.model import File, Inquiry, Invocation, Limits, OnDisconnect, Outcome, Script, Target
from lmm.receipts import KEPT_S, message_ids, receipt_key
from lmm.scope import Scope


def invocation(**fields: Any) -> Invocation:
    message = build_message(
        action="noop",
        target="x",
        run_id="r",
        input_parameters={"word": "hidden-parameter"},
        timeout_s=60,
        trace_id="1" * 32,
    )
    script = Script("p", b"the-plugin")
    return Invocation("r", Target("x"), "noop", "noop", script, message, **fields)


@pytest.mark.parametrize(
    ("end", "age_s", "outcome", "reason"),
    [
        (End(143, "timeout"), 1, Outcome.TIMED_OUT, "timed_out"),
        (End(143, "cancel"), 1, Outcome.CANCELLED, "cancelled"),
        (End(143, "disconnect"), 1, Outcome.CANCELLED, "disconnected"),
        (End(141, "flood", "stdout"), 1, Outcome.INVALID_OUTPUT, "output_too_large"),
        (End(141, "flood", "stderr"), 1, Outcome.INVALID_OUTPUT, "stderr_too_large"),
        (End(100, "missing", "jq"), 1, Outcome.FAILED, "dependency_missing"),
        (End(100, "no_directory"), 1, Outcome.FAILED, "no_writable_directory"),
        (End(100, "no_receipt"), None, Outcome.FAILED, "no_writable_directory"),
        (End(100, "no_receipt"), 1, Outcome.LOST, "receipt_incomplete"),
        (End(100, "old_bash", "3.2"), 1, Outcome.FAILED, "bootstrap_failed"),
        (End(100, "no_guard"), 1, Outcome.FAILED, "bootstrap_failed"),
        (End(100, "short"), 1, Outcome.UNREACHABLE, "connection_reset"),
        (End(100, "taken"), 1, Outcome.LOST, "receipt_incomplete"),
        (End(137, "gone"), 1, Outcome.LOST, "receipt_incomplete"),
        (End(0, "forgotten"), 1, Outcome.LOST, "receipt_incomplete"),
        (End(100, "unknown", "500.25"), 499, Outcome.UNREACHABLE, "never_started"),
        (End(100, "unknown", "500.25"), 501, Outcome.LOST, "receipt_incomplete"),
        (End(100, "unknown", "9999999.00"), KEPT_S, Outcome.LOST, "receipt_incomplete"),
    ],
)
def test_meanings(end: End, age_s: float | None, outcome: Outcome, reason: str) -> None:
    """Without an age it is the start's own answer, else that to an inquiry."""
    inquiry = None if age_s is None else Inquiry(age_s)
    error = error_of(end, invocation(receipt="0" * 32, inquiry=inquiry))
    assert error is not None
    assert (outcome_of(error), error.reason) == (outcome, reason)


@given(
    st.sampled_from(["exit", "unknown", "short", "gone", "missing", "weird"]),
    st.text(),
    st.booleans(),
)
@example("unknown", "nan", True)
@example("unknown", "1e999", True)
@example("unknown", "\u0663", True)
@example("unknown", "9" * 5000, True)
def test_nothing_that_a_host_says_raises(word: str, detail: str, asked: bool) -> None:
    error = error_of(
        End(100, word, detail), invocation(receipt="0" * 32, inquiry=Inquiry(1) if asked else None)
    )
    assert (error is None) == (word == "exit")


def test_an_end_by_itself_is_no_error() -> None:
    assert error_of(End(3, "exit"), invocation()) is None


names = st.text(max_size=20)


@given(names, names, names, names, st.integers(1, 99))
def test_keys_tell_invocations_apart(run: str, target: str, run2: str, other: str, n: int) -> None:
    key = receipt_key(run, target, n)
    assert re.fullmatch(r"[0-9a-f]{32}", key)
    assert key == receipt_key(run, target, n)
    assert key != receipt_key(run, target, n + 1)
    if "\0" not in run + target + run2 + other:
        assert (key == receipt_key(run2, other, n)) == ((run, target) == (run2, other))


def test_ids_are_those_of_the_first_process() -> None:
    ids = message_ids(receipt_key("r", "x"))
    assert ids == message_ids(receipt_key("r", "x")) != message_ids(receipt_key("r", "y"))
    assert str(uuid.UUID(ids["message_id"])) == ids["message_id"]
    assert re.fullmatch(r"[0-9a-f]{16}", ids["span_id"])


@pytest.mark.parametrize(
    "fields", [{"on_disconnect": OnDisconnect.CONTINUE}, {"inquiry": Inquiry(1)}]
)
def test_what_needs_a_receipt(fields: dict[str, Any]) -> None:
    with pytest.raises(RequestError, match="needs a receipt"):
        invocation(**fields)


def test_an_inquiry_carries_nothing_of_the_invocation() -> None:
    sent = build_stream(invocation(receipt="a" * 32, inquiry=Inquiry(1, kill=True)), "b" * 32)
    whole = sent.whole()
    assert b"the-plugin" not in whole
    assert b"hidden-parameter" not in whole
    assert re.search(rb"rune_ask b{32} a{32} \d+ \d+ kill; exit; } # [0-9a-f]{32}\n", sent.head)
    assert sent.tail == b""  # any byte more would be a cancel


def test_without_a_receipt_nothing_of_it_is_sent() -> None:
    plain, kept = (build_stream(invocation(receipt=r), "a" * 32).whole() for r in (None, "a" * 32))
    assert b"rune_claim()" not in plain
    assert b"rune_claim()" in kept
    assert b"rune_follow()" not in kept


def test_a_file_is_kept_by_the_functions_that_this_takes() -> None:
    words = " ".join(upload(invocation(), File("model", b"bytes")).script.interpreter)
    assert {"rune_keep", "rune_is_own"} <= set(re.findall(r"(\w+)\(\) {", words))
    assert "rune_main()" not in words


def line(one: MediatedJob, word: str) -> bytes:
    nonce = re.search(r"rune_(?:main|ask) ([0-9a-f]{32})", one.parts.head.decode())
    assert nonce
    return f"\n##rune-{nonce[1]} {word}\n".encode()


def test_what_was_told_is_not_told_again() -> None:
    told: list[str] = []

    def job(earlier: MediatedJob | None = None) -> MediatedJob:
        one = invocation(receipt="a" * 32, inquiry=Inquiry(1) if earlier else None)
        return MediatedJob(
            one, Scope(), lambda kind, data: told.append(data["message"]), lambda _: None, earlier
        )

    first = job()
    first.stream_sent()
    first.feed_stderr(line(first, "start") + b"one\ntwo\nthr")
    first.hung_up(None)
    assert first.undecided
    second = job(first)
    second.feed_stderr(line(second, "start") + b"one\ntwo")
    second.hung_up(None)
    third = job(second)
    start, end = line(third, "start"), line(third, "end 0 exit ")
    third.feed_stdout(start + b'{"payload":{"result":"success","output_data":{}}}' + end)
    third.feed_stderr(start + b"one\ntwo\nthree\n" + end)
    assert told == ["one", "two", "three"]
    assert third.result.ok
    assert third.result.stderr == "one\ntwo\nthree\n"
    assert not third.undecided


ANSWER = b'{"payload":{"result":"success","output_data":{}}}'


@pytest.mark.parametrize(
    ("end", "outcome"),
    [
        ("0 exit", Outcome.OK),
        ("143 cancel", Outcome.CANCELLED),
        ("143 disconnect", Outcome.CANCELLED),
        ("143 timeout", Outcome.TIMED_OUT),
        ("100 short", Outcome.CANCELLED),
    ],
)
def test_what_a_cancel_came_to_is_the_hosts_word(end: str, outcome: Outcome) -> None:
    """The plugin may have ended by itself, with its whole answer, before anybody could kill it."""
    scope = Scope()
    job = MediatedJob(invocation(), scope, lambda *_: None, lambda _: None)
    job.stream_sent()
    job.feed_stdout(line(job, "start") + ANSWER[:9])
    scope.cancel()
    job.feed_stdout(ANSWER[9:] + line(job, f"end {end} "))
    job.feed_stderr(line(job, "start") + line(job, f"end {end} "))
    assert job.result.outcome is outcome


@pytest.mark.parametrize("came", [b"", ANSWER[:9], ANSWER, ANSWER + b"\n##rune-"])
@pytest.mark.parametrize(
    ("end", "outcome"), [("0 exit", Outcome.LOST), ("143 disconnect", Outcome.CANCELLED)]
)
def test_an_answer_is_whole_only_with_the_end_line_of_stdout(
    came: bytes, end: str, outcome: Outcome
) -> None:
    """The two streams come by themselves: that of stderr may overtake the answer."""
    job = MediatedJob(invocation(receipt="a" * 32), Scope(), lambda *_: None, lambda _: None)
    job.stream_sent()
    job.feed_stderr(line(job, "start") + line(job, f"end {end} "))
    job.feed_stdout(line(job, "start") + came)
    job.hung_up(None)
    assert job.result.outcome is outcome
    assert job.undecided is (outcome is Outcome.LOST)  # the host is asked


def test_what_is_too_large_is_no_answer_whoever_cancelled() -> None:
    scope = Scope()
    limited = invocation(limits=Limits(60, stdout_bytes=20))
    job = MediatedJob(limited, scope, lambda *_: None, lambda _: None)
    job.stream_sent()
    scope.cancel()
    job.feed_stdout(line(job, "start") + ANSWER + line(job, "end 0 exit "))
    job.feed_stderr(line(job, "start") + line(job, "end 0 exit "))
    assert job.result.outcome is Outcome.INVALID_OUTPUT
