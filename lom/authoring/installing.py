"""Installs plugins from elsewhere: into one folder, each with a record of where it is from.

A plugin is there as a whole or not at all: it is copied beside its place, checked, and renamed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from lmm.envelope import timestamp
from lmm.errors import PolicyDenied, RequestError
from lmm.ownership import make_private
from lom.authoring.findings import Status
from lom.authoring.review import review
from lom.authoring.sources import copy_plugin, fetch, plugin_folder
from lom.documents.trust import refuse_foreign
from lom.names import did_you_mean
from lom.registry.files import tree_sha256
from lom.registry.installed import Installed, read_records, write_records
from lom.registry.manifest import Plugin, load_plugin
from lom.registry.places import installed_plugins


def install_place() -> Path:
    """Return where installed plugins are put. Raises RequestError (``config_invalid``)."""
    place = installed_plugins()
    if place is None:
        raise RequestError(
            "config_invalid", "there is no home to install plugins in: set HOME, or XDG_DATA_HOME"
        )
    return place


def install(
    source: str,
    place: Path,
    *,
    sha256: str | None = None,
    name: str | None = None,
    replace: bool = False,
) -> tuple[Plugin, Installed]:
    """Install the plugin in ``source`` (see ``sources.fetch``) below ``place``.

    ``sha256`` pins it: the tarball's bytes, or the folder as ``tree_sha256`` counts it. ``name``
    chooses among several. Raises RequestError for what cannot be fetched or fails its check,
    PolicyDenied (``plugin_pin_broken``); then nothing has changed.
    """
    with _locked(place), tempfile.TemporaryDirectory(prefix=".new-", dir=place) as temporary:
        fetched = fetch(source, Path(temporary))
        found = plugin_folder(fetched, name)
        copy = Path(temporary) / "copy" / found.name
        copy.parent.mkdir()
        copy_plugin(found, copy)
        tree = tree_sha256(copy)
        if sha256 is not None and sha256.lower() not in (fetched.sha256, tree):
            raise PolicyDenied(
                "plugin_pin_broken",
                f"{fetched.shown} is not what --sha256 pins: it has {fetched.sha256 or tree}",
            )
        plugin = load_plugin(copy, "installed")
        _refuse_faults(plugin, fetched.shown)
        records = read_records(place)
        if plugin.name in records and not replace:
            raise RequestError(
                "invalid_request",
                f"{plugin.name} {records[plugin.name].version} is installed already, from"
                f" {records[plugin.name].source}; --replace puts this one in its place",
            )
        record = Installed(
            version=plugin.version,
            kind=fetched.kind,
            source=fetched.shown,
            tree_sha256=tree,
            installed_at=timestamp(),
            sha256=fetched.sha256,
            commit=fetched.commit,
        )
        goal = place / plugin.name
        _put(copy, goal, Path(temporary) / "old")
        try:
            write_records(place, {**records, plugin.name: record})
        except BaseException:
            _put(Path(temporary) / "old", goal, Path(temporary) / "refused")
            raise
        return load_plugin(goal, "installed"), record


def remove(name: str, place: Path) -> Installed:
    """Remove an installed plugin and return its record. Raises RequestError for another one."""
    with _locked(place), tempfile.TemporaryDirectory(prefix=".old-", dir=place) as temporary:
        records = read_records(place)
        if name not in records:
            raise RequestError(
                "invalid_request", f"{name!r} is not installed{did_you_mean(name, records)}"
            )
        _put(None, place / name, Path(temporary) / "old")
        rest = {key: record for key, record in records.items() if key != name}
        write_records(place, rest)
        return records[name]


def _refuse_faults(plugin: Plugin, source: str) -> None:
    faults = [one for one in review(plugin) if one.status is Status.FAILED]
    if faults:
        first = faults[0]
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        raise RequestError(
            "manifest_invalid",
            f"{plugin.name} from {source} fails its check {first.check}: {first.what}{more}",
            validation_errors=[f"{one.check}: {one.what}" for one in faults],
        )


def _put(new: Path | None, goal: Path, old: Path) -> None:
    """Put a folder in the place of another, which becomes ``old``."""
    try:
        if os.path.lexists(goal):
            os.rename(goal, old)
        if new is not None and new.exists():
            os.rename(new, goal)
    except OSError as error:
        raise RequestError("local_io_error", f"cannot change {goal}: {error.strerror}") from None


@contextlib.contextmanager
def _locked(place: Path) -> Iterator[None]:
    """Let one process at a time change the folder, which must be the user's own."""
    refuse_foreign(place)
    try:
        make_private(place)
        descriptor = os.open(place / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise RequestError("local_io_error", f"cannot write {place}: {error.strerror}") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
