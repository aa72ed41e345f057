"""What runs measured, as documents: hosts compared, two runs compared, and baselines.

scipy and matplotlib are loaded when they are needed. What compares opens the ledger itself, after
it has found them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from lmm.errors import RequestError
from lom.fleet import need_libraries
from lom.ledger.measurements import Baseline, Measurement
from lom.ledger.records import RunRow
from lom.ledger.store import LedgerReader
from lom.names import did_you_mean
from lom.service.runs import ledger_of
from lom.settings.values import Settings

_STATISTICS = ("numpy", "scipy")
_PAGE = ("jinja2", "matplotlib")


def report(
    open_ledger: Callable[[], LedgerReader],
    name: str,
    metrics: Sequence[str],
    baseline: str | None,
    *,
    as_page: bool,
) -> tuple[dict[str, Any], bytes | None]:
    """Return how the hosts of a run compare (``specs/fleet_v1.json``), and as an HTML page.

    No ``metrics`` are all. Raises RequestError (``local_dependency_missing``, ``unknown_run``,
    ``unknown_baseline``, ``unknown_metric``, ``no_metrics``, ``invalid_request`` for a baseline of
    another action).
    """
    need_libraries(*_STATISTICS, *(_PAGE if as_page else ()))
    from lom.fleet.report import fleet_report

    with open_ledger() as ledger:
        run = ledger.find(name)
        saved = None if baseline is None else ledger.measured.find_baseline(baseline)
        if saved:
            _same_action(run, f"the baseline {saved.name}", saved.action)
        measured = _measured_in(ledger, run, metrics)
        past = ledger.measured.history(run)
    document = fleet_report(_told_of(run), measured, past, saved)
    if not as_page:
        return document, None
    from lom.fleet.paths import host_paths
    from lom.render.fleet_html import page

    return document, page(document, host_paths(document, past))


def compare(
    open_ledger: Callable[[], LedgerReader], name: str, other: str | None, metrics: Sequence[str]
) -> dict[str, Any]:
    """Return what changed on each host since another run, or beside a baseline.

    ``other`` is a run or a baseline, None the run before of the same action. Raises as ``report``.
    """
    need_libraries(*_STATISTICS)
    from lom.fleet.compare import compare_baseline, compare_runs
    from lom.fleet.groups import with_metrics

    with open_ledger() as ledger:
        run = ledger.find(name)
        measured = _measured_in(ledger, run, metrics)
        saved = next((one for one in ledger.measured.baselines() if one.name == other), None)
        if saved:
            _same_action(run, f"the baseline {saved.name}", saved.action)
            at = {"baseline": saved.name, "run_id": saved.run_id, "at": saved.saved_at}
            return compare_baseline({**_told_of(run), "with": at}, saved, measured)
        before = ledger.measured.run_before(run) if other is None else _run(ledger, other)
        if before is None:
            raise RequestError(
                "no_metrics",
                f"no run of {run.action} before {run.run_id} measured anything;"
                " name a run or a baseline to compare with",
            )
        _same_action(run, f"the run {before.run_id}", before.action)
        then = with_metrics(_measured_in(ledger, before, ()), metrics)
        since = {"baseline": None, "run_id": before.run_id, "at": before.started_at}
        return compare_runs({**_told_of(run), "with": since}, then, measured)


def save_baseline(
    settings: Settings, asker: str | None, name: str, run: str, *, replace: bool
) -> dict[str, Any]:
    """Keep what a run measured as a baseline, and return its document.

    Raises RequestError (``no_metrics``, ``baseline_exists`` unless it may be replaced, and as
    ``report``).
    """
    need_libraries(*_STATISTICS)
    from lom.fleet.report import baseline_metrics

    ledger = ledger_of(settings, asker)
    with ledger.reader() as reader:
        found = reader.find(run)
        metrics = baseline_metrics(_measured_in(reader, found, ()))
    if not metrics:
        raise RequestError(
            "no_metrics",
            f"nothing in the run {found.run_id} can be a baseline: no host gave a valid metric with"
            " at least 3 samples",
            run_id=found.run_id,
        )
    return _document(ledger.save_baseline(name, found, metrics, replace=replace))


def baselines(ledger: LedgerReader) -> list[dict[str, Any]]:
    """Return all baselines in short, by name."""
    return [
        {
            **_about(one),
            "groups": len({(metric.plugin, metric.facts) for metric in one.metrics}),
            "metrics": len(one.metrics),
        }
        for one in ledger.measured.baselines()
    ]


def baseline(ledger: LedgerReader, name: str) -> dict[str, Any]:
    """Return what a baseline holds. Raises RequestError (``unknown_baseline``)."""
    return _document(ledger.measured.find_baseline(name))


def remove_baseline(settings: Settings, asker: str | None, name: str) -> None:
    """Delete a baseline. Raises RequestError (``unknown_baseline``)."""
    ledger = ledger_of(settings, asker)
    with ledger.reader() as reader:
        reader.measured.find_baseline(name)
    ledger.remove_baseline(name)


def _measured_in(ledger: LedgerReader, run: RunRow, metrics: Sequence[str]) -> list[Measurement]:
    from lom.fleet.groups import check_metrics, with_metrics

    found = ledger.measured.of_run(run)
    check_metrics(found, metrics, run.run_id)
    return with_metrics(found, metrics)


def _told_of(run: RunRow) -> dict[str, str]:
    return {"run_id": run.run_id, "action": run.action, "started_at": run.started_at}


def _run(ledger: LedgerReader, name: str) -> RunRow:
    """Return the run with this name, which no baseline has. Raises ``unknown_run``."""
    try:
        return ledger.find(name)
    except RequestError as error:
        hint = did_you_mean(name, [one.name for one in ledger.measured.baselines()])
        raise RequestError(
            error.reason, f"{error.message}, nor a baseline of this name{hint}", field="RUN2"
        ) from None


def _same_action(run: RunRow, other: str, action: str) -> None:
    if run.action != action:
        raise RequestError(
            "invalid_request",
            f"the run {run.run_id} is one of {run.action}, {other} one of {action}:"
            " they measured different things",
            run_id=run.run_id,
        )


def _about(one: Baseline) -> dict[str, Any]:
    return {
        "name": one.name,
        "action": one.action,
        "run_id": one.run_id,
        "saved_at": one.saved_at,
        "who": one.who,
    }


def _document(one: Baseline) -> dict[str, Any]:
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for metric in one.metrics:
        groups.setdefault((metric.plugin, metric.facts), []).append(
            {
                **metric.series.document(),
                "center": metric.center,
                "spread": metric.spread,
                "hosts": metric.hosts,
            }
        )
    return {
        **_about(one),
        "groups": [
            {"plugin": plugin, "facts": json.loads(facts), "metrics": metrics}
            for (plugin, facts), metrics in groups.items()
        ],
    }
