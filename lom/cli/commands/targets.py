"""``rune target``: the hosts of the inventory."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from lom.cli.common import Common, common_options, completing
from lom.cli.execute import execute
from lom.cli.group import Group
from lom.cli.options import (
    concurrency_option,
    connect_timeout_option,
    selectors_argument,
    target_option,
    timeout_option,
    transport_option,
)
from lom.exit_codes import ExitCode

if TYPE_CHECKING:
    from lom import Plan
    from lom.render.table import Screen


_selectors = target_option(
    "selectors", "Only these targets; may be repeated.  [default: all of the inventory]"
)


@click.group(cls=Group, commands_at={"cache": "lom.cli.commands.targets:cache"})
def target() -> None:
    """List, show, ping and disconnect the targets of the inventory."""


@target.command("list")
@_selectors
@common_options()
def list_targets(common: Common, selectors: tuple[str, ...]) -> int:
    """List the targets: name, transport, address, groups."""
    from lom.service.describe import NO_TARGETS, targets

    with common.orchestrator() as orchestrator:
        document = targets(orchestrator, selectors)
    rows = document["targets"]
    names = ["target", "transport", "address", "ping_status", "groups"]
    if all(row["ping_status"] is None for row in rows):
        names.remove("ping_status")
    common.emit_table(document, rows, names)
    if not rows:
        common.tell(NO_TARGETS)
    return ExitCode.OK


@target.command("show")
@click.argument("selector", shell_complete=completing("target"))
@common_options()
def show_target(common: Common, selector: str) -> int:
    """Show all that is known of the targets that SELECTOR picks."""
    from lom.service.describe import target

    with common.orchestrator() as orchestrator:
        rows = [target(one) for one in orchestrator.select([selector])]
    common.emit({"targets": rows}, rows, lambda view: "\n\n".join(map(_outlined, rows)) + "\n")
    return ExitCode.OK


@target.command("ping")
@_selectors
@timeout_option("Seconds for each.")
@connect_timeout_option("Seconds to connect.")
@concurrency_option
@transport_option("Reach all targets by local, ssh, openssh, ssm or auto.")
@common_options()
def ping(common: Common, selectors: tuple[str, ...]) -> int:
    """Run the action noop on each target and say how long the answer took.

    Exit codes and -o json are those of `rune run`; the latency is duration_s.
    """
    return _everywhere(common, "noop", selectors, latencies=True)


@target.command("disconnect")
@selectors_argument
@common_options()
def disconnect_targets(common: Common, selectors: tuple[str, ...]) -> int:
    """End the connections that the transport openssh keeps: those to the targets that SELECTOR
    picks, else all.

    What still runs over them, for another rune too, is killed on its host.
    """
    from lmm.transports import disconnect

    chosen = None
    if selectors:
        with common.orchestrator() as orchestrator:
            chosen = orchestrator.select(selectors)
    ended, silent = disconnect(chosen)
    document = {"disconnected": ended, "unanswered": silent}
    common.emit(document, [document], lambda view: f"{_connections(ended)} ended\n")
    if silent:
        common.tell(f"{_connections(silent)} gave no answer and will not be used again")
    return ExitCode.OK


@click.group(cls=Group)
def cache() -> None:
    """Show or remove the large files of plugins that hosts keep, to be sent them only once."""


@cache.command("show")
@selectors_argument
@common_options()
def show_cache(common: Common, selectors: tuple[str, ...]) -> int:
    """Tell how many files each target keeps, and their size: the action target.cache.show."""
    return _everywhere(common, "target.cache.show", selectors)


@cache.command("clear")
@selectors_argument
@common_options()
def clear_cache(common: Common, selectors: tuple[str, ...]) -> int:
    """Remove the files that each target keeps: the action target.cache.clear.

    A plugin that needs one has it sent again.
    """
    return _everywhere(common, "target.cache.clear", selectors)


def _everywhere(
    common: Common, action: str, selectors: Sequence[str], latencies: bool = False
) -> int:
    """Run an action without parameters on the targets, by default on all of the inventory."""
    from lom import Start

    with common.orchestrator() as orchestrator:
        everything = ["all"] if orchestrator.inventory.targets else None
        plan = orchestrator.plan(action, selectors or everything, options=orchestrator.options())
        text = functools.partial(_latencies, plan) if latencies else None
        return execute(common, orchestrator, plan, Start(), text)


def _connections(count: int) -> str:
    return f"{count} connection" if count == 1 else f"{count} connections"


def _latencies(plan: Plan, document: Mapping[str, Any], view: Screen) -> str:
    from lom.render.errors import one_line
    from lom.render.table import table

    transports = {step.target.name: step.target.transport for step in plan.steps}
    rows = [
        [
            result["target"],
            result["outcome"],
            f"{result['duration_s'] * 1000:.0f} ms",
            transports[result["target"]],
            one_line(result["error"]) if result["error"] else "",
        ]
        for result in document["results"]
    ]
    return table(("target", "outcome", "latency", "transport", "detail"), rows, view, styled=1)


def _outlined(row: Mapping[str, Any]) -> str:
    """Return the target as text, without what is not set."""
    from lom.render.text import outline

    used = "ssm" if row["transport"] == "ssm" else "ssh"
    settings = {key: value for key, value in row[used].items() if value not in (None, [], {})}
    shown = {**row, "ssh": None, "ssm": None, used: settings}
    return "\n".join(outline({k: v for k, v in shown.items() if v not in (None, [], {})}))
