"""What many hosts measured, compared: with each other, with their own past, with a baseline.

Statistics, groups, verdicts and the documents that tell them belong here, made from what the
ledger has read. Opening the ledger does not, nor how a document looks. numpy and scipy are of the
extra ``fleet``: import these modules after ``need_libraries``, and never on the way of a run.
"""

from __future__ import annotations

from lmm.errors import RequestError


def need_libraries(*names: str) -> None:
    """Make sure that what the extra ``fleet`` brings is there. Raises ``extra_missing``."""
    from importlib.util import find_spec

    missing = [name for name in names if find_spec(name) is None]
    if missing:
        raise RequestError(
            "extra_missing",
            f"the analysis of a fleet needs {' and '.join(missing)}, which RUNE does not install"
            " by itself: pip install 'rune-orchestrator[fleet]'",
            extra="fleet",
        )
