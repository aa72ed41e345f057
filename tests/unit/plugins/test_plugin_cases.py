"""Every bundled plugin passes its own check, its cases, and the conformance kit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lom.authoring.cases import load_case, load_cases
from lom.authoring.kit import KIT, checks_of, run_case
from lom.authoring.review import review
from lom.authoring.trials import Trials
from lom.registry.files import bundled_plugins

PLUGINS = sorted(file.parent.name for file in bundled_plugins().glob("*/plugin.json"))


def test_case(case_file: Path, bench: Any) -> None:
    plugin = bench.plugin(case_file.parent.parent.name)
    case = load_case(plugin, plugin.directory / "cases" / case_file.name)
    finding = run_case(Trials(plugin), case, "destructive")
    assert finding.status == "ok", finding


@pytest.mark.parametrize("name", PLUGINS)
def test_check(bench: Any, name: str) -> None:
    found = review(bench.plugin(name))
    assert not [one for one in found if one.status in ("failed", "warn")]


@pytest.mark.parametrize("name", PLUGINS)
def test_kit(bench: Any, name: str) -> None:
    plugin = bench.plugin(name)
    checks = checks_of(Trials(plugin), load_cases(plugin), "change")
    findings = [check.run() for check in checks if check.name in KIT]
    assert not [one for one in findings if one.status == "failed"]
