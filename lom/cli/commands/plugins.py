"""``rune plugin``: what implements the actions."""

from __future__ import annotations

import click

from lom.cli.common import Common, common_options
from lom.cli.group import Group
from lom.exit_codes import ExitCode


@click.group(
    cls=Group,
    commands_at={
        "new": "lom.cli.commands.plugin_files:new",
        "check": "lom.cli.commands.plugin_checks:check",
        "test": "lom.cli.commands.plugin_checks:test",
        "run-local": "lom.cli.commands.plugin_checks:run_local",
        "install": "lom.cli.commands.plugin_files:install",
        "remove": "lom.cli.commands.plugin_files:remove",
        "lock": "lom.cli.commands.plugin_files:lock",
        "verify": "lom.cli.commands.plugin_files:verify",
    },
)
def plugin() -> None:
    """Write, check, test and install plugins; lock and verify their bytes."""


@plugin.command("list")
@common_options()
def list_plugins(common: Common) -> int:
    """List all plugins: those that work, shadowed ones, and broken ones with the reason.

    One that was installed and has been changed since is told of as changed.
    """
    from lom.service.describe import plugins

    with common.orchestrator() as orchestrator:
        rows = list(plugins(orchestrator.registry))
    names = ("plugin", "version", "status", "origin", "actions", "reason")
    common.emit_table({"plugins": rows}, rows, names, styled=2)
    return ExitCode.OK
