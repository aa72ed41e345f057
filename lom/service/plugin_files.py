"""Plugins as folders and bytes: found by name, and locked, so that no other bytes are sent."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmm.errors import RequestError
from lom.documents.trust import refuse_foreign
from lom.names import did_you_mean
from lom.registry.lockfile import changes, files_of, locked, read_lock, verdicts, write_lock
from lom.registry.manifest import Plugin, load_plugin
from lom.settings.values import LOCK_FILE, Settings

if TYPE_CHECKING:
    from lom.service.orchestrator import Orchestrator


def plugin_at(path: str, origin: str, known: Callable[[], Orchestrator]) -> Plugin:
    """Return the plugin in a folder, or the known one of that name, with its ``origin``.

    Raises RequestError (``invalid_request`` for neither, ``manifest_invalid``).
    """
    folder = Path(path)
    if folder.name == "plugin.json" and folder.is_file():
        folder = folder.parent
    if folder.is_dir():
        return load_plugin(folder.resolve(), origin)
    with known() as orchestrator:
        registry = orchestrator.registry
    folders = {one.directory.name: one.directory for one in registry.broken}
    folders |= {one.name: one.directory for one in registry.plugins}
    if path not in folders:
        raise RequestError(
            "invalid_request",
            f"{path!r} is neither a folder nor a known plugin{did_you_mean(path, folders)}",
        )
    return load_plugin(folders[path], origin)


def lock(
    orchestrator: Orchestrator, names: Sequence[str], file: str | None
) -> tuple[dict[str, Any], list[str]]:
    """Write the hashes of the named plugins, else of all, into a lock file: by default the one in
    force. Return what has changed in it, and the folders of broken plugins, which are left out.

    Raises RequestError (``invalid_request``, ``config_invalid``, ``untrusted_path``,
    ``local_io_error``).
    """
    path = file or next(reversed(_locks(orchestrator.settings)), LOCK_FILE)
    if path == LOCK_FILE:
        refuse_foreign(os.getcwd())
    if os.path.lexists(path):
        refuse_foreign(path)  # a link that another user made would lead elsewhere
    old = read_lock(path) if os.path.exists(path) else {}
    registry = orchestrator.registry
    known = {one.name: one for one in registry.plugins}
    for name in names:
        if name not in known:
            raise RequestError(
                "invalid_request", f"there is no plugin {name!r}{did_you_mean(name, known)}"
            )
    new = {**old} if names else {}
    new |= {name: locked(known[name], files_of(known[name])) for name in names or known}
    rows = changes(old, new)
    write_lock(path, new)
    broken = [one.directory.name for one in registry.broken]
    return {"lock_file": str(path), "plugins": rows}, broken


def verify(orchestrator: Orchestrator, file: str | None) -> dict[str, Any]:
    """Return how all plugins compare with a lock file, by default with all that are in force.

    Raises as ``lock``.
    """
    paths = (file,) if file else _locks(orchestrator.settings)
    if not paths:
        raise RequestError(
            "invalid_request", "no lock file is in force; write one with `rune plugin lock`"
        )
    found = {one.name: locked(one, files_of(one)) for one in orchestrator.registry.plugins}
    rows = [row for path in paths for row in verdicts(path, read_lock(path), found)]
    failed = sum(row["status"] == "failed" for row in rows)
    return {"plugins": rows, "summary": {"ok": len(rows) - failed, "failed": failed}}


def _locks(settings: Settings) -> tuple[str, ...]:
    return settings.safeguards().locks if settings.safeguards else ()
