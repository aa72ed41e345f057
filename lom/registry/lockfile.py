"""The lock file of plugins: which bytes may be sent, by SHA-256.

It names for each plugin every file that decides what runs on a host: the manifest (interpreter,
risk, schemas), the entrypoint and all files that are sent beside it. What is compared in a run are
the bytes that were read for it and will be sent; nothing is read a second time.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmm.errors import PolicyDenied, RequestError
from lmm.regular import read_all
from lom.documents.document import Document, refuse
from lom.documents.read import parse
from lom.registry import files as bundle
from lom.registry.manifest import MANIFEST, Plugin

VERSION = 1
_HASH = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Locked:
    """A plugin as it is locked: ``files`` are SHA-256 in hex by file name."""

    version: str
    files: Mapping[str, str]


def locked(plugin: Plugin, files: Mapping[str, bytes]) -> Locked:
    """Return what a lock says of a plugin with these bytes."""
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    return Locked(plugin.version, dict(sorted(hashes.items())))


def files_of(plugin: Plugin, sent: Mapping[str, bytes] | None = None) -> dict[str, bytes]:
    """Return the bytes that decide what runs; the manifest's are those it was loaded from.

    ``sent`` are the bytes that will be sent, by path; None reads them. Raises RequestError
    (``local_io_error``).
    """
    return {MANIFEST: plugin.manifest, **(bundle.read(plugin.files) if sent is None else sent)}


def read_lock(path: str | Path) -> dict[str, Locked]:
    """Return the plugins of a lock file. Raises RequestError (``config_invalid``)."""
    try:
        with open(path, "rb") as stream:
            content = read_all(stream)
    except OSError as error:
        raise RequestError(
            "config_invalid",
            f"cannot read the lock file {path}: {error.strerror}; `rune plugin lock` writes one",
            file=str(path),
        ) from None
    document = parse(Document(str(path), Path(path).parent), content, as_json=True)
    refuse(document, "config_invalid")
    if document.data.get("version") != VERSION:
        raise _wrong(path, "$.version", f"it must be {VERSION}")
    entries = document.data.get("plugins")
    if not isinstance(entries, dict):
        raise _wrong(path, "$.plugins", "it must be an object")
    return {name: _entry(path, name, entry) for name, entry in entries.items()}


def write_lock(path: str | Path, plugins: Mapping[str, Locked]) -> None:
    """Write a lock file, all of it or nothing. Raises RequestError (``local_io_error``)."""
    entries = {
        name: {"version": one.version, "files": dict(one.files)}
        for name, one in sorted(plugins.items())
    }
    text = json.dumps({"version": VERSION, "plugins": entries}, indent=2) + "\n"
    path = Path(os.path.realpath(path))
    new = None
    try:
        mode = path.stat().st_mode & 0o777 if path.exists() else 0o644
        descriptor, new = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with open(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fchmod(descriptor, mode)
            os.fsync(descriptor)
        os.replace(new, path)
    except OSError as error:
        if new is not None and os.path.exists(new):
            os.unlink(new)
        raise RequestError(
            "local_io_error", f"cannot write the lock file {path}: {error.strerror}"
        ) from None


def difference(wanted: Locked | None, found: Locked | None) -> str | None:
    """Return how a plugin differs from what is locked, in words, None if it does not."""
    if wanted is None:
        return "it is not in the lock file"
    if found is None:
        return "there is no such plugin"
    changes = [
        f"{name} {_change(wanted.files.get(name), found.files.get(name))}"
        for name in sorted({*wanted.files, *found.files})
        if wanted.files.get(name) != found.files.get(name)
    ]
    return ", ".join(changes) or None


def changes(old: Mapping[str, Locked], new: Mapping[str, Locked]) -> list[dict[str, Any]]:
    """Return for each plugin of two locks what has become of it, as JSON values."""
    rows = []
    for name in sorted({*old, *new}):
        before, after = old.get(name), new.get(name)
        change = "added" if before is None else "removed" if after is None else None
        details = difference(before, after) if before and after else None
        rows.append(
            {
                "plugin": name,
                "version": (after or old[name]).version,
                "change": change or ("changed" if details else "unchanged"),
                "details": details,
            }
        )
    return rows


def verdicts(
    path: str, wanted: Mapping[str, Locked], found: Mapping[str, Locked]
) -> list[dict[str, Any]]:
    """Return for each plugin whether it is as the lock file at ``path`` wants it."""
    rows = []
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
    return rows


def check_locked(
    locks: Iterable[str], plugins: Iterable[tuple[Plugin, Mapping[str, bytes]]]
) -> PolicyDenied | None:
    """Return why plugins with these files may not be sent, None if every lock has them.

    Raises RequestError (``config_invalid``) for a lock file that cannot be read.
    """
    found = [(plugin, locked(plugin, files_of(plugin, sent))) for plugin, sent in plugins]
    for path in locks:
        known = read_lock(path)
        for plugin, one in found:
            why = difference(known.get(plugin.name), one)
            if why:
                return PolicyDenied(
                    "plugin_not_locked",
                    f"plugin {plugin.name} {plugin.version} in {plugin.directory} is not what"
                    f" {path} locks: {why}",
                    plugin=plugin.name,
                    file=path,
                )
    return None


def _change(wanted: str | None, found: str | None) -> str:
    if wanted is None:
        return "is new"
    return "is gone" if found is None else "has changed"


def _entry(path: str | Path, name: str, entry: Any) -> Locked:
    at = f"$.plugins.{name}"
    if not isinstance(entry, dict) or entry.keys() != {"version", "files"}:
        raise _wrong(path, at, "it must have version and files, and nothing else")
    version, files = entry["version"], entry["files"]
    if not isinstance(version, str) or not isinstance(files, dict) or not files:
        raise _wrong(path, at, "version must be a text and files an object that is not empty")
    for file, digest in files.items():
        if not isinstance(digest, str) or not _HASH.fullmatch(digest):
            raise _wrong(path, f"{at}.files.{file}", "it must be a SHA-256 in lower-case hex")
    return Locked(version, files)


def _wrong(path: str | Path, at: str, why: str) -> RequestError:
    return RequestError(
        "config_invalid", f"{why} @ {at} of the lock file {path}", field=at, file=str(path)
    )
