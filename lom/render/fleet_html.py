"""The fleet report as one page that needs nothing else: plots inside, no script, no network.

Every text of it may come from a host, and is escaped.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lom.render.fleet import facts_words, number, percent, series_name
from lom.render.fleet_plots import distribution, over_time
from lom.render.text import clean, counted

MOST_PLOTTED = 40  # metrics; the tables hold all
_STRONGEST = 10.0  # percent: the colour of more is no stronger
_BLAMED = ("slow", "drifted")


def page(document: Mapping[str, Any], paths: Sequence[Sequence[Mapping[str, Any]]]) -> bytes:
    """Return the page; ``paths`` are those of ``lom.fleet.paths`` for groups and metrics."""
    import jinja2

    environment = jinja2.Environment(
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        finalize=lambda value: clean(value) if type(value) is str else value,
    )
    text = Path(__file__).with_name("fleet.html").read_text(encoding="utf-8")
    order = list(document["summary"])
    hosts = sorted(
        document["hosts"], key=lambda one: (order.index(one["verdict"]), one["p_value"] or 0.0)
    )
    plotted = _plotted(document)
    groups = [
        _group(group, [host for host in hosts if host["group"] == at], paths[at], plotted[at])
        for at, group in enumerate(document["groups"])
    ]
    left_out = sum(len(group["metrics"]) for group in document["groups"])
    left_out -= sum(map(len, plotted))
    shown = environment.from_string(text).render(
        report=document,
        hosts=hosts,
        groups=groups,
        left_out=left_out,
        counted=counted(document["summary"]),
        number=number,
        percent=percent,
    )
    return shown.encode("utf-8", "backslashreplace")


def _plotted(document: Mapping[str, Any]) -> list[set[int]]:
    """Return which metrics of each group are plotted: where there are many, the worst."""
    ranked = []
    for at, group in enumerate(document["groups"]):
        hosts = [host for host in document["hosts"] if host["group"] == at]
        for row, metric in enumerate(group["metrics"]):
            worst = max((_z(one) for one in _of(metric, hosts).values()), default=0.0)
            ranked.append((-worst, at, row))
    plotted: list[set[int]] = [set() for _ in document["groups"]]
    for _, at, row in sorted(ranked)[:MOST_PLOTTED]:
        plotted[at].add(row)
    return plotted


def _z(one: Mapping[str, Any]) -> float:
    found = (one[key] and one[key]["z"] for key in ("peers", "history", "baseline"))
    return max((z for z in found if z is not None), default=0.0)


def _of(metric: Mapping[str, Any], hosts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return one metric of each host that has it, by target."""
    same = ("name", "labels", "unit", "better")
    return {
        host["target"]: one
        for host in hosts
        for one in host["metrics"]
        if all(one[key] == metric[key] for key in same)
    }


def _group(
    group: Mapping[str, Any],
    hosts: Sequence[Mapping[str, Any]],
    paths: Sequence[Mapping[str, Any]],
    plotted: set[int],
) -> dict[str, Any]:
    columns = [_of(metric, hosts) for metric in group["metrics"]]
    figures = [
        figure
        for at, metric in enumerate(group["metrics"])
        if at in plotted
        for figure in _figures(metric, columns[at], paths[at])
    ]
    return {
        "about": facts_words(group["facts"]),
        "plugin": group["plugin"],
        "count": group["hosts"],
        "metrics": [{**metric, "title": series_name(metric)} for metric in group["metrics"]],
        "cells": [
            (host, [_cell(column.get(host["target"])) for column in columns]) for host in hosts
        ],
        "figures": figures,
    }


def _cell(one: Mapping[str, Any] | None) -> dict[str, str]:
    """Return a cell of the heat map: what is worse than the group is orange, better is blue."""
    beside = (one and one["peers"]) or {"worse_percent": None}
    worse = beside["worse_percent"]
    if one is None:
        return {"text": "", "style": "", "verdict": ""}
    if worse is None:
        return {"text": number(one["center"]), "style": "", "verdict": one["verdict"]}
    share = min(abs(worse) / _STRONGEST, 1.0)
    strong = (213, 94, 0) if worse > 0 else (0, 114, 178)
    color = ",".join(str(round(255 - share * 0.7 * (255 - part))) for part in strong)
    return {
        "text": f"{0.0 - round(worse, 1):+.1f}",
        "style": f"background:rgb({color})",
        "verdict": one["verdict"],
    }


def _figures(
    metric: Mapping[str, Any], column: Mapping[str, Any], paths: Mapping[str, Any]
) -> Iterator[dict[str, str]]:
    title = series_name(metric)
    blamed = [name for name, one in column.items() if one["verdict"] in _BLAMED]
    values = {name: one["center"] for name, one in column.items()}
    told = f"blamed: {', '.join(blamed[:8])}" if blamed else "none blamed"
    middle = f"median {number(metric['median'], metric['unit'])}, " if metric["median"] else ""
    yield {
        "caption": f"{title}: distribution over {len(values)} hosts",
        "alt": f"{title} of {len(values)} hosts, {middle}{number(metric['lowest'])} to"
        f" {number(metric['highest'], metric['unit'])}; {told}",
        "source": _source(distribution(values, blamed, metric)),
    }
    if len(paths["times"]) > 1:
        ends = (number(paths["median"][at], metric["unit"]) for at in (0, -1))
        yield {
            "caption": f"{title}: hosts over {len(paths['times'])} runs",
            "alt": f"{title} over {len(paths['times'])} runs: median from {' to '.join(ends)};"
            f" lines: {', '.join(paths['lines']) or 'none'}",
            "source": _source(over_time(paths, metric)),
        }


def _source(svg: str) -> str:
    data = base64.b64encode(svg.encode("utf-8", "backslashreplace")).decode()
    return f"data:image/svg+xml;base64,{data}"
