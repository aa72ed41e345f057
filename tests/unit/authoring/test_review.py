"""What `rune plugin check` finds without running anything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lom.authoring.findings import Finding
from lom.authoring.review import review
from lom.registry.manifest import load_plugin
from tests.unit.authoring.conftest import ANSWER, case


def faults(folder: Path) -> list[Finding]:
    return [one for one in review(load_plugin(folder, "checked")) if one.status == "failed"]


def test_a_good_plugin_has_no_fault_and_no_warning(write_plugin: Any) -> None:
    found = review(load_plugin(write_plugin(), "checked"))
    assert {one.status for one in found} == {"ok"}
    assert {one.check for one in found} == {
        *("manifest", "name", "input_schema", "output_schema", "parameters"),
        *("case base", "shellcheck"),
    }


def schema(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "additionalProperties": False}


METRICS = {"$ref": "https://rune.dev/specs/common.json#/$defs/metrics"}
FAULTY: dict[str, tuple[str, dict[str, Any]]] = {
    'input_schema: no value can match it @ $.capabilities["t.do"].input_schema.properties.text: '
    "minimum, maximum": (
        "input_schema",
        {"input_schema": schema(text={"type": "integer", "minimum": 5, "maximum": 3})},
    ),
    "output_schema: no value can match it": (
        "output_schema",
        {"output_schema": {"allOf": [{"type": "object"}, {"type": "string"}]}},
    ),
    'output_schema: no value can match it @ $.capabilities["t.do"].output_schema': (
        "output_schema",
        {"output_schema": {**schema(), "required": ["done"]}},
    ),
    "output_schema: it says nothing": (
        "output_schema",
        {"output_schema": {"description": "whatever"}},
    ),
    "parameters: default of text does not match its schema: 3 is not of type": (
        "parameters",
        {"input_schema": schema(text={"type": "string", "default": 3}), "cases": {}},
    ),
    "parameters: an example of text does not match": (
        "parameters",
        {"input_schema": schema(text={"type": "string", "examples": ["a", 3]})},
    ),
    "parameters: a-b and a_b would both be RUNE_PARAM_A_B": (
        "parameters",
        {"input_schema": schema(**{"a-b": {}, "a_b": {}})},
    ),
    "case base: RUNE would refuse its input_parameters": (
        "case base",
        {"cases": {"base": case({"txt": "x"})}},
    ),
    "case base: the output schema refuses what it expects: unknown field 'dne'": (
        "case base",
        {"cases": {"base": case(expect={"output_data": {"dne": True}})}},
    ),
    "case base: it expects output_data with the exit code 3": (
        "case base",
        {"cases": {"base": case(exit_code=3, expect={"output_data": {"done": True}})}},
    ),
    "case base: it expects error.code 2 with the exit code 3": (
        "case base",
        {"cases": {"base": case(exit_code=3, expect={"error": {"code": 2}})}},
    ),
    "case base: there is no file bin/x": (
        "case base",
        {"cases": {"base": case(commands={"x": "bin/x"})}},
    ),
    "does not offer the action 't.other'": (
        "case base",
        {"cases": {"base": case(action="t.other")}},
    ),
    "unknown field 'expct'": ("case base", {"cases": {"base": {**case(), "expct": {}}}}),
    "script: bash: main.sh: line 2": ("script", {"script": "if true; then\n"}),
    "line ends of Windows": ("script", {"script": ANSWER.replace("\n", "\r\n")}),
    "byte order mark": ("script", {"script": "\ufeff" + ANSWER}),
    "shellcheck: shellcheck: main.sh:1:": ("shellcheck", {"script": f"cd /nowhere\n{ANSWER}"}),
    "script: line 1: ": ("script", {"script": "def f(:\n", "runtime": "python3"}),
}


@pytest.mark.parametrize("told", FAULTY)
def test_a_fault_is_found(write_plugin: Any, told: str) -> None:
    check, plugin = FAULTY[told]
    found = faults(write_plugin(**plugin))
    assert [one.check for one in found] == [check], found
    assert told in f"{found[0].check}: {found[0].what}"
    assert found[0].remedy


def test_what_is_only_odd_is_a_warning(write_plugin: Any, tmp_path: Path) -> None:
    secret = schema(api_token={"type": "string"})
    folder = write_plugin(input_schema=secret, cases={}, folder=tmp_path / "other")
    found = review(load_plugin(folder, "checked"))
    warnings = {one.check: one.what for one in found if one.status == "warn"}
    assert warnings.keys() == {"name", "cases", "parameters"}
    assert warnings["parameters"] == "api_token sounds like a secret"
    assert not faults(folder)


def test_a_part_of_an_answer_need_not_have_what_is_required(write_plugin: Any) -> None:
    """Also below a reference into the contract."""
    output = {**schema(done={"type": "boolean"}, metrics=METRICS), "required": ["done", "metrics"]}
    expect = {"output_data": {"metrics": [{"name": "busbw"}]}}
    assert not faults(write_plugin(output_schema=output, cases={"base": case(expect=expect)}))


def test_nothing_is_run(write_plugin: Any) -> None:
    review(load_plugin(write_plugin('touch "$HOME/ran"\n' + ANSWER), "checked"))
    assert not (Path.home() / "ran").exists()
