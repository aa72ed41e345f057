"""The kit in another repository's pytest: what is collected, what fails, and how it is told."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.unit.authoring.conftest import ANSWER

ROOT = Path(__file__).resolve().parents[3]
PYTEST = (sys.executable, "-m", "pytest", "-p", "lom.authoring.pytest_plugin", "-q")


@pytest.fixture
def repository(tmp_path: Path, write_plugin: Any) -> Path:
    """A repository with a test and two plugins, of which one is bad."""
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_own.py").write_text("def test_own() -> None: ...\n")
    write_plugin(name="t-good", folder=tmp_path / "plugins" / "t-good")
    write_plugin(f"echo noise\n{ANSWER}", name="t-bad", folder=tmp_path / "plugins" / "t-bad")
    configure(tmp_path, "plugins/t-good")
    return tmp_path


def configure(repository: Path, *globs: str) -> None:
    (repository / "pytest.ini").write_text(
        f"[pytest]\ntestpaths = tests\nfilterwarnings = error\nrune_plugins = {' '.join(globs)}\n"
    )


def run(repository: Path, *arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        [*PYTEST, "--basetemp", str(repository / "temporary"), *arguments],
        cwd=repository,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=100,
    )
    return done.returncode, done.stdout + done.stderr


def test_each_check_of_each_plugin_is_a_test(repository: Path) -> None:
    code, said = run(repository, "-rA")
    assert code == 0, said
    for name in ("check", "t.do[case base]", "t.do[unicode]", "t.do[orphans]"):
        assert f"PASSED plugins/t-good/plugin.json::{name}" in said
    assert "PASSED tests/test_own.py::test_own" in said
    assert "t-bad" not in said


def test_a_failure_says_what_and_how_to_mend_it(repository: Path) -> None:
    configure(repository, "plugins/*")
    code, said = run(repository)
    assert code == 1
    assert "t-bad: t.do[output]" in said
    assert "stdout begins with 'noise" in said
    assert "Print one JSON object on stdout" in said
    assert "Traceback" not in said


def test_who_names_files_gets_those_only(repository: Path) -> None:
    assert "1 passed" in run(repository, "tests")[1]
    code, said = run(repository, "plugins/t-good/plugin.json", "-k", "deadline or check")
    assert (code, "2 passed" in said) == (0, True), said


def test_the_option_adds_a_plugin(repository: Path) -> None:
    code, said = run(repository, "tests", "--rune-plugin", "plugins/t-bad", "-k", "output")
    assert (code, "1 failed" in said) == (1, True), said


def test_with_xdist(repository: Path) -> None:
    code, said = run(repository, "-p", "xdist.plugin", "-n", "1", "-k", "output or own")
    assert (code, "2 passed" in said) == (0, True), said


def test_a_manifest_that_is_wrong_is_an_error_without_a_traceback(repository: Path) -> None:
    (repository / "plugins" / "t-good" / "plugin.json").write_text("{}")
    code, said = run(repository)
    assert code == 2
    assert "'module_name' is a required property" in said
    assert "Traceback" not in said


def test_a_glob_that_finds_nothing_is_an_error(repository: Path) -> None:
    configure(repository, "plugin/*")
    code, said = run(repository)
    assert code == 4
    assert "there is no plugin.json in plugin/*" in said


def test_it_imports_nothing_where_it_is_not_asked_for(repository: Path) -> None:
    configure(repository)
    (repository / "tests" / "test_own.py").write_text(
        "import sys\n\n\ndef test_own():\n"
        "    assert [name for name in sys.modules if name.startswith(('lom', 'lmm'))] == [\n"
        "        'lmm', 'lom', 'lom.authoring', 'lom.authoring.pytest_plugin'\n    ]\n"
    )
    code, said = run(repository)
    assert code == 0, said
