"""A plugin as its folder describes it: ``plugin.json`` checked and turned into values.

Where plugins are looked for, and which one is chosen, is in ``registry``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmm.contract import Violation, check_schema, spec_validator
from lmm.envelope import loads_request
from lmm.errors import RequestError
from lmm.model import OnDisconnect
from lom.documents.document import Document, refuse
from lom.documents.read import parse
from lom.registry import files as bundle
from lom.registry.schemas import lost_marks

MANIFEST = "plugin.json"
DEFAULT_TIMEOUT_S = 60.0
RUNTIMES: Mapping[str, tuple[str, ...]] = {
    "bash": ("bash",),
    "sh": ("sh",),
    "python3": ("python3",),
    "perl": ("perl",),
    "node": ("node",),
    "binary": (),
}


@dataclass(frozen=True, slots=True, eq=False)
class Capability:
    """One action that a plugin offers; ``timeout_s`` in seconds, schemas are JSON Schemas.

    ``requires`` are commands that the host must have and ``key=value`` facts that the target
    must not contradict. ``on_disconnect`` holds where the run's options leave it open;
    ``pairs`` says that it runs on two targets at a time (``lom.planning.pairs``).
    """

    action: str
    description: str
    input_schema: Mapping[str, Any]
    output_schema: Mapping[str, Any]
    timeout_s: float
    risk: str
    requires: tuple[str, ...]
    platforms: tuple[str, ...]
    retry_safe: bool
    on_disconnect: OnDisconnect
    pairs: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Plugin:
    """A plugin that may be run. ``interpreter`` is empty for a program; ``origin`` says which
    search place its folder was found in; ``manifest`` are the bytes all this was read from;
    ``files`` are all that are sent, the entrypoint too, by their path on the host."""

    name: str
    version: str
    description: str
    interpreter: tuple[str, ...]
    entrypoint: Path
    capabilities: tuple[Capability, ...]
    directory: Path
    origin: str
    manifest: bytes
    files: Mapping[str, Path]

    def capability(self, action: str) -> Capability | None:
        return next((one for one in self.capabilities if one.action == action), None)


def load_plugin(directory: Path, origin: str) -> Plugin:
    """Return the plugin in a folder. Raises RequestError (``manifest_invalid``) with all faults."""
    path = directory / MANIFEST
    if not path.is_file():  # a pipe would be waited for
        raise _refused(path, [Violation("$", "it is no file, or leads nowhere")])
    try:
        content = path.read_bytes()
    except OSError as error:
        raise _refused(path, [Violation("$", f"cannot be read: {error.strerror}")]) from None
    document = parse(Document(str(path), directory), content, as_json=True)
    refuse(document, "manifest_invalid")
    manifest = document.data
    faults = spec_validator("mrs_v2").violations(manifest) or _faults(manifest, directory)
    if faults:
        raise _refused(path, faults)
    runtime = manifest["runtime"]
    return Plugin(
        name=manifest["module_name"],
        version=manifest["module_version"],
        description=manifest["description"],
        interpreter=RUNTIMES[runtime] if isinstance(runtime, str) else tuple(runtime),
        entrypoint=directory / manifest["entrypoint"],
        capabilities=tuple(_capability(entry) for entry in manifest["capabilities"]),
        directory=directory,
        origin=origin,
        manifest=content,
        files=bundle.sources(directory, manifest["entrypoint"], manifest.get("lib", ())),
    )


def names_action(directory: Path, action: str) -> bool | None:
    """Whether a manifest that is wrong names an action, None where nobody can tell."""
    file = directory / MANIFEST
    try:
        content = file.read_bytes() if file.is_file() else b""
        if f'"{action}"'.encode() in content:
            return True
        document = loads_request(content, MANIFEST)
    except (OSError, RequestError):
        return None
    whole = isinstance(document, dict) and isinstance(document.get("capabilities"), list)
    return False if whole else None


def _capability(entry: Mapping[str, Any]) -> Capability:
    return Capability(
        action=entry["action"],
        description=entry["description"],
        input_schema=entry["input_schema"],
        output_schema=entry["output_schema"],
        timeout_s=float(entry.get("timeout_s", DEFAULT_TIMEOUT_S)),
        risk=entry["risk"],
        requires=tuple(entry.get("requires", ())),
        platforms=tuple(entry.get("platforms", ())),
        retry_safe=entry.get("retry_safe", False),
        on_disconnect=OnDisconnect(entry.get("on_disconnect", OnDisconnect.KILL)),
        pairs=entry.get("pairs", False),
    )


def _faults(manifest: Mapping[str, Any], directory: Path) -> list[Violation]:
    """Return what the schema of manifests cannot see."""
    faults = []
    seen: set[str] = set()
    for number, entry in enumerate(manifest["capabilities"]):
        at = f"$.capabilities[{number}]"
        if entry["action"] in seen:
            faults.append(Violation(f"{at}.action", f"{entry['action']!r} is offered twice"))
        seen.add(entry["action"])
        for key in ("input_schema", "output_schema"):
            for fault in check_schema(entry[key]):
                faults.append(Violation(f"{at}.{key}{fault.path[1:]}", fault.message))
        if not faults:
            for fault in lost_marks(entry["input_schema"]):
                faults.append(Violation(f"{at}.input_schema{fault.path[1:]}", fault.message))
    faults += _entrypoint_faults(manifest, directory)
    try:
        bundle.sources(directory, manifest["entrypoint"], manifest.get("lib", ()))
    except (ValueError, OSError) as error:
        faults.append(Violation("$", str(error)))
    return faults


def _entrypoint_faults(manifest: Mapping[str, Any], directory: Path) -> list[Violation]:
    name = manifest["entrypoint"]
    path = directory / name
    if not path.is_file():
        built = " (it is built: run `make -C " + str(directory) + "`)"
        hint = built if (directory / "Makefile").exists() else ""
        return [Violation("$.entrypoint", f"there is no file {name}{hint}")]
    if path.is_symlink() and directory.resolve() not in path.resolve().parents:
        return [Violation("$.entrypoint", f"{name} leads out of the plugin's folder")]
    if not os.access(path, os.R_OK):
        return [Violation("$.entrypoint", f"{name} cannot be read")]
    with path.open("rb") as stream:
        start = stream.read(2)
    if manifest["runtime"] == "binary" and start == b"#!":
        return [Violation("$.runtime", f"{name} is a script: name its interpreter, not binary")]
    if not start:
        return [Violation("$.entrypoint", f"{name} is empty")]
    return []


def _refused(path: Path, faults: list[Violation]) -> RequestError:
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    return RequestError(
        "manifest_invalid",
        f"{path}: {faults[0]}{more}",
        file=str(path),
        field=faults[0].path,
        validation_errors=[str(fault) for fault in faults],
    )
