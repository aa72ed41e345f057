"""Which results a run tries to better by another attempt, and after how long a wait."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from lmm.model import Outcome, Result

if TYPE_CHECKING:
    import tenacity

LONGEST_WAIT_S = 300.0  # save where the first wait is asked to be longer
_MAY_HAVE_RUN = (Outcome.FAILED, Outcome.TIMED_OUT, Outcome.INVALID_OUTPUT, Outcome.LOST)


def is_worth_retrying(result: Result, retry_safe: bool) -> bool:
    """Tell whether another attempt does no harm and may help.

    What never started can always be tried again; what ran, or may have, only if its plugin is
    ``retry_safe`` and has not itself said that a repetition is of no use.
    """
    if result.outcome is Outcome.UNREACHABLE:
        return True
    may_have_run = result.outcome in _MAY_HAVE_RUN or result.reason == "disconnected"
    return retry_safe and may_have_run and not _declined(result)


def is_left_undone(result: Result) -> bool:
    """Tell whether a host, asked what became of a start, has said that RUNE left it undone."""
    return result.reason in ("never_started", "disconnected")


def wait_s(first_s: float, retry: int) -> float:
    """Return the seconds before the ``retry``-th retry of a target, counted from 1.

    They double from ``first_s`` on, up to ``LONGEST_WAIT_S``; up to ``first_s`` of chance is added,
    so that targets that failed together do not come back together.
    """
    import tenacity

    state = tenacity.RetryCallState(tenacity.Retrying(), None, (), {})
    state.attempt_number = retry
    return _waits(first_s)(state)


@functools.lru_cache(maxsize=8)
def _waits(first_s: float) -> tenacity.wait.wait_base:
    import tenacity

    longest = max(LONGEST_WAIT_S, first_s)
    return tenacity.wait_exponential(first_s, max=longest) + tenacity.wait_random(0, first_s)


def _declined(result: Result) -> bool:
    """Whether the plugin's own error says ``retryable: false``."""
    own = result.problem.get("data", {}).get("details")
    return isinstance(own, dict) and own.get("retryable") is False
