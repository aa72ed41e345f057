"""A run that was left is taken up: once, by one process, with all that is known of it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lmm.errors import RequestError
from lom.ledger.records import Earlier
from lom.ledger.sqlite.reader import SqliteReader
from lom.ledger.sqlite.writer import SqliteLedger
from lom.ledger.store import Recorder

from .conftest import Begin, ended, event, facts, result

Leave = Callable[..., None]
Resume = Callable[..., tuple[Recorder, Earlier, list[str]]]


@pytest.fixture
def leave(path: Path) -> Leave:
    """Begin a run, tell it what is given, and leave it as a process does that is killed."""

    def left(told: Callable[[Recorder], None] = lambda recorder: None, **given: Any) -> None:
        child = os.fork()
        if not child:
            with contextlib.suppress(BaseException):
                recorder = SqliteLedger(path).begin(facts(**given), lambda: None)
                told(recorder)
                recorder.settle()
                os.kill(os.getpid(), signal.SIGKILL)
            os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL

    return left


@pytest.fixture
def resume(path: Path) -> Iterator[Resume]:
    recorders: list[Recorder] = []

    def take(run_id: str = "r1", *, unseen: bool = False) -> tuple[Recorder, Earlier, list[str]]:
        kept: list[str] = []

        def keep(target: str, outcome: str, document: str) -> None:
            assert json.loads(document)["outcome"] == outcome
            kept.append(target)

        recorder, earlier = SqliteLedger(path).resume(run_id, lambda: None, keep, unseen=unseen)
        recorders.append(recorder)
        return recorder, earlier, kept

    yield take
    for recorder in recorders:
        recorder.close()


def started(seq: int, target: str, attempt: int = 1) -> dict[str, Any]:
    return event(seq, "target.started", target, plugin="noop", attempt=attempt)


def middle(recorder: Recorder) -> None:
    """n0 is through, n1 has logged twice, n2 waits for its second attempt, n3 has not started."""
    for number, name in enumerate(("n0", "n1", "n2")):
        recorder.event(started(number + 1, name, attempt=3 if name == "n1" else 1))
    recorder.starting(["n0", "n1", "n2"])
    recorder.result(result("n0"))
    recorder.event(event(4, "log", "n1", message="a"))
    recorder.event(event(5, "progress", "n1", percent=3))
    recorder.event(event(6, "target.retrying", "n2", attempt=1))


def test_what_is_known_of_a_run_that_was_left(leave: Leave, resume: Resume) -> None:
    leave(middle, targets=4)
    _, earlier, kept = resume()
    assert kept == ["n0"]
    assert earlier.last_seq == 6
    assert set(earlier.started) == {"n1", "n2"}
    first, second = earlier.started["n1"], earlier.started["n2"]
    assert (first.starts, first.attempt, first.heard, first.over) == (1, 3, 2, False)
    assert (second.starts, second.attempt, second.over) == (1, 1, True)
    assert 0 <= first.age_s < 60


def test_it_goes_on_as_the_same_run(path: Path, leave: Leave, resume: Resume) -> None:
    leave(middle, targets=4)
    recorder, *_ = resume()
    recorder.starting(["n2", "n3"])
    for name in ("n1", "n2", "n3"):
        recorder.result(result(name))
    recorder.event(event(7, "run.resumed", action="noop", targets=3))
    recorder.finish(ended(ok=4), 0)
    with SqliteReader(path) as ledger:
        run = ledger.find("r1")
        assert (run.status, run.exit_code, run.pid) == ("ok", 0, os.getpid())
        assert [target.state for target in ledger.targets(run)] == ["done"] * 4
        assert [one["seq"] for one in ledger.events(run)] == [*range(1, 8)]
    rows = sqlite3.connect(path)
    assert rows.execute("SELECT starts FROM target ORDER BY position").fetchall() == [
        *((1,), (1,), (2,), (1,))
    ]
    rows.close()


def test_lost_results_are_asked_for_again(path: Path, begin: Begin, resume: Resume) -> None:
    recorder = begin()
    recorder.starting(["n0", "n1", "n2"])
    lost = result("n1", "lost", error={"x": 1})
    for document in (result("n0"), lost, result("n2", "failed")):
        recorder.result(document)
    recorder.event(event(1, "target.finished", "n0"))
    recorder.event(event(2, "target.finished", "n1"))
    recorder.finish(ended(ok=1, lost=1, failed=1), 7)
    recorder, earlier, kept = resume()
    assert set(kept) == {"n0", "n2"}
    assert set(earlier.started) == {"n1"}
    found = result("n1", output_data={"found": True})
    recorder.result(found)
    recorder.event(event(3, "target.finished", "n1"))
    recorder.finish(ended(ok=2, failed=1), 7)
    with SqliteReader(path) as ledger:
        run = ledger.find("r1")
        told = [one["data"] for one in ledger.events(run)]
        assert told == [result("n0"), lost, found]
        assert ledger.results(run)[1] == found


def test_a_run_that_goes_on_is_not_taken(begin: Begin, resume: Resume) -> None:
    begin()
    with pytest.raises(RequestError, match=f"goes on in the process {os.getpid()}") as caught:
        resume()
    assert caught.value.reason == "run_not_resumable"


def test_a_run_that_is_through_is_not_taken(begin: Begin, resume: Resume) -> None:
    begin().finish(ended(ok=3), 0)
    with pytest.raises(RequestError, match="has finished, and none of its targets is lost"):
        resume()


def test_a_run_that_waits_is_not_taken(path: Path, resume: Resume) -> None:
    SqliteLedger(path).wait(facts(), "hash")
    with pytest.raises(RequestError, match="waits for an approval"):
        resume()


def test_a_process_that_cannot_be_seen_takes_a_word(
    path: Path, leave: Leave, resume: Resume
) -> None:
    leave()
    rows = sqlite3.connect(path, isolation_level=None)
    rows.execute("UPDATE run SET pid_space = 'pid:[1]'")
    rows.close()
    with pytest.raises(RequestError, match="cannot be seen from here"):
        resume()
    resume(unseen=True)


def test_of_many_that_take_it_up_one_does(path: Path, leave: Leave) -> None:
    leave(middle, targets=4)
    taking = [
        subprocess.Popen(
            [
                sys.executable,
                "-c",
                "import sys, pathlib; from lom.ledger.sqlite.writer import SqliteLedger\n"
                "recorder, _ = SqliteLedger(pathlib.Path(sys.argv[1])).resume("
                "'r1', lambda: None, lambda *_: None, unseen=False)\n"
                "print('mine', flush=True); sys.stdin.read(); recorder.close()",
                str(path),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    until = time.monotonic() + 30
    while sum(one.poll() is not None for one in taking) < 3:
        assert time.monotonic() < until
        time.sleep(0.02)
    said = [one.communicate("")[0] for one in taking]
    assert sorted(said) == ["", "", "", "mine\n"]


def test_settle_waits_for_what_was_handed_over(path: Path, begin: Begin) -> None:
    recorder = begin()
    recorder.starting(["n0"])
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    recorder.result(result("n0"))
    settled = threading.Thread(target=recorder.settle)
    settled.start()
    settled.join(0.3)
    assert settled.is_alive()
    other.execute("COMMIT")
    settled.join(10)
    assert not settled.is_alive()
    assert other.execute("SELECT count(*) FROM result").fetchone() == (1,)
    other.close()
    recorder.settle()  # nothing is left, so there is nothing to wait for


def test_a_key_is_that_of_one_run(path: Path, begin: Begin) -> None:
    begin(idempotency_key="k").finish(ended(ok=3), 0)
    begin(run_id="r2")
    begin(run_id="r3")
    with pytest.raises(RequestError, match="'k' is that of the run r1") as caught:
        begin(run_id="r4", idempotency_key="k")
    assert (caught.value.reason, caught.value.data["run_id"]) == ("idempotency_key_used", "r1")
    with SqliteReader(path) as ledger:
        assert [run.idempotency_key for run in ledger.runs()] == [None, None, "k"]
    assert SqliteLedger(path).prune("9999") == ["r1"]
    begin(run_id="r4", idempotency_key="k").close()


def test_a_key_stays_with_the_run_that_waited(path: Path, begin: Begin) -> None:
    SqliteLedger(path).wait(facts(idempotency_key="k"), "hash")
    with pytest.raises(RequestError, match="'k' is that of the run r1"):
        SqliteLedger(path).wait(facts(run_id="r2", idempotency_key="k"), "hash")
    SqliteLedger(path).approved("r1", ["bob"])
    begin(idempotency_key="k").finish(ended(ok=3), 0)
