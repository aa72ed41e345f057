"""RUNE itself is stopped or ended while its plugins run on hosts."""

from __future__ import annotations

import json
import random
import signal

from tests.support.waiting import comes_true

from .conftest import Fleet, reasons

TARGETS = 40


def test_stopped_for_longer_than_the_deadline(fleet: Fleet) -> None:
    """SIGSTOP: the hosts end their plugins in time without RUNE; SIGCONT: all is told."""
    fleet.plugin("((10#${t#n} % 2)) && sleep 600; sleep 0.3")
    fleet.mixed(12)
    with fleet.rune.start(*fleet.arguments("--timeout", "4")) as rune:
        assert comes_true(lambda: len(fleet.ran) == 12)
        rune.send_signal(signal.SIGSTOP)
        assert comes_true(lambda: not fleet.plugins)
        rune.send_signal(signal.SIGCONT)
        out, _ = rune.communicate(timeout=60)
    document = json.loads(out)
    assert fleet.count(document) == {"ok": 6, "timed_out": 6}, reasons(document)
    assert rune.returncode == 7
    assert fleet.is_quiet()


def test_sigterm_at_any_moment(fleet: Fleet) -> None:
    """What ran until then is told, what runs is cancelled on its host, the rest never starts."""
    fleet.plugin("sleep 0.$((RANDOM % 5))")
    fleet.mixed(TARGETS)
    moments = random.Random(20260101)
    with fleet.rune.start(*fleet.arguments("--concurrency", "6")) as rune:
        enough = moments.randrange(8, TARGETS - 8)
        assert comes_true(lambda: len(fleet.ran) >= enough)
        rune.send_signal(signal.SIGTERM)
        out, err = rune.communicate(timeout=60)
    document = json.loads(out)
    found = fleet.count(document)
    assert rune.returncode == 130
    assert b"Traceback" not in err
    assert found.total() == TARGETS
    assert set(found) == {"ok", "cancelled"}, reasons(document)
    never = [
        one["target"] for one in document["results"] if "before it was started" in str(one["error"])
    ]
    assert never
    assert not {*never} & {*fleet.ran}
    assert fleet.is_quiet()
