"""``rune action``: what can be asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click

from lom.cli.common import Common, common_options, completing
from lom.cli.group import Group
from lom.exit_codes import ExitCode

if TYPE_CHECKING:
    from lom.render.table import Screen


@click.group(cls=Group)
def action() -> None:
    """List the actions, and show what one takes and answers."""


@action.command("list")
@common_options()
def list_actions(common: Common) -> int:
    """List all actions that a plugin offers."""
    from lom.service.describe import actions

    with common.orchestrator() as orchestrator:
        rows = list(actions(orchestrator.registry))
    names = ("action", "risk", "plugins", "description")
    common.emit_table({"actions": rows}, rows, names)
    return ExitCode.OK


@action.command("show")
@click.argument("name", metavar="ACTION", shell_complete=completing("action"))
@common_options()
def show_action(common: Common, name: str) -> int:
    """Show the parameters of ACTION and the plugins that offer it."""
    from lom.service.describe import action

    with common.orchestrator() as orchestrator:
        document = action(orchestrator.registry, name)
    offers = document["offers"]
    common.emit(document, offers, lambda view: "\n".join(_text(name, offers, view)) + "\n")
    return ExitCode.OK


def _text(name: str, offers: list[dict[str, Any]], view: Screen) -> Iterator[str]:
    from lom.render.table import table
    from lom.render.text import clean, paint

    yield paint(name, "bold", view.color)
    for offer in offers:
        yield clean(offer["description"])
        yield clean(
            f"plugin {offer['plugin']} {offer['version']}, risk {offer['risk']},"
            f" timeout {offer['timeout_s']:g} s"
        )
        for key in ("requires", "platforms"):
            if offer[key]:
                yield clean(f"{key} {', '.join(map(str, offer[key]))}")
        for key, title in (("input_schema", "parameter"), ("output_schema", "answer")):
            rows = list(_fields(offer[key]))
            if rows:
                headers = (title, "type", "needed", "meaning")
                yield ""
                yield table(headers, rows, view).rstrip("\n")
        yield ""
    yield f"rune run {name} -p KEY=VALUE …"


def _fields(schema: Mapping[str, Any]) -> Iterator[list[str]]:
    """Yield name, type, whether it is needed, and meaning of each property."""
    import json

    needed = schema.get("required", ())
    for name, field in schema.get("properties", {}).items():
        field = field if isinstance(field, Mapping) else {}
        kind = field.get("type", "any")
        kind = "|".join(kind) if isinstance(kind, list) else str(kind)
        if "enum" in field:
            kind = "|".join(json.dumps(one) for one in field["enum"])
        if name in needed:
            given = "yes"
        elif "default" in field:
            given = f"default {json.dumps(field['default'], ensure_ascii=False)}"
        else:
            given = "no"
        secret = " (secret)" if field.get("writeOnly") else ""
        yield [name, kind, given, str(field.get("description", "")) + secret]
