"""The one table: a row for each tool and number of hosts, as medians, spreads and ratios."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.comparison.measure import Phase, Sample

YARDSTICK, SINGLE_YARDSTICK = "libssh2", "ssh"
HEAD = ("hosts", "tool", "first s", "ratio", "client ms", "hosts ms")
HEAD += ("second s", "ratio", "client ms", "hosts ms", "peak MiB", "remark")


@dataclass
class Row:
    """What is known of a tool at a number of hosts. ``failures`` say why samples are missing."""

    tool: str
    hosts: int
    remark: str = ""
    peak: float = 0.0
    samples: list[Sample] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def phases(self, name: str) -> list[Phase]:
        return [getattr(sample, name) for sample in self.samples]

    def wall(self, name: str) -> float:
        """Return the median wall time of ``cold`` or ``second``."""
        return statistics.median(phase.wall for phase in self.phases(name))

    def document(self) -> dict[str, Any]:
        return asdict(self)


def cells(row: Row, yardstick: Row | None) -> list[str]:
    """Return a row's cells; a tool without a sample has its reason instead of figures."""
    if not row.samples:
        return [str(row.hosts), row.tool, *["-"] * 9, "; ".join(row.failures) or "not measured"]
    shown = [str(row.hosts), row.tool]
    for name in ("cold", "second"):
        phases, wall = row.phases(name), row.wall(name)
        walls = [phase.wall for phase in phases]
        shown.append(f"{wall:.2f} ({min(walls):.2f}-{max(walls):.2f})")
        known = yardstick is not None and yardstick.samples
        shown.append(f"{wall / yardstick.wall(name):.2f}" if yardstick and known else "-")
        for side in ("client", "hosts"):
            used = statistics.median(getattr(phase, side) for phase in phases)
            shown.append(f"{used * 1000 / row.hosts:.1f}")
    return [*shown, f"{row.peak:.0f}", "; ".join(filter(None, [row.remark, *row.failures]))]


def table(rows: Sequence[Row]) -> str:
    """Return the table in Markdown, aligned for a terminal as well."""
    by_name = {(row.tool, row.hosts): row for row in rows}
    lines = [list(HEAD)]
    for row in rows:
        name = SINGLE_YARDSTICK if row.hosts == 1 else YARDSTICK
        text = cells(row, by_name.get((name, row.hosts)))
        lines.append([cell.replace("|", "\\|") for cell in text])
    widths = [max(len(line[n]) for line in lines) for n in range(len(HEAD) - 1)] + [0]
    lines.insert(1, ["-" * max(width, 3) for width in widths])
    padded = (" | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) for line in lines)
    return "\n".join(f"| {line} |" for line in padded)
