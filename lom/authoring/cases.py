"""A plugin's own tests, the files ``cases/*.json``: what goes in and what must come out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lmm.contract import validator_for
from lmm.errors import RequestError
from lom.documents.document import refuse
from lom.documents.leftovers import is_leftover
from lom.documents.read import read_document
from lom.registry.manifest import Capability, Plugin

CASES = "cases"

_TEXTS: Mapping[str, Any] = {"type": "object", "additionalProperties": {"type": "string"}}
_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "required": ["description", "input_parameters", "expect"],
    "additionalProperties": False,
    "properties": {
        "description": {"type": "string", "minLength": 1},
        "action": {"type": "string"},
        "input_parameters": {"type": "object"},
        "expect": {
            "type": "object",
            "required": ["exit_code"],
            "additionalProperties": False,
            "properties": {
                "exit_code": {"type": "integer", "minimum": 0, "maximum": 255},
                "output_data": {"type": "object"},
                "error": {"type": "object"},
            },
            "not": {"required": ["output_data", "error"]},
        },
        "env": _TEXTS,
        "files": _TEXTS,
        "commands": _TEXTS,
        "without": {"type": "array", "items": {"type": "string"}},
    },
}


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """What goes into a plugin, what must come out, and what its host is like.

    ``output_data`` and ``error`` are parts of what must be there, None where any will do.
    ``files`` are texts by path in the working directory, ``commands`` stand-ins by name: paths
    beside the case; the host lacks those in ``without``. ``{cwd}`` and ``{cases}`` in texts stand
    for the working directory and the folder of the cases.
    """

    name: str
    folder: Path
    description: str
    action: str
    input_parameters: Mapping[str, Any]
    exit_code: int
    output_data: Mapping[str, Any] | None = None
    error: Mapping[str, Any] | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    commands: Mapping[str, str] = field(default_factory=dict)
    without: tuple[str, ...] = ()

    @property
    def needs_stage(self) -> bool:
        """Whether it takes a host made for it, which only this machine can be."""
        texts = str((self.input_parameters, self.output_data, self.error))
        arranged = self.env or self.files or self.commands or self.without
        return bool(arranged) or "{cwd}" in texts or "{cases}" in texts


def case_files(plugin: Plugin) -> list[Path]:
    """Return the files of a plugin's cases, by name."""
    found = sorted((plugin.directory / CASES).glob("*.json"))
    return [file for file in found if not is_leftover(file.name)]


def load_case(plugin: Plugin, file: Path) -> Case:
    """Return the case in a file. Raises RequestError (``invalid_request``)."""
    read = read_document(file, as_json=True)
    refuse(read, "invalid_request")
    document = read.data
    violations = validator_for(_SCHEMA).violations(document)
    if violations:
        raise RequestError("invalid_request", f"{file}: {violations[0]}", file=str(file))
    action = document.get("action", plugin.capabilities[0].action)
    if plugin.capability(action) is None:
        raise RequestError(
            "invalid_request",
            f"{file}: {plugin.name} does not offer the action {action!r} @ $.action",
            file=str(file),
        )
    expect = document["expect"]
    return Case(
        name=file.stem,
        folder=file.parent.resolve(),
        description=document["description"],
        action=action,
        input_parameters=document["input_parameters"],
        exit_code=expect["exit_code"],
        output_data=expect.get("output_data"),
        error=expect.get("error"),
        env=document.get("env", {}),
        files=document.get("files", {}),
        commands=document.get("commands", {}),
        without=tuple(document.get("without", ())),
    )


def load_cases(plugin: Plugin) -> list[Case]:
    """Return all cases of a plugin. Raises RequestError for the first that is wrong."""
    return [load_case(plugin, file) for file in case_files(plugin)]


def base_case(capability: Capability, cases: list[Case]) -> Case | None:
    """Return the case that shows an action at work: the first that succeeds, else the first."""
    own = [case for case in cases if case.action == capability.action]
    return next((case for case in own if case.exit_code == 0), own[0] if own else None)


def filled(value: Any, places: Mapping[str, str]) -> Any:
    """Return a JSON value with ``{cwd}`` and ``{cases}`` in its texts replaced by paths."""
    if isinstance(value, str):
        for name, path in places.items():
            value = value.replace(name, path)
        return value
    if isinstance(value, Mapping):
        return {name: filled(one, places) for name, one in value.items()}
    return [filled(one, places) for one in value] if isinstance(value, list) else value


def difference(value: Any, wanted: Any, path: str) -> str | None:
    """Return what ``value`` lacks of ``wanted``, None if it has it all; objects may have more."""
    if isinstance(wanted, Mapping):
        if not isinstance(value, Mapping):
            return f"{path} is {value!r}, not an object"
        missing = [name for name in wanted if name not in value]
        if missing:
            return f"{path} has no {missing[0]!r}: {dict(value)!r}"
        inner = (difference(value[name], one, f"{path}.{name}") for name, one in wanted.items())
        return next(filter(None, inner), None)
    if isinstance(wanted, list) and isinstance(value, list):
        if len(value) != len(wanted):
            return f"{path} has {len(value)} items, not {len(wanted)}: {value!r}"
        inner = (
            difference(one, wanted[number], f"{path}[{number}]") for number, one in enumerate(value)
        )
        return next(filter(None, inner), None)
    alike = isinstance(value, bool) == isinstance(wanted, bool)
    return None if alike and value == wanted else f"{path} is {value!r}, not {wanted!r}"
