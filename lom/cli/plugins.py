"""``rune plugin``: what implements the actions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from lmm.errors import RequestError
from lom.cli.common import Common, columns, common_options, completing
from lom.cli.group import Group
from lom.exit_codes import ExitCode
from lom.names import did_you_mean

if TYPE_CHECKING:
    from pathlib import Path

    from lom.manifest import Plugin
    from lom.registry import Registry


@click.group(cls=Group)
def plugin() -> None:
    """List the plugins, and check a manifest."""


@plugin.command("list")
@common_options()
def list_plugins(common: Common) -> int:
    """List all plugins: those that work, shadowed ones, and broken ones with the reason."""
    from lom.render.table import table

    with common.orchestrator() as orchestrator:
        registry = orchestrator.registry
    rows = [_row(one, "ok") for one in registry.plugins]
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


@plugin.command("check")
@click.argument("path", metavar="PATH|NAME", shell_complete=completing("plugin"))
@common_options()
def check(common: Common, path: str) -> int:
    """Check the manifest of the plugin in folder PATH, or of the known plugin NAME."""
    from pathlib import Path

    from lom.manifest import load_plugin

    folder = Path(path)
    if folder.name == "plugin.json" and folder.is_file():
        folder = folder.parent
    if not folder.is_dir():
        with common.orchestrator() as orchestrator:
            folder = _folder_of(path, orchestrator.registry)
    row = _row(load_plugin(folder.resolve(), "checked"), "ok")
    common.emit(
        row,
        [row],
        lambda view: f"ok: {row['plugin']} {row['version']} offers {', '.join(row['actions'])}\n",
    )
    return ExitCode.OK


def _folder_of(name: str, registry: Registry) -> Path:
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
