"""What must not be imported on the way to an answer: each costs more than all of RUNE."""

from __future__ import annotations

import json
from typing import Any

import pytest

PROBE = """\
import json, sys
from lom.cli import main
try:
    main(sys.argv[1:])
except SystemExit as stop:
    print(json.dumps([stop.code, sorted(sys.modules)]), file=sys.stderr)
"""
HEAVY = {
    "boto3",
    "botocore",
    "jinja2",
    "jsonschema",
    "jsonschema_rs",
    "matplotlib",
    "numpy",
    "paramiko",
    "pydantic",
    "rich",
    "scipy",
    "tenacity",
    "yaml",
}
# Milliseconds each, for what a local run does not do
NEEDED_LATER = {"concurrent.futures", "importlib.resources", "logging", "zipfile"}
FOR_MESSAGES = {"asyncio", "importlib.metadata", "lmm.model", "lom.service.orchestrator", "pathlib"}


def imported(rune: Any, *arguments: str) -> set[str]:
    done = rune.python(PROBE, *arguments)
    code, modules = json.loads(done.stderr.splitlines()[-1])
    assert code == 0, done.stderr
    return set(modules)


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["run", "--help"]])
def test_help_imports_click_and_little_else(rune: Any, arguments: list[str]) -> None:
    assert not imported(rune, *arguments) & (HEAVY | FOR_MESSAGES)


def test_a_local_run_without_files_imports_nothing_for_hosts_or_files(rune: Any) -> None:
    modules = imported(rune, "run", "noop")
    assert not modules & (HEAVY - {"jsonschema_rs"} | NEEDED_LATER)
    assert "tenacity" in imported(rune, "run", "noop", "--retries", "1")


def test_settings_cost_nothing_without_a_file(rune: Any) -> None:
    assert not imported(rune, "config", "show") & HEAVY
    rune.write("rune.yaml", "concurrency: 3\n")
    assert imported(rune, "config", "show") & HEAVY == {"yaml", "jsonschema_rs"}


def test_what_only_looks_imports_nothing_that_runs(rune: Any) -> None:
    rune.write("inventory.yaml", "targets: {here: {transport: local}}\n")
    modules = imported(rune, "target", "list")
    assert modules & HEAVY == {"yaml", "jsonschema_rs"}
    assert not modules & {"lom.execution.run", "lmm.fanout", "lmm.job"}


def test_boto3_is_for_those_who_ask_aws(rune: Any) -> None:
    rune.write(
        "inventory.yaml",
        "defaults: {transport: ssm, ssm: {region: eu-west-1}}\n"
        "targets: {i-0123456789abcdef0: {}, here: {transport: local}}\n",
    )
    for arguments in (
        ["target", "list"],
        ["run", "noop", "-t", "all", "--dry-run"],
        ["doctor", "-t", "here"],
    ):
        assert not imported(rune, *arguments) & {"boto3", "botocore", "lmm.aws.session"}
    rune.write("inventory.yaml", "sources: {}\n")
    assert not imported(rune, "target", "list") & {"boto3", "botocore"}
