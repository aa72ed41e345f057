"""``rune audit``: what was asked for, by whom, and how it ended; and that nobody changed it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from lmm.errors import RequestError
from lom.cli.common import Common, columns, common_options, completing
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
    from collections import deque

    from lom.admission.audit.verify import read
    from lom.render.table import table

    path = file or _log(common)
    try:
        records = list(deque(read(path), maxlen=last))
    except OSError as error:
        raise _unreadable(path, error) from None
    rows = [_row(record) for record in records]
    names = ("seq", "time", "event", "user", "action", "targets", "decided by", "run_id")
    common.emit(
        {"file": path, "lines": records},
        rows if common.output == "csv" else records,
        lambda view: table(names, columns(rows, names), view),
    )
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
    from lom.admission.audit.chain import HEAD_SUFFIX
    from lom.admission.audit.verify import verify

    paths = files or (_log(common),)
    try:
        report = verify(paths, expect)
    except OSError as error:
        raise _unreadable(error.filename or paths[-1], error) from None
    faults = [{"file": one.file, "line": one.line, "fault": one.why} for one in report.faults]
    document = {
        "ok": not faults,
        "files": list(paths),
        "lines": report.lines,
        "last_hash": report.last_hash,
        "anchored": report.anchored,
        "faults": faults,
    }
    common.emit(document, faults or [document], lambda view: _told(document))
    if not report.anchored:
        common.tell(
            f"there is no {paths[-1]}{HEAD_SUFFIX}: lines cut from the end would not be missed"
        )
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


def _row(record: Mapping[str, Any]) -> dict[str, Any]:
    deciders = [one["rule"] or "default" for one in record.get("rules", ())]
    return {
        "seq": record["seq"],
        "time": record.get("time"),
        "event": record.get("event"),
        "user": record.get("who", {}).get("user"),
        "action": record.get("action") or record.get("command"),
        "targets": record.get("targets", {}).get("count"),
        "decided by": record.get("status") or record.get("reason") or ", ".join(deciders),
        "run_id": record.get("run_id"),
    }


def _log(common: Common) -> str:
    from lom.admission.admit import audit_logs

    logs = audit_logs(common.settings)
    if not logs:
        raise RequestError("invalid_request", "runs are not recorded here; name a FILE")
    return logs[0].path


def _unreadable(path: str, error: OSError) -> RequestError:
    return RequestError("local_io_error", f"cannot read the audit log {path}: {error.strerror}")
