"""What a run under way looks like: lines made of its events, for any run and any terminal."""

from __future__ import annotations

import re
import unicodedata
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmm.eps import document as eps
from lmm.errors import Unreachable
from lmm.model import Outcome
from lom.render.live import State, block, log_line
from lom.render.table import Screen
from lom.render.text import width

Event = tuple[float, str, str, dict[str, Any]]  # when, kind, target, data
STYLE = re.compile(r"\x1b\[[0-9;]*m")


def finished(when: float, target: str, outcome: str = "ok", message: str = "refused") -> Event:
    problem = None if outcome == "ok" else eps(Unreachable("connection_refused", message))
    data = {"outcome": outcome, "duration_s": 5.0, "error": problem}
    return when, "target.finished", target, data


def started(when: float, *targets: str) -> list[Event]:
    return [(when, "target.started", target, {"plugin": "p"}) for target in targets]


def progress(when: float, target: str, **data: Any) -> Event:
    return when, "progress", target, data


def state(total: int, *events: Event) -> State:
    made = State()
    made.take({"kind": "run.started", "data": {"action": "noop", "targets": total}}, 0.0)
    for when, kind, target, data in events:
        made.take({"kind": kind, "target": target, "data": data}, when)
    return made


def shown(made: State, now: float, columns: int = 79, height: int = 8) -> list[str]:
    return block(made, now, Screen(columns), height)


def test_totals_slowest_and_failures() -> None:
    made = state(
        9,
        *started(0.0, "web1", "web2", "web3"),
        *started(4.0, "web4", "web5"),
        progress(4.5, "web3", percent=40.4, message="warming\nup"),
        finished(5.0, "web2"),
        finished(5.0, "web4", "timed_out", "too slow\nby far"),
    )
    assert shown(made, 5.5) == [
        "2/9 done  6 s  1 ok  1 timed out  3 running",
        "web1  running    6 s",
        r"web3  running    6 s  40% warming\nup",
        "web5  running    2 s",
        "web4  timed_out  5 s  too slow by far",
    ]


def test_what_waits_is_told_apart_from_what_runs() -> None:
    refused = eps(Unreachable("connection_refused", "refused\nby far"))
    made = state(
        4,
        *started(0.0, "web1", "web2"),
        (0.0, "target.waiting", "web3", {"reason": "target_locked", "holder": "2026-0c5f"}),
        (0.0, "target.waiting", "web4", {"reason": "target_locked", "holder": None}),
        (2.0, "target.retrying", "web2", {"outcome": "unreachable", "error": refused}),
    )
    assert shown(made, 5.0) == [
        "0/4 done  5 s  1 running  3 waiting",
        "web1  running  5 s",
        "web3  waiting  5 s  for 2026-0c5f",
        "web4  waiting  5 s  for another run",
        "web2  waiting  3 s  after unreachable: refused by far",
    ]
    for event in (*started(5.0, "web3"), finished(5.0, "web4", "skipped"), finished(5.0, "web2")):
        made.take({"kind": event[1], "target": event[2], "data": event[3]}, event[0])
    assert shown(made, 6.5)[0] == "2/4 done  6 s  1 ok  1 skipped  2 running"


def test_a_target_is_named_when_it_has_run_for_a_second() -> None:
    made = state(2, *started(0.0, "web1"), *started(0.5, "web2"))
    assert shown(made, 0.9) == ["0/2 done  1 s  2 running"]
    assert shown(made, 1.2)[1:] == ["web1  running  1 s"]


def test_progress_replaces_progress_and_a_finished_target_has_none() -> None:
    made = state(1, *started(0.0, "web1"), progress(1.0, "web1", percent=90, message="phase 1"))
    made.take({"kind": "progress", "target": "web1", "data": {"message": "phase 2"}}, 2.0)
    assert shown(made, 3.0)[1:] == ["web1  running  3 s  phase 2"]
    made.take({"kind": "metric", "target": "web1", "data": {"name": "x"}}, 3.0)
    assert shown(made, 3.0)[1:] == ["web1  running  3 s  phase 2"]
    late = state(1, *started(0.0, "web1"), finished(1.0, "web1"), progress(2.0, "web1", percent=1))
    assert shown(late, 3.0) == ["1/1 done  3 s  1 ok"]


@pytest.mark.parametrize(
    ("running", "failed", "height", "names"),
    [
        (10, 0, 8, "r0 r1 r2 r3 r4 r5 r6"),
        (0, 10, 8, "f3 f4 f5 f6 f7 f8 f9"),
        (10, 10, 8, "r0 r1 r2 r3 f7 f8 f9"),
        (2, 10, 8, "r0 r1 f5 f6 f7 f8 f9"),
        (10, 1, 8, "r0 r1 r2 r3 r4 r5 f0"),
        (10, 10, 2, "r0"),
        (10, 10, 1, ""),
        (10, 10, 0, ""),
    ],
)
def test_running_and_failed_share_the_room(
    running: int, failed: int, height: int, names: str
) -> None:
    made = state(
        20,
        *started(0.0, *(f"r{number}" for number in range(running))),
        *(finished(1.0, f"f{number}", "failed") for number in range(failed)),
    )
    lines = shown(made, 5.0, height=height)
    assert " ".join(line.split()[0] for line in lines[1:]) == names
    assert len(lines) <= height


def test_what_was_asked_for_pushes_no_failure_out() -> None:
    made = state(
        30,
        finished(1.0, "web1", "failed"),
        *(finished(2.0, f"db{number}", "skipped") for number in range(10)),
        *(finished(2.0, f"tv{number}", "cancelled") for number in range(10)),
    )
    assert shown(made, 3.0) == [
        "21/30 done  3 s  1 failed  10 cancelled  10 skipped",
        "web1  failed  5 s  refused",
    ]


def test_a_notice_stands_below_the_totals() -> None:
    made = state(1, *started(0.0, "web1"))
    made.notice = "cancelling; once more quits at once"
    assert shown(made, 2.0)[1:] == [made.notice, "web1  running  2 s"]
    assert shown(made, 2.0, columns=14)[1] == "cancelling; o…"


@pytest.mark.parametrize(
    ("columns", "lines"),
    [
        (60, ["21/30 done  3m05s  20 ok  1 unreachable  2 running", "gpu-with-a-long-name-01"]),
        (39, ["21/30 done  3m05s  20 ok  1 unreachable", "gpu-with-a-long-name-01  3m05s"]),
        (38, ["21/30 done  3m05s  20 ok …", "gpu-with-a-long-name-01  3m05s"]),
        (19, ["21/30 done  3m05s …", "gpu-with-a-…  3m05s"]),
        (11, ["21/30 done"]),
        (5, ["21/3…"]),
        (0, [""]),
    ],
)
def test_a_narrow_terminal_shows_what_matters_most(columns: int, lines: list[str]) -> None:
    made = state(
        30,
        *started(0.0, "gpu-with-a-long-name-01"),
        *started(184.5, "db2"),
        *(finished(60.0, f"web{number}") for number in range(20)),
        finished(60.0, "db1", "unreachable"),
    )
    found = shown(made, 185.0, columns, height=2)
    assert [line[: len(wanted)] for line, wanted in zip(found, lines, strict=True)] == lines
    assert all(len(line) <= columns for line in found)


@pytest.mark.parametrize(
    ("when", "ended", "left"),
    [
        (20.0, 38, "~33 s left"),
        (4.9, 38, None),  # too early
        (20.0, 5, None),  # no place was taken twice
        (20.0, 98, None),  # nobody waits any more
    ],
)
def test_the_rest_is_estimated_where_that_is_no_guess(
    when: float, ended: int, left: str | None
) -> None:
    events = started(when - 1, "web1", "web2")
    for number in range(ended):
        events += [*started(when, f"db{number}"), finished(when, f"db{number}")]
    made = state(100, *events)
    totals = shown(made, when)[0].split("  ")
    assert next((part for part in totals if part.endswith("left")), None) == left


def test_nothing_is_estimated_while_a_target_runs_longer_than_the_rest_would_take() -> None:
    events = started(0.0, "slow")
    for number in range(8):
        events += [*started(number, f"web{number}"), finished(number + 0.5, f"web{number}")]
    assert shown(state(12, *events), 8.0)[0] == "8/12 done  8 s  8 ok  1 running"
    events.append(finished(8.0, "slow"))
    assert shown(state(12, *events), 8.0)[0] == "9/12 done  8 s  ~3 s left  9 ok"


def test_colours() -> None:
    made = state(2, *started(0.0, "web1"), finished(1.0, "web2", "failed"))
    totals, running, failed = block(made, 2.0, Screen(79, color=True), 8)
    assert totals == "\x1b[1m1/2 done\x1b[0m  2 s  \x1b[31m1 failed\x1b[0m  1 running"
    assert running == "web1  running  2 s"
    assert failed == "web2  \x1b[31mfailed\x1b[0m   5 s  refused"


def test_a_log_gets_one_line_with_the_slowest_target() -> None:
    made = state(3, *started(0.0, "web1", "web2"), finished(31.0, "web2"))
    assert log_line(made, 0.5) == "progress: 1/3 done  0 s  1 ok  1 running"
    assert log_line(made, 61.0).endswith("1 ok  1 running  longest: web1 1m01s")
    made.take({"kind": "progress", "target": "web1", "data": {"message": "half\r\x1b"}}, 61.0)
    assert log_line(made, 61.0).endswith(r"  longest: web1 1m01s (half\r\x1b)")


HOSTILE = st.text(st.characters(exclude_categories=()) | st.sampled_from("\x1b\n\r日e\u0301\u202e"))
NAMES = HOSTILE.filter(bool)
EVENTS = st.one_of(
    st.builds(lambda name: started(0.0, name), NAMES),
    st.builds(
        lambda name, percent, said: [
            *started(0.0, name),
            progress(0.0, name, percent=percent, message=said),
        ],
        NAMES,
        st.floats(0, 100),
        HOSTILE,
    ),
    st.builds(
        lambda name, outcome, said: [finished(0.0, name, outcome, said)],
        NAMES,
        st.sampled_from([str(outcome) for outcome in Outcome]),
        HOSTILE,
    ),
)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(EVENTS, max_size=12),
    st.integers(0, 120),
    st.integers(0, 12),
    st.floats(0, 1e6),
    st.booleans(),
    HOSTILE,
)
def test_whatever_hosts_say_it_fits_and_is_harmless(
    events: list[list[Event]], columns: int, height: int, now: float, color: bool, notice: str
) -> None:
    made = state(5000, *(one for group in events for one in group))
    made.notice = "cancelling" if notice else ""
    lines = block(made, now, Screen(columns, color), height)
    assert len(lines) <= height
    for line in [*lines, log_line(made, now)]:
        plain = STYLE.sub("", line) if color else line
        assert not any(unicodedata.category(one) in ("Cc", "Cs", "Zl", "Zp") for one in plain)
    assert all(width(STYLE.sub("", line)) <= columns for line in lines)
