"""The house stands as docs/architecture.md draws it."""

from __future__ import annotations

import ast
import re
import tomllib
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

TESTS = sorted((ROOT / "tests").rglob("*.py"))
MODULES = sorted(path for name in ("lom", "lmm") for path in (ROOT / name).rglob("*.py"))


def layers() -> list[list[str]]:
    """The floors of ``lom`` that import-linter checks, the highest first."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    (rooms,) = (one for one in contracts if one.get("containers") == ["lom"])
    assert rooms["exhaustive"]
    return [re.findall(r"\w+", line) for line in rooms["layers"]]


def test_the_page_shows_every_room_on_its_floor() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    table = page[page.index("| floor | room |") :]
    found: dict[str, list[str]] = {}
    for number, cell in re.findall(r"(?m)^\| (\d+) \| ([^|]+) \|", table):
        found.setdefault(number, []).extend(re.findall(r"`([a-z_]+)(?:/|\.py)`", cell))
    assert [sorted(rooms) for rooms in found.values()] == [sorted(floor) for floor in layers()]
    assert list(map(int, found)) == list(range(len(found) - 1, -1, -1))


def test_every_room_says_what_belongs_in_it() -> None:
    for room in MODULES:
        if room.name == "__init__.py":
            said = ast.get_docstring(ast.parse(room.read_text("utf-8"))) or ""
            assert len(said.split(". ")) > 1 or "\n\n" in said, room


def test_no_file_and_no_class_is_too_large_to_read() -> None:
    for path in (*MODULES, *TESTS):
        assert path.read_text("utf-8").count("\n") <= 400, path
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ClassDef):
                public = [
                    one.name
                    for one in node.body
                    if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)
                    and not one.name.startswith("_")
                    and not any(ast.unparse(by) == "property" for by in one.decorator_list)
                ]
                assert len(public) <= 12, (path, node.name, public)


def imports(path: Path) -> set[str]:
    """What a file imports, also late: modules, and names as if they were some."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found


def test_no_modules_import_each_other_in_a_circle() -> None:
    arrows = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in MODULES}
    below = {name: imports(path) & (arrows.keys() - {name}) for name, path in arrows.items()}
    while ends := {name for name, found in below.items() if not found & below.keys()}:
        below = {name: found for name, found in below.items() if name not in ends}
    assert not below, sorted(below)


def test_no_class_name_means_two_things() -> None:
    homes: dict[str, set[Path]] = {}
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes.setdefault(node.name, set()).add(path)
    twice = {name: found for name, found in homes.items() if len(found) > 1}
    assert not twice, twice


def test_no_shell_function_is_written_twice() -> None:
    """They are sent to hosts as one program, in which the later one would count."""
    texts = [path.read_text() for path in sorted(ROOT.glob("lmm/*.sh"))]
    names = [name for text in texts for name in re.findall(r"(?m)^(\w+)\(\)", text)]
    assert len(names) > 40
    assert [name for name, times in Counter(names).items() if times > 1] == []
