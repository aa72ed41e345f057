"""``rune audit``: what was asked for, by whom, and how it ended; and that nobody changed it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from lom.cli.common import Common, common_options, completing
from lom.cli.group import Group
from lom.exit_codes import ExitCode


@click.group(cls=Group)
def audit() -> None:
    """Show the audit log, and verify that it is as it was written."""


@audit.command("show")
@click.argument("file", required=False, shell_complete=completing("file"))
@click.option("--last", type=click.IntRange(min=1), metavar="N", help="Only the last N lines.")
@common_options()
def show(common: Common, file: str | None, last: int | None) -> int:
    """Show the lines of the audit log FILE, or of the one that runs are recorded in."""
    from lom.service.audit import lines, log_file, row

    path = file or log_file(common.settings)
    records = lines(path, last)
    rows = [row(record) for record in records]
    names = ("seq", "time", "event", "user", "action", "targets", "decided by", "run_id")
    shown = rows if common.output in ("table", "csv") else records
    common.emit_table({"file": path, "lines": records}, shown, names)
    return ExitCode.OK


@audit.command("verify")
@click.argument("files", nargs=-1, metavar="[FILE]...", shell_complete=completing("file"))
@click.option(
    "--expect", metavar="HASH", help="A line with this hash, noted earlier, must be there."
)
@common_options()
def verify(common: Common, files: tuple[str, ...], expect: str | None) -> int:
    """Find every line of the audit log that was changed, removed, inserted or moved.

    Several FILEs are one log that was moved away from time to time, the oldest first. Exit code 0
    when it is as it was written, 1 otherwise.
    """
    from lom.service.audit import head_file, log_file, verification

    paths = files or (log_file(common.settings),)
    document = verification(paths, expect)
    faults = document["faults"]
    common.emit(document, faults or [document], lambda view: _told(document))
    if not document["anchored"]:
        missing = head_file(paths[-1])
        why = f"there is no {missing} of the log's owner"
        common.tell(f"{why}: lines cut from the end would not be missed")
    return ExitCode.FAILED if faults else ExitCode.OK


def _told(document: Mapping[str, Any]) -> str:
    from lom.render.text import clean

    lines = [
        f"{one['file']}, {'at the end' if one['line'] is None else 'line ' + str(one['line'])}:"
        f" {one['fault']}"
        for one in document["faults"]
    ]
    if not lines:
        lines = [f"ok: {document['lines']} line(s), the last hash is {document['last_hash']}"]
    return "".join(f"{clean(line)}\n" for line in lines)
