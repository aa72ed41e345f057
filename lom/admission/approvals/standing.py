"""What was approved, as a hash of all that decides what runs; and whether it may run: pure.

A ``subject`` is the part of a plan that an approval is bound to, as JSON values: ``action``,
``parameters`` (secrets masked), ``secret_parameters``, ``plugins``, ``targets``, ``options``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from lmm.envelope import timestamp
from lom.admission.decide import is_one_of

AHEAD = timedelta(minutes=1)  # most that two clocks may differ, the file system's and ours
_NAMED = ("plugins", "targets")  # lists of objects that have a name
_SHOWN = 10  # differences that a message spells out


class Demand(NamedTuple):
    """A rule that allows a plan only once one of ``approvers`` has approved of it."""

    rule: str
    policy: str
    approvers: tuple[str, ...]
    valid_for_s: float

    @property
    def words(self) -> str:
        return f"by {' or '.join(self.approvers)} (rule {self.rule!r} of {self.policy})"


@dataclass(frozen=True, slots=True)
class Answer:
    """What ``user`` said to the plan with this hash; ``groups`` are those of the user now."""

    user: str
    groups: frozenset[str]
    plan_hash: str
    approved: bool
    at: datetime
    reason: str | None = None

    def document(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "user": self.user,
            "approved": self.approved,
            "at": timestamp(self.at),
            "reason": self.reason,
        }


class Standing(NamedTuple):
    """What the answers come to: ``reason`` of an error and why, or those who approved."""

    approved_by: tuple[Answer, ...] = ()
    reason: str | None = None
    why: str = ""


def plan_hash(subject: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a subject in hex; the order of keys does not matter."""
    return hashlib.sha256(_text(subject).encode("ascii")).hexdigest()


def standing(
    demands: Sequence[Demand], answers: Iterable[Answer], asker: str, digest: str, now: datetime
) -> Standing:
    """Return whether every demand is met for the plan with this hash, and if not why.

    Nobody approves what they asked for. A denial by somebody who may approve stands whatever
    others say. The reasons are ``approval_required``, ``approval_denied``, ``approval_void``.
    """
    answers = sorted(
        (one for one in answers if one.plan_hash == digest and one.user != asker),
        key=lambda one: one.at,
    )
    approved_by: list[Answer] = []
    for demand in demands:
        fitting = [one for one in answers if is_one_of(demand.approvers, one.user, one.groups)]
        denied = next((one for one in fitting if not one.approved), None)
        if denied:
            words = f"it was denied by {denied.user} at {denied.at:%Y-%m-%d %H:%M %Z}"
            return Standing((), "approval_denied", f"{words}: {denied.reason or 'no reason given'}")
        if not fitting:
            return Standing((), "approval_required", f"it needs an approval {demand.words}")
        newest = fitting[-1]
        if newest.at > now + AHEAD:  # the clock was put back: how old it is cannot be told
            words = f"the approval by {newest.user} is dated ahead, {newest.at:%Y-%m-%d %H:%M %Z}"
            return Standing((), "approval_void", words)
        until = newest.at + timedelta(seconds=demand.valid_for_s)
        if now > until:
            words = f"the approval by {newest.user} has expired at {until:%Y-%m-%d %H:%M %Z}"
            return Standing((), "approval_void", words)
        approved_by += [] if newest in approved_by else [newest]
    return Standing(tuple(approved_by))


def differences(asked: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return in words what differs between two subjects, nothing if their hashes are the same."""
    words: list[str] = []
    for key in sorted({*asked, *now}):
        was, has = asked.get(key), now.get(key)
        if _text(was) == _text(has):
            continue
        if key in _NAMED and isinstance(was, list) and isinstance(has, list):
            words += _listed(key, was, has)
        elif isinstance(was, Mapping) and isinstance(has, Mapping):
            words += [f"{key}.{name}" for name in _changed(was, has)]
        else:
            words.append(key)
    return words if len(words) <= _SHOWN else [*words[:_SHOWN], f"{len(words) - _SHOWN} more"]


def _listed(key: str, was: Sequence[Any], has: Sequence[Any]) -> list[str]:
    word = key.removesuffix("s")
    before, after = ({one["name"]: one for one in side} for side in (was, has))
    words = [f"{word} {name} is new" for name in after if name not in before]
    words += [f"{word} {name} is gone" for name in before if name not in after]
    for name in before.keys() & after.keys():
        fields = _changed(before[name], after[name])
        words += [f"{word} {name} ({', '.join(fields)})"] if fields else []
    return sorted(words) or [f"the order of the {key}"]


def _changed(was: Mapping[str, Any], has: Mapping[str, Any]) -> list[str]:
    return [
        name
        for name in sorted({*was, *has})
        if name not in was or name not in has or _text(was[name]) != _text(has[name])
    ]


def _text(value: Any) -> str:
    """Return the one text for a JSON value; ``1``, ``1.0`` and ``true`` have different ones."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
