"""``rune plugin``: what implements the actions."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from lmm.errors import Cancelled, RequestError
from lom.cli.common import Common, columns, common_options
from lom.cli.group import Group
from lom.exit_codes import ExitCode
from lom.names import did_you_mean

if TYPE_CHECKING:
    from pathlib import Path

    from lom.authoring.trials import Trials
    from lom.registry.manifest import Plugin
    from lom.registry.registry import Registry


@click.group(
    cls=Group,
    commands_at={
        "new": "lom.cli.commands.plugin_files:new",
        "check": "lom.cli.commands.plugin_checks:check",
        "test": "lom.cli.commands.plugin_checks:test",
        "run-local": "lom.cli.commands.plugin_trial:run_local",
        "install": "lom.cli.commands.plugin_files:install",
        "remove": "lom.cli.commands.plugin_files:remove",
        "lock": "lom.cli.commands.plugin_locks:lock",
        "verify": "lom.cli.commands.plugin_locks:verify",
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
    from lom.render.table import table

    with common.orchestrator() as orchestrator:
        registry = orchestrator.registry
    rows = [*_rows(registry)]
    rows += [_row(one, "shadowed") for one in registry.shadowed]
    rows += [
        {
            "plugin": one.directory.name,
            "version": None,
            "status": "broken",
            "origin": one.origin,
            "actions": [],
            "directory": str(one.directory),
            "reason": one.error.message,
        }
        for one in registry.broken
    ]
    names = ("plugin", "version", "status", "origin", "actions", "reason")
    common.emit(
        {"plugins": rows},
        rows,
        lambda view: table(names, columns(rows, names), view, styled=2),
    )
    return ExitCode.OK


def _rows(registry: Registry) -> Iterator[dict[str, Any]]:
    """Yield the plugins that may be run, the installed ones with where they are from."""
    records = None
    for one in registry.plugins:
        row = _row(one, "ok")
        if one.origin == "installed":
            from dataclasses import asdict

            from lom.authoring.installing import change, read_records

            if records is None:
                records = read_records(one.directory.parent)
            record = records.get(one.name)
            row["reason"] = change(one, records)
            row["status"] = "changed" if row["reason"] else "ok"
            row["installed"] = asdict(record) if record else None
        yield row


def folder_of(common: Common, path: str) -> Path:
    """Return the folder that PATH is, or in which the known plugin of that name is found.

    Raises RequestError (``invalid_request``) for neither.
    """
    from pathlib import Path

    folder = Path(path)
    if folder.name == "plugin.json" and folder.is_file():
        folder = folder.parent
    if folder.is_dir():
        return folder.resolve()
    with common.orchestrator() as orchestrator:
        return _known(path, orchestrator.registry)


@contextlib.contextmanager
def cancelling(common: Common, trials: Trials) -> Iterator[None]:
    """Within, a signal ends what is tried, and with it the command."""
    try:
        with common.interrupts.cancelling(trials.cancel):
            yield
    except Cancelled:
        raise click.Abort from None


def _known(name: str, registry: Registry) -> Path:
    folders = {one.directory.name: one.directory for one in registry.broken}
    folders |= {one.name: one.directory for one in registry.plugins}
    if name not in folders:
        raise RequestError(
            "invalid_request",
            f"{name!r} is neither a folder nor a known plugin{did_you_mean(name, folders)}",
        )
    return folders[name]


def _row(one: Plugin, status: str) -> dict[str, Any]:
    return {
        "plugin": one.name,
        "version": one.version,
        "status": status,
        "origin": one.origin,
        "actions": [capability.action for capability in one.capabilities],
        "directory": str(one.directory),
        "reason": None,
    }
