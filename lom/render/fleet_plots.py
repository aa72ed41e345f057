"""The plots of a fleet report as SVG, drawn by matplotlib without a display.

Names and units come from hosts: none is read as markup, and a glyph that is missing is drawn as a
box without a word.
"""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lom.render.text import clean, clip

# Okabe and Ito's colours, which people with any kind of colour vision tell apart.
_BLUE, _ORANGE, _GREY = "#0072B2", "#D55E00", "#999999"
_LINES = ("#D55E00", "#CC79A7", "#E69F00", "#009E73", "#56B4E9", "#F0E442", "#000000", "#0072B2")
_WIDTH, _HEIGHT = 6.4, 2.4  # inches
_NAMED = 8  # hosts, in one plot
_TICKS = 6
_SETTINGS: Any = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "rune",  # the same report gives the same bytes
    "axes.spines.top": False,
    "axes.spines.right": False,
    "font.size": 9.0,
    "font.family": "sans-serif",
}


def distribution(values: Mapping[str, float], blamed: Sequence[str], row: Mapping[str, Any]) -> str:
    """Return the hosts of a group along one metric: a dot for each, those blamed by name."""

    def draw(axes: Axes) -> None:
        ordered = sorted(values, key=lambda name: (values[name], name))
        # Heights that spread neighbours apart; they mean nothing.
        heights = {name: (at * 0.618034) % 1 for at, name in enumerate(ordered)}
        plain = [name for name in ordered if name not in blamed]
        axes.plot(
            *_points(plain, values, heights), linestyle="", marker="o", markersize=4,
            color=_BLUE, alpha=0.5, markeredgewidth=0,
        )  # fmt: skip
        axes.plot(
            *_points(blamed, values, heights), linestyle="", marker="v", markersize=7, color=_ORANGE
        )
        for name in list(blamed)[:_NAMED]:
            axes.annotate(
                clip(clean(name), 24),
                (values[name], heights[name]),
                xytext=(0, 6),
                textcoords="offset points",
                ha="center",
                parse_math=False,
            )
        if row["median"] is not None:
            axes.axvline(row["median"], color="black", linewidth=1)
        axes.set_ylim(-0.15, 1.25)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        _unit(axes.xaxis, row)

    return _svg(draw)


def over_time(paths: Mapping[str, Any], row: Mapping[str, Any]) -> str:
    """Return how a group went from run to run: median, the middle 90 % of hosts, single hosts."""

    def draw(axes: Axes) -> None:
        at = list(range(len(paths["times"])))
        axes.fill_between(at, paths["low"], paths["high"], color=_GREY, alpha=0.3, linewidth=0)
        axes.plot(at, paths["median"], color=_BLUE, linewidth=2)
        for color, (name, values) in zip(_LINES, paths["lines"].items(), strict=False):
            known = [(x, y) for x, y in zip(at, values, strict=True) if y is not None]
            axes.plot(*zip(*known, strict=True), color=color, marker="o", markersize=3, linewidth=1)
            axes.annotate(
                clip(clean(name), 24),
                known[-1],
                xytext=(6, 0),
                textcoords="offset points",
                va="center",
                color=color if color != "#F0E442" else "black",
                annotation_clip=False,
                parse_math=False,
            )
        step = max(1, -(-len(at) // _TICKS))
        axes.set_xticks(
            at[::step], [time[5:16].replace("T", " ") for time in paths["times"][::step]]
        )
        _unit(axes.yaxis, row)

    return _svg(draw)


def _points(
    names: Sequence[str], values: Mapping[str, float], heights: Mapping[str, float]
) -> tuple[list[float], list[float]]:
    return [values[name] for name in names], [heights[name] for name in names]


def _unit(axis: Any, row: Mapping[str, Any]) -> None:
    if row["unit"] != "1":
        axis.set_label_text(clip(clean(row["unit"]), 32), parse_math=False)


def _svg(draw: Any) -> str:
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # its cache is no matter of the user's
    with matplotlib.rc_context(_SETTINGS), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        figure = Figure(figsize=(_WIDTH, _HEIGHT), layout="constrained")
        draw(figure.add_subplot())
        out = io.StringIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(out, format="svg", metadata=nothing)
    return out.getvalue()
