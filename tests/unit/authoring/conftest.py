"""Writes plugins for the tests of what authors use."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from lom.authoring.cases import load_cases
from lom.authoring.findings import Finding
from lom.authoring.kit import checks_of
from lom.authoring.trials import Trials
from lom.registry.manifest import load_plugin

ANSWER = """printf '{"payload":{"result":"success","output_data":{"done":true}}}\\n'\n"""
DONE = {
    "type": "object",
    "required": ["done"],
    "properties": {"done": {"type": "boolean"}},
    "additionalProperties": False,
}
TEXT = {
    "type": "object",
    "properties": {"text": {"type": "string"}},
    "additionalProperties": False,
}

Write = Callable[..., Path]


@pytest.fixture
def write_plugin(tmp_path: Path) -> Write:
    """Write a bash plugin ``t-plugin`` with the action ``t.do`` and return its folder."""

    def write(
        script: str = ANSWER,
        *,
        name: str = "t-plugin",
        input_schema: Mapping[str, Any] = TEXT,
        output_schema: Mapping[str, Any] = DONE,
        cases: Mapping[str, Mapping[str, Any]] | None = None,
        folder: Path | None = None,
        **changes: Any,
    ) -> Path:
        folder = folder or tmp_path / name
        (folder / "cases").mkdir(parents=True)
        capability = {
            "action": "t.do",
            "description": "Does it",
            "input_schema": input_schema,
            "output_schema": output_schema,
            "risk": changes.pop("risk", "read"),
        }
        manifest = {
            "module_name": name,
            "module_version": "1.0.0",
            "description": "A plugin of the tests",
            "runtime": "bash",
            "entrypoint": "main.sh",
            "capabilities": [capability],
            **changes,
        }
        (folder / "plugin.json").write_text(json.dumps(manifest), encoding="utf-8")
        (folder / "main.sh").write_text(script, encoding="utf-8")
        given = {"base": case()} if cases is None else cases
        for file, content in given.items():
            path = folder / "cases" / f"{file}.json"
            path.write_text(json.dumps(content), encoding="utf-8")
        return folder

    return write


def case(
    parameters: Mapping[str, Any] | None = None, exit_code: int = 0, **more: Any
) -> dict[str, Any]:
    """Return the content of a case file."""
    expect = {"exit_code": exit_code, **more.pop("expect", {})}
    return {
        "description": "it does it",
        "input_parameters": dict(parameters or {}),
        "expect": expect,
        **more,
    }


def findings(folder: Path, *names: str, risk: str = "read") -> dict[str, Finding]:
    """Run checks of the kit on the plugin in a folder, by default all."""
    plugin = load_plugin(folder, "tested")
    checks = checks_of(Trials(plugin), load_cases(plugin), risk)
    return {one.name: one.run() for one in checks if not names or one.name in names}
