"""``rune plugin lock`` and ``verify``: which bytes of plugins may be sent."""

from __future__ import annotations

import click

from lmm.errors import RequestError
from lom.cli.common import Common, columns, common_options, completing
from lom.exit_codes import ExitCode
from lom.names import did_you_mean

_LOCK_OPTION = click.option(
    "--file",
    "lock_file",
    metavar="PATH",
    shell_complete=completing("file"),
    help="The lock file.  [default: the one in force, else ./plugins.lock.json]",
)


@click.command("lock")
@click.argument("names", nargs=-1, metavar="[NAME]...", shell_complete=completing("plugin"))
@_LOCK_OPTION
@common_options()
def lock(common: Common, names: tuple[str, ...], lock_file: str | None) -> int:
    """Write the SHA-256 of the plugins into the lock file: of all, or only of those named.

    Where a lock file is in force, a run sends no plugin that is not in it or differs from it.
    """
    import os

    from lom.documents.trust import refuse_foreign
    from lom.registry.lockfile import Locked, difference, files_of, locked, read_lock, write_lock
    from lom.render.table import table
    from lom.settings.values import LOCK_FILE

    path = lock_file or next(reversed(_locks(common)), LOCK_FILE)
    if path == LOCK_FILE:
        refuse_foreign(os.getcwd())  # a link that another user made would lead elsewhere
    old = read_lock(path) if os.path.exists(path) else {}
    with common.orchestrator() as orchestrator:
        registry = orchestrator.registry
        known = {one.name: one for one in registry.plugins}
        broken = [one.directory.name for one in registry.broken]
    for name in names:
        if name not in known:
            raise RequestError(
                "invalid_request", f"there is no plugin {name!r}{did_you_mean(name, known)}"
            )
    chosen = names or tuple(known)
    new: dict[str, Locked] = {**old} if names else {}
    new |= {name: locked(known[name], files_of(known[name])) for name in chosen}
    rows = []
    for name in sorted({*old, *new}):
        before, after = old.get(name), new.get(name)
        change = "added" if before is None else "removed" if after is None else None
        details = difference(before, after) if before and after else None
        rows.append(
            {
                "plugin": name,
                "version": (after or before or new[name]).version,
                "change": change or ("changed" if details else "unchanged"),
                "details": details,
            }
        )
    write_lock(path, new)
    columns_shown = ("plugin", "version", "change", "details")
    if not (common.quiet and common.output == "table"):  # to people it is a remark
        common.emit(
            {"lock_file": str(path), "plugins": rows},
            rows,
            lambda view: table(columns_shown, columns(rows, columns_shown), view),
        )
    for name in broken:
        common.tell(f"not locked, because its manifest is wrong: {name}")
    common.tell(f"wrote {path}")
    return ExitCode.OK


@click.command("verify")
@_LOCK_OPTION
@common_options()
def verify(common: Common, lock_file: str | None) -> int:
    """Compare all plugins with the lock files in force.

    Exit code 0 when all are as they were locked, 1 otherwise.
    """
    from lom.registry.lockfile import difference, files_of, locked, read_lock
    from lom.render.table import table

    paths = (lock_file,) if lock_file else _locks(common)
    if not paths:
        raise RequestError(
            "invalid_request", "no lock file is in force; write one with `rune plugin lock`"
        )
    with common.orchestrator() as orchestrator:
        known = {one.name: one for one in orchestrator.registry.plugins}
    found = {name: locked(one, files_of(one)) for name, one in known.items()}
    rows = []
    for path in paths:
        wanted = read_lock(path)
        for name in sorted({*wanted, *found}):
            why = difference(wanted.get(name), found.get(name))
            rows.append(
                {
                    "plugin": name,
                    "version": found[name].version if name in found else wanted[name].version,
                    "status": "failed" if why else "ok",
                    "details": why,
                    "lock_file": str(path),
                }
            )
    failed = sum(row["status"] == "failed" for row in rows)
    names = ("plugin", "version", "status", "details", "lock_file")
    common.emit(
        {"plugins": rows, "summary": {"ok": len(rows) - failed, "failed": failed}},
        rows,
        lambda view: table(names, columns(rows, names), view, styled=2),
    )
    common.tell(f"{len(rows) - failed} ok, {failed} failed")
    return ExitCode.FAILED if failed else ExitCode.OK


def _locks(common: Common) -> tuple[str, ...]:
    return common.settings.safeguards.locks if common.settings.safeguards else ()
