"""``rune target cache``: the large files of plugins that hosts keep."""

from __future__ import annotations

import click

from lom.cli.common import Common, common_options
from lom.cli.execute import execute
from lom.cli.group import Group
from lom.cli.options import selectors_argument


@click.group(cls=Group)
def cache() -> None:
    """Show or remove the large files of plugins that hosts keep, to be sent them only once."""


@cache.command("show")
@selectors_argument
@common_options()
def show(common: Common, selectors: tuple[str, ...]) -> int:
    """Tell how many files each target keeps, and their size: the action target.cache.show."""
    return _run(common, "target.cache.show", selectors)


@cache.command("clear")
@selectors_argument
@common_options()
def clear(common: Common, selectors: tuple[str, ...]) -> int:
    """Remove the files that each target keeps: the action target.cache.clear.

    A plugin that needs one has it sent again.
    """
    return _run(common, "target.cache.clear", selectors)


def _run(common: Common, action: str, selectors: tuple[str, ...]) -> int:
    from lom import Start

    with common.orchestrator() as orchestrator:
        everything = ["all"] if orchestrator.inventory.targets else None
        plan = orchestrator.plan(action, selectors or everything, options=orchestrator.options())
        return execute(common, orchestrator, plan, Start())
