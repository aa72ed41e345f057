"""What a run under way looks like: a few lines, made of its events, for any number of targets.

Nothing is sorted: targets stand in the order in which they started, so the slowest come first.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from lmm.model import Outcome
from lom.render.errors import one_line
from lom.render.table import Screen, table
from lom.render.text import clean, clip, duration, paint

HEIGHT = 8  # lines at most: what is above them on the terminal can still be read
_SLOW_S = 1.0  # a target is named when it has run so long; before, nobody could read its name
_NARROW = 40  # columns; with fewer a target gets a name and one word
_TINY = 12  # columns; with fewer no target is named
_ESTIMATE_AFTER_S = 5.0
_KEPT = 500  # characters of an error's message, which may be long
_NO_NEWS = (Outcome.OK, Outcome.SKIPPED, Outcome.CANCELLED)  # the last two: it was asked for


@dataclass(slots=True)
class State:
    """What the events of a run have told so far; times are those of one clock, in seconds."""

    total: int = 0
    since: float = 0.0
    outcomes: Counter[str] = field(default_factory=Counter)
    running: dict[str, tuple[float, Mapping[str, Any]]] = field(default_factory=dict)
    waiting: dict[str, tuple[float, str]] = field(default_factory=dict)  # since when, what for
    failures: deque[list[str]] = field(default_factory=lambda: deque(maxlen=HEIGHT))  # as shown
    most_running: int = 0
    ran: int = 0
    notice: str = ""

    def take(self, event: Mapping[str, Any], now: float) -> None:
        """Count one event (``specs/event_v1.json``) that came at ``now``."""
        kind, data = event["kind"], event["data"]
        if kind in ("run.started", "run.resumed"):
            self.total, self.since = data["targets"], now
        elif kind == "target.waiting":
            self.waiting[event["target"]] = now, f"for {data['holder'] or 'another run'}"
        elif kind in ("target.started", "target.asked"):
            self.waiting.pop(event["target"], None)
            self.running[event["target"]] = now, {}
            self.most_running = max(self.most_running, len(self.running))
        elif kind == "progress" and event["target"] in self.running:
            since, _ = self.running[event["target"]]
            self.running[event["target"]] = since, data
        elif kind == "target.retrying":
            self.running.pop(event["target"], None)
            why = f"after {data['outcome']}: {one_line(data['error'])}"[:_KEPT]
            self.waiting[event["target"]] = now, why
        elif kind == "target.finished":
            self.waiting.pop(event["target"], None)
            self.ran += self.running.pop(event["target"], None) is not None
            self.outcomes[data["outcome"]] += 1
            if data["outcome"] not in _NO_NEWS:
                spent, said = _whole(data["duration_s"]), one_line(data["error"])[:_KEPT]
                self.failures.append([event["target"], data["outcome"], spent, said])


def block(state: State, now: float, view: Screen, height: int) -> list[str]:
    """Return at most ``height`` lines that fit the view: totals, slowest targets, last failures."""
    columns = view.columns or 0
    lines = [_totals(state, now, columns, view.color)]
    if state.notice:
        lines.append(paint(clip(state.notice, columns), "warn", view.color))
    lines += _targets(state, now, view, height - len(lines))
    return lines[: max(0, height)]


def log_line(state: State, now: float) -> str:
    """Return the run in one line of a log: the totals, and the target that runs longest."""
    line = "progress: " + "  ".join(text for text, _ in _parts(state, now))
    slowest = next(_slowest(state, now), None)
    if slowest is None:
        return line
    name, since, data = slowest
    doing = _doing(data, 80)
    line += f"  longest: {clip(clean(name), 80)} {_whole(now - since)}"
    return f"{line} ({doing})" if doing else line


def _parts(state: State, now: float) -> Iterator[tuple[str, str]]:
    """Yield the totals, each with its style; what matters least comes last."""
    yield f"{state.outcomes.total()}/{state.total} done", "bold"
    yield _whole(now - state.since), ""
    left = _seconds_left(state, now)
    if left is not None:
        yield f"~{_whole(left)} left", "dim"
    for outcome in Outcome:
        if count := state.outcomes[outcome]:
            yield f"{count} {outcome.replace('_', ' ')}", outcome
    if state.running:
        yield f"{len(state.running)} running", ""
    if state.waiting:
        yield f"{len(state.waiting)} waiting", ""


def _seconds_left(state: State, now: float) -> float | None:
    """Return how long the rest takes at the rate so far; None where that would be a guess.

    It is one until each place of the fan-out was taken twice, when nothing waits any more, and
    when a target has been running for longer than that: when it ends, nobody knows.
    """
    elapsed = now - state.since
    rest = state.total - state.outcomes.total()
    if elapsed < _ESTIMATE_AFTER_S or rest <= len(state.running):
        return None
    if state.ran < max(1, 2 * state.most_running):
        return None
    left = rest * elapsed / state.ran
    oldest = next((now - since for since, _ in state.running.values()), 0.0)
    return left if left > oldest else None


def _totals(state: State, now: float, columns: int, color: bool) -> str:
    (first, style), *more = _parts(state, now)
    first = clip(first, columns)
    line, room = paint(first, style, color), columns - len(first)
    for text, style in more:
        if len(text) + 2 > room:
            return line + " …" if room >= 2 else line
        line += "  " + paint(text, style, color)
        room -= len(text) + 2
    return line


def _targets(state: State, now: float, view: Screen, height: int) -> list[str]:
    """Return a line for each target worth a look; failures take up to half of the room."""
    columns = view.columns or 0
    if height <= 0 or columns < _TINY:
        return []
    rows = [
        [name, "running", _whole(now - since), _doing(data, columns)]
        for name, since, data in islice(_slowest(state, now), height)
    ]
    rows += [
        [name, "waiting", _whole(now - since), clip(clean(why), columns)]
        for name, (since, why) in islice(state.waiting.items(), height - len(rows))
    ]
    failed = min(len(state.failures), max(height // 2, height - len(rows)))
    rows = rows[: height - failed]
    rows += list(state.failures)[len(state.failures) - failed :]
    if columns < _NARROW:
        rows = [[name, spent if word == "running" else word] for name, word, spent, _ in rows]
    if not rows:
        return []
    return table([""] * len(rows[0]), rows, view, styled=1).splitlines()[1:]


def _slowest(state: State, now: float) -> Iterator[tuple[str, float, Mapping[str, Any]]]:
    """Yield (name, since, last progress) of the targets that run longest, the longest first."""
    for name, (since, data) in state.running.items():
        if now - since < _SLOW_S:
            return
        yield name, since, data


def _doing(data: Mapping[str, Any], limit: int) -> str:
    """Return what a plugin last said of its progress, made harmless; about ``limit`` long."""
    percent = f"{data['percent']:.0f}%" if "percent" in data else ""
    return clip(clean(f"{percent} {data.get('message', '')[:limit]}".strip()), limit)


def _whole(seconds: float) -> str:
    """Return a duration without fractions, which would only flicker."""
    return f"{seconds:.0f} s" if seconds < 59.5 else duration(seconds)
