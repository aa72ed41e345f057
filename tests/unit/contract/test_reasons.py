"""The code table and the code know the same reasons; the page of errors shows them all."""

from __future__ import annotations

import ast
import inspect
import runpy
from collections.abc import Iterator
from pathlib import Path

import pytest

from lmm import errors

ROOT = Path(__file__).resolve().parents[3]
GENERATED = runpy.run_path(str(ROOT / "docs" / "generate.py"))["GENERATED"]
CLASSES = {
    name
    for name, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, errors.RuneError)
}


def sources() -> Iterator[tuple[Path, ast.Module]]:
    for package in ("lmm", "lom"):
        for path in sorted((ROOT / package).rglob("*.py")):
            yield path, ast.parse(path.read_text(encoding="utf-8"))


def texts(node: ast.AST) -> Iterator[str]:
    for found in ast.walk(node):
        if isinstance(found, ast.Constant) and isinstance(found.value, str):
            yield found.value


def raised() -> Iterator[tuple[str, str]]:
    """Yield where and with which reason the code makes errors."""
    for path, tree in sources():
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            if name in CLASSES:
                for reason in texts(node.args[0]):
                    yield f"{path.relative_to(ROOT)}:{node.lineno}", reason


def test_every_reason_in_the_code_stands_in_the_table() -> None:
    found = list(raised())
    assert found
    assert [(where, reason) for where, reason in found if reason not in errors.code_table()] == []


def test_every_row_of_the_table_is_used() -> None:
    used = {text for _, tree in sources() for text in texts(tree)}
    assert sorted(set(errors.code_table()) - used) == []


@pytest.mark.parametrize("name", GENERATED)
def test_page_is_up_to_date(name: str) -> None:
    page = (ROOT / "docs" / name).read_text(encoding="utf-8")
    assert page == GENERATED[name](), "run make docs"


def test_the_page_of_errors_shows_every_row() -> None:
    page = GENERATED["errors.md"]()
    for reason, row in errors.code_table().items():
        assert f"| `{reason}` | {row['code']} | {row['title']} |" in page
        for action in row["recovery_actions"]:
            assert action.replace("|", "\\|") in page
