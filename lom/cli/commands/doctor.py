"""``rune doctor``: what is missing, and what to do about it."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from lom.cli.common import Common, common_options
from lom.cli.options import target_option
from lom.exit_codes import ExitCode

if TYPE_CHECKING:
    from lom.render.table import Screen


@click.command()
@target_option(
    "selectors", "Reach only these targets; may be repeated.  [default: all of the inventory]"
)
@common_options(tolerant=True)
def doctor(common: Common, selectors: tuple[str, ...]) -> int:
    """Check Python, ssh, keys, configuration, inventory, plugins, AWS where it is used, and reach
    each target.

    Exit code 0 when nothing failed, 1 otherwise.
    """
    from pathlib import Path

    from lom.service.doctor.examine import examine

    with common.orchestrator() as orchestrator:
        checks = [
            asdict(check)
            for check in examine(
                orchestrator,
                selectors,
                environ=os.environ,
                home=Path(os.path.expanduser("~")),
                config_error=common.config_error,
            )
        ]
    counted = Counter(check["status"] for check in checks)
    summary = {status: counted[status] for status in ("ok", "warn", "fail")}
    common.emit({"checks": checks, "summary": summary}, checks, lambda view: _text(checks, view))
    common.tell(", ".join(f"{number} {status}" for status, number in summary.items()))
    return ExitCode.FAILED if summary["fail"] else ExitCode.OK


def _text(checks: list[dict[str, Any]], view: Screen) -> str:
    """Return one line for each check, what to do below those that are not well."""
    from lom.render.text import clean, paint

    lines = []
    for check in checks:
        status = paint(f"{check['status']:4}", check["status"], view.color)
        lines.append(f"{status}  {clean(check['check'])}: {clean(check['found'])}")
        if check["advice"]:
            lines.append(f"      {clean(check['advice'])}")
    return "".join(f"{line}\n" for line in lines)
