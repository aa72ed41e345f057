"""Fleet reports, comparisons and baselines, for people and as rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lom.render.table import Screen, table
from lom.render.text import clean, counted, scalar

_ALL_HOSTS = 20  # of a larger report only those are listed that are not ok
_QUIET = ("ok", "same")
_COLUMNS = {"name": "metric", "verdict": "metric_verdict"}


def series_name(one: Mapping[str, Any]) -> str:
    """Return a metric's name with its labels: ``gemm{gpu=0}``."""
    inside = ",".join(f"{key}={value}" for key, value in one["labels"].items())
    return f"{one['name']}{{{inside}}}" if inside else str(one["name"])


def number(value: float | None, unit: str = "1") -> str:
    """Return a number in four digits with its unit, ``1`` being none; null is nothing."""
    if value is None:
        return ""
    return f"{value:.4g}" if unit == "1" else f"{value:.4g} {unit}"


def percent(value: float | None) -> str:
    """Return a percentage, null as nothing."""
    return "" if value is None else f"{value:.2g} %"


def facts_words(facts: Mapping[str, Any]) -> str:
    """Return what hosts share: ``driver_version 560, sku H200``."""
    return ", ".join(f"{key} {scalar(value)}" for key, value in facts.items()) or "facts unknown"


def report_text(document: Mapping[str, Any], view: Screen) -> str:
    """Return what ``rune fleet report`` prints."""
    lines = [f"run {document['run_id']}  {document['action']}  started {document['started_at']}"]
    lines += [clean(f"note: {remark}") for remark in document["remarks"]]
    parts = [_lines(lines)]
    for at, group in enumerate(document["groups"], 1):
        head = f"group {at}: {_hosts(group['hosts'])}, {facts_words(group['facts'])}"
        parts.append(_lines([clean(f"{head}  (plugin {group['plugin']})")]) + _metrics(group, view))
    parts.append(_host_table(document, view, ("target", "verdict", "confidence", "reason")))
    parts.append(_tail(document, view))
    return "\n".join(filter(None, parts))


def comparison_text(document: Mapping[str, Any], view: Screen) -> str:
    """Return what ``rune runs compare`` prints."""
    other = document["with"]
    what = f"run {other['run_id']} of {other['at']}"
    if other["baseline"]:
        what = f"baseline {other['baseline']} from {what}"
    head = f"run {document['run_id']}  {document['action']}, compared with {what}"
    body = _host_table(document, view, ("target", "verdict", "reason"))
    return "\n".join(filter(None, [_lines([clean(head)]), body, _tail(document, view)]))


def baseline_text(document: Mapping[str, Any], view: Screen) -> str:
    """Return what ``rune baseline show`` prints."""
    head = (
        f"baseline {document['name']}  {document['action']}, saved {document['saved_at']}"
        f" by {document['who']} from run {document['run_id']}"
    )
    parts = [_lines([clean(head)])]
    for group in document["groups"]:
        rows = [
            [
                series_name(one),
                number(one["center"], one["unit"]),
                number(one["spread"], one["unit"]),
                str(one["hosts"]),
            ]
            for one in group["metrics"]
        ]
        about = clean(f"{facts_words(group['facts'])}  (plugin {group['plugin']})")
        parts.append(_lines([about]) + table(("metric", "median", "spread", "hosts"), rows, view))
    return "\n".join(parts)


def report_rows(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield one row for each host and metric; a host without metrics has one, too."""
    groups = document["groups"]
    for host in document["hosts"]:
        row = {key: host[key] for key in ("target", "verdict", "confidence", "reason")}
        row["facts"] = {} if host["group"] is None else groups[host["group"]]["facts"]
        for one in host["metrics"] or [{}]:
            yield row | _flat(one)


def comparison_rows(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield one row for each host and metric."""
    for host in document["hosts"]:
        row = {key: host[key] for key in ("target", "verdict", "reason", "facts_changed")}
        for one in host["metrics"] or [{}]:
            yield row | _flat(one)


def baseline_rows(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield one row for each group and metric."""
    for group in document["groups"]:
        about = {"baseline": document["name"], "plugin": group["plugin"], "facts": group["facts"]}
        for one in group["metrics"]:
            yield about | _flat(one)


def _flat(one: Mapping[str, Any]) -> dict[str, Any]:
    """Return a metric as columns that do not meet those of its host."""
    row = {_COLUMNS.get(key, key): value for key, value in one.items() if value is not None}
    if "labels" in row:
        row["labels"] = ",".join(f"{label}={text}" for label, text in one["labels"].items())
    return row


def _metrics(group: Mapping[str, Any], view: Screen) -> str:
    headers = ["metric", "hosts", "median", "spread", "lowest", "highest", "found from"]
    with_baseline = any(one["baseline"] for one in group["metrics"])
    rows = []
    for one in group["metrics"]:
        row = [
            series_name(one),
            str(one["hosts"]),
            number(one["median"], one["unit"]) or "too few",
            percent(one["spread_percent"]) or number(one["spread"], one["unit"]),
            number(one["lowest"]),
            number(one["highest"]),
            percent(one["detectable_percent"]),
        ]
        if with_baseline:
            row.append(number((one["baseline"] or {}).get("center"), one["unit"]))
        rows.append(row)
    return table([*headers, *(["baseline"] if with_baseline else [])], rows, view)


def _host_table(document: Mapping[str, Any], view: Screen, names: Sequence[str]) -> str:
    hosts = document["hosts"]
    order = list(document["summary"])
    shown = [one for one in hosts if one["verdict"] not in _QUIET or len(hosts) <= _ALL_HOSTS]
    shown.sort(key=lambda one: (order.index(one["verdict"]), _chance(one)))
    rows = [[str(one[name] or "") for name in names] for one in shown]
    return table(names, rows, view, styled=1) if rows else ""


def _chance(one: Mapping[str, Any]) -> float:
    """Return by what hosts of one verdict are sorted: those that are blamed, the worst first."""
    return 0.0 if one["verdict"] in _QUIET else one.get("p_value") or 0.0


def _tail(document: Mapping[str, Any], view: Screen) -> str:
    counts = counted(document["summary"], view.color)
    return f"{_hosts(len(document['hosts']))}: {counts}\n"


def _hosts(count: int) -> str:
    return f"{count} host{'' if count == 1 else 's'}"


def _lines(lines: Sequence[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
