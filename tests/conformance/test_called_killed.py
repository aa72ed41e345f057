"""Only what was killed is called so."""

from __future__ import annotations

import itertools
import pickle
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lmm.model import Limits, Outcome, Result, Target
from lmm.transports import disconnect
from tests.conformance.conftest import REPOSITORY
from tests.scale import repeats
from tests.support.invocations import CARRY
from tests.support.waiting import until

OK = '{"payload":{"result":"success","output_data":{}}}'


def agree(results: list[Result]) -> set[bool]:
    """Check each result against the plugin's exit status, and return which kinds there are."""
    for one in results:
        killed = one.outcome in (Outcome.TIMED_OUT, Outcome.CANCELLED)
        assert killed or one.outcome is Outcome.OK, one.error
        assert one.exit_code == (143 if killed else 0), one
    return {one.outcome is Outcome.OK for one in results}


def enders(host: Any, timeout_s: float, seconds: float, apart_s: float = 0.02) -> list[Any]:
    """Return invocations that answer and end, one after the other."""
    return [
        host.invocation(
            f"sleep {seconds + number * apart_s:.3f}; exec echo '{OK}'",
            target=replace(host.target, name=f"node{number}"),
            limits=Limits(timeout_s, grace_s=60.0),
        )
        for number in range(30)
    ]


@pytest.mark.soak
def test_timed_out_is_only_what_was_killed(host_factory: Any) -> None:
    """Plugins end by themselves just when the guard looks at them."""
    host = host_factory(Target("local", transport="local"))
    kinds: set[bool] = set()
    for number in itertools.count():
        kinds |= agree(host.carry(*enders(host, 1.0, 0.1 if number % 2 else 0.7)))
        if number >= repeats(2) and (len(kinds) == 2 or number > 20):
            break
    assert kinds == {True, False}


@pytest.mark.soak
def test_cancelled_is_only_what_was_killed(streaming: Any) -> None:
    for _ in range(repeats(2)):
        streaming.scope = scope = type(streaming.scope)()
        timer = threading.Timer(1.2, scope.cancel)
        timer.start()
        results = streaming.carry(*enders(streaming, 60.0, 0.7))
        timer.cancel()
        timer.join()
        agree([one for one in results if one.exit_code is not None])  # others were not started


@pytest.mark.soak
@pytest.mark.parametrize("round_", range(repeats(1)))
def test_disconnected_is_only_what_was_killed(
    streaming: Any, keep: Any, scratch: Path, round_: int
) -> None:
    """RUNE is killed with -9 while its plugins end; who asks the hosts later hears the truth."""
    kept = [
        keep(streaming, one.script.content.decode(), target=one.target, limits=one.limits)
        for one in enders(streaming, 60.0, 1.0, 0.2)
    ]

    def ended() -> list[bool]:
        states = [keep.state(one) for one in kept]
        return ["ended" in state for state in states if state]

    (scratch / "jobs").write_bytes(pickle.dumps(kept))
    argv = [sys.executable, "-c", CARRY, str(scratch / "jobs")]
    with subprocess.Popen(argv, cwd=REPOSITORY) as rune:
        try:
            until(lambda: sum(ended()) > 3)
        finally:
            rune.kill()
    until(lambda: all(ended()))
    asked = [keep.ask(streaming, one) for one in kept if "read" not in keep.state(one)]
    found = [one for one in asked if one.outcome is not Outcome.UNREACHABLE]
    assert found
    agree(found)
    disconnect()


def test_over_every_transport_a_cancel_is_the_hosts_word(
    host: Any, keep: Any, scratch: Path
) -> None:
    """Systems Manager ends its script without an answer, so the host is asked."""
    watcher = host.cancel_when(lambda: (scratch / "up").exists())
    (result,) = host.carry(keep(host, f"echo >{scratch}/up; sleep 600"))
    watcher.join()
    assert (result.outcome, result.reason, result.exit_code) == (
        Outcome.CANCELLED,
        "cancelled",
        143,
    )
