"""A job whose answer has to wait for its turn: nobody else waits for it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from lmm import temporary
from lmm.budget import ANSWERS
from lmm.envelope import build_message
from lmm.job import STDOUT_IN_MEMORY, MediatedJob
from lmm.model import Invocation, Limits, Outcome, Result, Script, Target
from lmm.redact import MASK
from lmm.scope import Scope

ANSWER = b'{"payload":{"result":"success","output_data":{"text":"%s"}}}'


@pytest.fixture
def invocation() -> Invocation:
    message = build_message(
        action="noop",
        target="x",
        run_id="r",
        input_parameters={},
        timeout_s=30,
        trace_id="1" * 32,
    )
    return Invocation(
        "r", Target("x"), "noop", "noop", Script("m", b""), message, limits=Limits(30)
    )


@pytest.fixture
def full() -> Iterator[threading.Event]:
    """All of the budget is taken until the event is set."""
    leave, taken = threading.Event(), threading.Event()

    def take() -> None:
        with ANSWERS.share(1 << 40):
            taken.set()
            leave.wait()

    thread = threading.Thread(target=take)
    thread.start()
    taken.wait()
    yield leave
    leave.set()
    thread.join()


def lines(job: MediatedJob) -> tuple[bytes, bytes]:
    marker = job._frames[0]._marker
    return marker + b" start\n", marker + b" end 0 exit \n"


def answered(job: MediatedJob, answer: bytes) -> None:
    start, end = lines(job)
    job.feed_stderr(start + end)
    job.feed_stdout(start)
    for at in range(0, len(answer), 32 * 1024):
        job.feed_stdout(answer[at : at + 32 * 1024])
    job.feed_stdout(end)


def test_to_cancel_waits_for_no_answer(invocation: Invocation, full: threading.Event) -> None:
    """What has ended by itself keeps its answer; the cancel reaches all others at once."""
    scope, results = Scope(), list[Result]()
    job = MediatedJob(invocation, scope, lambda *_: None, lambda job: results.append(job.result))
    other = MediatedJob(invocation, scope, lambda *_: None, lambda job: None)
    told = threading.Event()
    other.on_cancel(told.set)
    answer = ANSWER % (b"x" * 1_000_000)
    thread = threading.Thread(target=answered, args=(job, answer))
    thread.start()
    while job._ended is None:
        thread.join(0.01)
    scope.cancel()
    assert told.is_set()
    assert not job.settled
    full.set()
    thread.join()
    (result,) = results
    assert result.outcome is Outcome.OK
    assert result.output_data == {"text": "x" * 1_000_000}
    assert job.result.output_data is None  # whoever wants it has it by now


def test_small_answers_wait_for_nobody(invocation: Invocation, full: threading.Event) -> None:
    results: list[Result] = []
    job = MediatedJob(invocation, Scope(), lambda *_: None, lambda job: results.append(job.result))
    answered(job, ANSWER % b"x")
    assert results[0].outcome is Outcome.OK


@pytest.mark.parametrize("size", [STDOUT_IN_MEMORY - 100, 3 * STDOUT_IN_MEMORY])
def test_an_answer_that_finds_no_room(
    invocation: Invocation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "missing"))
    monkeypatch.setattr(temporary, "_FOR_MUCH", ())
    results: list[Result] = []
    job = MediatedJob(invocation, Scope(), lambda *_: None, lambda job: results.append(job.result))
    answered(job, ANSWER % (b"x" * size))
    (result,) = results
    if size < STDOUT_IN_MEMORY:
        assert result.outcome is Outcome.OK
        return
    assert result.outcome is Outcome.FAILED
    error = result.problem
    assert error["data"]["reason"] == "local_io_error"
    why = f"cannot be kept: no folder takes temporary files ({tmp_path}/missing: No such file"
    assert why in error["message"]


@pytest.mark.parametrize("end", [b"end 143 timeout ", b""])
def test_a_secret_that_a_deadline_cuts_is_hidden_wherever_the_stream_is_cut(
    invocation: Invocation, end: bytes
) -> None:
    """The host writes a line end ahead of its own line, which often comes by itself."""
    invocation.message["payload"]["input_parameters"]["s"] = "one and two"
    invocation = replace(invocation, write_only=frozenset({"/s"}))
    told: list[str] = []
    job = MediatedJob(
        invocation, Scope(), lambda _, data: told.append(data["message"]), lambda job: None
    )
    start, _ = lines(job)
    end = start.replace(b"start", end) if end else b"\n"
    job.feed_stdout(start + end)
    for part in (start, b"first\nso far one and", end[:1], end[1:]):
        job.feed_stderr(part)
    job.hung_up(None)
    assert told == ["first", f"so far {MASK}"]
    assert job.result.stderr.rstrip("\n") == "\n".join(told)


@pytest.mark.parametrize(
    ("printed", "told"),
    [
        (b"done\n", "done\n"),
        (b"all of it is so", "all of it is so"),  # as many a word ends
        (b"some", MASK),
        (b"token=some-secr", f"token={MASK}"),
        (b"token=some-secr\nlast\n", "token=some-secr\nlast\n"),
    ],
)
def test_what_may_begin_a_secret_at_the_end_is_hidden_also_of_an_end_by_itself(
    invocation: Invocation, printed: bytes, told: str
) -> None:
    """What writes on may have been left behind, and the host kills it."""
    invocation.message["payload"]["input_parameters"]["s"] = "some-secret"
    invocation = replace(invocation, write_only=frozenset({"/s"}))
    job = MediatedJob(invocation, Scope(), lambda *_: None, lambda job: None)
    start, end = lines(job)
    job.feed_stderr(start + printed + end)
    job.feed_stdout(start + ANSWER % b"x" + end)
    assert job.result.outcome is Outcome.OK
    assert job.result.stderr == told
