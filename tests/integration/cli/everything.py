"""All that the command line has, and what of it an account that runs RUNE for others lacks."""

from __future__ import annotations

from collections.abc import Iterator

import click

from lom.cli.bound import name_of

REFUSED_OPTIONS = {"--inventory", "--plugin-path", "--state-dir", "--no-ledger", "--debug"}
REFUSED_COMMANDS = (
    *("plugin list", "plugin new", "plugin check", "plugin test", "plugin run-local"),
    *("plugin install", "plugin remove", "plugin lock", "plugin verify"),
    *("target disconnect", "target cache show", "target cache clear"),
    *("runs compare", "runs prune", "fleet report"),
    *("baseline save", "baseline list", "baseline show", "baseline remove"),
    *("audit show", "audit verify", "config show", "config trust", "doctor", "completion"),
)


def leaves(group: click.Group, before: str = "") -> dict[str, click.Command]:
    """Return every command by the words that call it."""
    found: dict[str, click.Command] = {}
    with click.Context(group) as context:
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            path = f"{before} {name}".strip()
            if isinstance(command, click.Group):
                found |= leaves(command, path)
            elif command is not None:
                found[path] = command
    return found


def attempts(root: click.Group) -> Iterator[tuple[str, list[str]]]:
    """Yield every refused attempt, as the audit log calls it and as a command line.

    What is executed or written would be ``PLACE``.
    """
    for path, command in leaves(root).items():
        needed = ["PLACE" for one in command.params if isinstance(one, click.Argument)]
        line = [*path.split(), *needed[:1]]
        if path in REFUSED_COMMANDS:
            yield path, line
            continue
        for param in command.params:
            name = name_of(param)
            if name in REFUSED_OPTIONS:
                flag = isinstance(param, click.Option) and not takes_value(param)
                yield f"{path} {name}", [*line, name, *([] if flag else ["PLACE"])]
            if name == "--params":
                yield f"{path} {name}", [*line, name, "PLACE"]
            if name == "--secret":
                for reference in ("file:PLACE", "env:HOME", "env:RUNE_SECRET_X/../PLACE"):
                    yield f"{path} {name}", [*line, name, f"token={reference}"]


def takes_value(param: click.Option) -> bool:
    return not (param.is_flag or param.count)
