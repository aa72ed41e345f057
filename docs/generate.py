"""Writes the pages of docs/ that are made from data: ``make docs``.

Each page is a function that returns its text; the tests compare it with the file.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click

DOCS = Path(__file__).resolve().parent
SPECS = DOCS.parent / "specs"


def errors_md() -> str:
    """Return the page of all EPS codes, made from specs/eps_codes.json."""
    rows = json.loads((SPECS / "eps_codes.json").read_text(encoding="utf-8"))["codes"]
    classifications = {
        "protocol": "-32700 to -32600: the JSON-RPC codes",
        "communication": "-321xx: on the way to the host",
        "validation": "-322xx: something breaks its schema or its form",
        "security": "-323xx: trust, credentials, policies",
        "system": "-324xx: the host or this machine",
        "business": "-325xx: the action itself",
    }
    lines = [
        "# Errors",
        "",
        "<!-- Made by docs/generate.py from specs/eps_codes.json; edit that. -->",
        "",
        "Every error that leaves RUNE is an EPS document ([specs/README.md](../specs/README.md)).",
        "`error_data.error.data.reason` is the stable name of the fault; programs go by it, or by",
        "`code`. *Retry* says that trying again soon, unchanged, is safe and may help;",
        "*recoverable*, that something can be done about it at all.",
    ]
    for classification, heading in classifications.items():
        members = {k: row for k, row in rows.items() if row["classification"] == classification}
        lines += ["", f"## {classification.capitalize()}", "", f"{heading}.", ""]
        lines += [
            "| reason | code | what happened | severity | recoverable | retry | what to do |",
            "|---|---|---|---|---|---|---|",
        ]
        for reason, row in sorted(members.items(), key=lambda item: -item[1]["code"]):
            cells = [
                f"`{reason}`",
                str(row["code"]),
                row["title"],
                row["severity"],
                "yes" if row["recoverable"] else "no",
                "yes" if row["retry_recommended"] else "no",
                "<br>".join(row["recovery_actions"]),
            ]
            lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(lines) + "\n"


CLI_MARK = "<!-- From here on made by docs/generate.py from the commands; edit lom/cli. -->\n"


def cli_md() -> str:
    """Return the reference of the command line: its own first part, the rest from the commands."""
    from lom.cli.app import rune
    from lom.exit_codes import ExitCode

    commands = list(_commands(rune, "rune"))
    shared = set.intersection(*({one.name for one in _options(c)} for _, c in commands[:-1]))
    common = [one for one in _options(commands[0][1]) if one.name in shared]
    lines = ["", "## Exit codes", "", "| code | when |", "|---|---|"]
    lines += [f"| {int(code)} | {code.meaning} |" for code in ExitCode]
    lines += ["", "## Options of every command", "", *_option_table(common)]
    for path, command in commands:
        arguments = [
            one.make_metavar(click.Context(command))
            for one in command.params
            if isinstance(one, click.Argument)
        ]
        lines += ["", f"## `{' '.join([path, *arguments])}`", ""]
        for paragraph in inspect.cleandoc(command.help or "").split("\n\n"):
            code = paragraph.startswith("\b\n")
            lines += ["```", paragraph[2:], "```", ""] if code else [paragraph, ""]
        own = [one for one in _options(command) if one.name not in shared]
        lines += _option_table(own) if own else []
        lines = lines[:-1] if lines[-1] == "" else lines
    written = (DOCS / "cli.md").read_text(encoding="utf-8").partition(CLI_MARK)[0]
    return written + CLI_MARK + "\n".join(lines) + "\n"


def _commands(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    if not isinstance(command, click.Group):
        yield path, command
        return
    context = click.Context(command)
    for name in command.list_commands(context):
        member = command.get_command(context, name)
        assert member
        yield from _commands(member, f"{path} {name}")


def _options(command: click.Command) -> list[click.Option]:
    return [one for one in command.params if isinstance(one, click.Option)]


def _option_table(options: list[click.Option]) -> list[str]:
    lines = ["| option | |", "|---|---|"]
    for one in options:
        names = ", ".join(f"`{name}`" for name in one.opts)
        value = "" if one.is_flag else one.metavar
        if isinstance(one.type, click.Choice):
            value = "|".join(one.type.choices)
        shown = f"{names} `{value}`" if value else names
        cells = (shown, (one.help or "").replace("  ", " "))
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return lines


def decisions_md() -> str:
    """Return the list of decisions, made from the first lines of their pages."""
    lines = [
        "# Decisions",
        "",
        "<!-- Made by docs/generate.py from the pages beside it; edit those. -->",
        "",
        "One short page each: what, why, what else was tried, how it was measured. Below the title",
        "stand the date of the decision and its status: `in force`, or `replaced by` another one.",
        "",
        "| decision | date | status |",
        "|---|---|---|",
    ]
    rows = []
    for page in sorted((DOCS / "decisions").glob("*.md")):
        if page.name != "README.md":
            title, _, status, *_ = page.read_text(encoding="utf-8").splitlines()
            found = re.fullmatch(r"Date: ([\d-]{10})\. Status: (in force|replaced by .+)\.", status)
            if not found:
                raise ValueError(f"{page.name} has no date and status below its title")
            rows.append((found[1], f"| [{title[2:]}]({page.name}) | {found[1]} | {found[2]} |"))
    return "\n".join([*lines, *(row for _, row in sorted(rows))]) + "\n"


GENERATED: dict[str, Callable[[], str]] = {
    "cli.md": cli_md,
    "errors.md": errors_md,
    "decisions/README.md": decisions_md,
}


def main() -> None:
    sys.path.insert(0, str(DOCS.parent))
    for name, page in GENERATED.items():
        (DOCS / name).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
