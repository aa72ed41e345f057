"""The record of installed plugins: where each is from, and whether it is still the same."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from lmm.contract import validator_for
from lmm.envelope import loads_request
from lmm.errors import RequestError
from lom.registry.files import tree_sha256
from lom.registry.manifest import Plugin

RECORDS = "installed.json"
VERSION = 1

_TEXT: Mapping[str, object] = {"type": "string"}
_MAYBE: Mapping[str, object] = {"type": ["string", "null"]}
_SCHEMA: Mapping[str, object] = {
    "type": "object",
    "required": ["version", "plugins"],
    "properties": {
        "version": {"const": VERSION},
        "plugins": {
            "type": "object",
            "additionalProperties": {
                "type": "object",
                "required": ["version", "kind", "source", "tree_sha256", "installed_at"],
                "additionalProperties": False,
                "properties": {
                    **dict.fromkeys(
                        ("version", "kind", "source", "tree_sha256", "installed_at"), _TEXT
                    ),
                    **dict.fromkeys(("sha256", "commit"), _MAYBE),
                },
            },
        },
    },
}


@dataclass(frozen=True, slots=True)
class Installed:
    """Where an installed plugin is from: ``kind`` is folder, tarball or git.

    ``tree_sha256`` is that of its folder as it was installed, ``sha256`` that of the tarball.
    """

    version: str
    kind: str
    source: str
    tree_sha256: str
    installed_at: str
    sha256: str | None = None
    commit: str | None = None


def read_records(place: Path) -> dict[str, Installed]:
    """Return where the installed plugins are from. Raises RequestError (``config_invalid``)."""
    file = place / RECORDS
    try:
        document = loads_request(file.read_bytes(), str(file))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise _unreadable(file, error.strerror or str(error)) from None
    except RequestError as error:
        raise _unreadable(file, error.message) from None
    violations = validator_for(_SCHEMA).violations(document)
    if violations:
        raise _unreadable(file, str(violations[0]))
    return {name: Installed(**entry) for name, entry in document["plugins"].items()}


def change(plugin: Plugin, records: Mapping[str, Installed]) -> str | None:
    """Return how an installed plugin differs from what was installed, None if it does not."""
    record = records.get(plugin.name)
    if record is None:
        return "it was put there by hand"
    same = tree_sha256(plugin.directory) == record.tree_sha256
    return None if same else "its files have changed since it was installed"


def write_records(place: Path, records: Mapping[str, Installed]) -> None:
    """Write the records, all of them or nothing. Raises RequestError (``local_io_error``)."""
    plugins = {name: asdict(record) for name, record in sorted(records.items())}
    text = json.dumps({"version": VERSION, "plugins": plugins}, indent=2) + "\n"
    new = place / f".{RECORDS}"
    try:
        new.write_text(text, encoding="utf-8")
        os.replace(new, place / RECORDS)
    except OSError as error:
        why = f"cannot write {place / RECORDS}: {error.strerror}"
        raise RequestError("local_io_error", why) from None


def _unreadable(file: Path, why: str) -> RequestError:
    return RequestError(
        "config_invalid",
        f"{file} cannot be used: {why}; install the plugins beside it again",
        file=str(file),
    )
