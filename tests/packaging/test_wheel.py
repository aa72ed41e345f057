"""The wheel as a stranger gets it: built from the sources, installed into an empty environment."""

from __future__ import annotations

import ast
import configparser
import json
import os
import re
import sys
import zipfile
from pathlib import Path

from tests.packaging.conftest import LEFT, ROOT, run


def data_files(directory: Path) -> dict[str, tuple[bytes, bool]]:
    """Every file below: relative path -> content and whether it is executable."""
    return {
        str(path.relative_to(directory)): (path.read_bytes(), os.access(path, os.X_OK))
        for path in directory.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_the_top_level_is_lom_and_lmm(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    top = {name.partition("/")[0] for name in names}
    assert {name for name in top if not name.endswith(".dist-info")} == {"lom", "lmm"}
    assert not [name for name in names if "__pycache__" in name]
    left = {Path(name).name for name in LEFT}
    assert not [name for name in names if Path(name).name in left]
    assert [name for name in names if name.endswith("/LICENSE")]


def test_the_sdist_gives_the_same_wheel(wheel: Path, wheel_of_sdist: Path) -> None:
    def contents(path: Path) -> dict[str, bytes]:
        with zipfile.ZipFile(path) as archive:
            return {name: archive.read(name) for name in archive.namelist()}

    assert contents(wheel_of_sdist) == contents(wheel)


def test_every_package_is_listed_in_setup_cfg() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    listed = set(config["options"]["packages"].split()) - {"lmm.specs", "lom.plugins"}
    found = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for top in ("lom", "lmm")
        for path in (ROOT / top).rglob("*.py")
    }
    assert listed == found


def test_rune_runs_without_the_checkout(installed: Path, tmp_path: Path) -> None:
    version = run(installed / "rune", "--version", cwd=tmp_path)
    assert version == run(sys.executable, ROOT / "cli.py", "--version", cwd=tmp_path)
    where = run(installed / "python", "-c", "import lom; print(lom.__file__)", cwd=tmp_path)
    assert where.startswith(str(installed.parent))
    options = ["-p", "answer=42", "-o", "json"]
    document = json.loads(run(installed / "rune", "run", "noop", *options, cwd=tmp_path))
    assert document["results"][0]["output_data"] == {"answer": 42}


def test_specs_and_plugins_arrive_as_they_are(installed: Path, tmp_path: Path) -> None:
    code = "import lmm, lom; print(lmm.__path__[0]); print(lom.__path__[0])"
    lmm, lom = run(installed / "python", "-c", code, cwd=tmp_path).splitlines()
    # A compiled program fits one kind of machine; the wheel fits all.
    plugins = {k: v for k, v in data_files(ROOT / "plugins").items() if "noop-c" not in k}
    assert data_files(Path(lom, "plugins")) == plugins
    schemas = {k: v for k, v in data_files(ROOT / "specs").items() if k.endswith(".json")}
    assert data_files(Path(lmm, "specs")) == schemas
    assert Path(lmm, "bootstrap.sh").read_bytes() == (ROOT / "lmm/bootstrap.sh").read_bytes()
    assert Path(lmm, "py.typed").exists()
    assert Path(lom, "py.typed").exists()
    page = Path(lom, "render", "fleet.html")
    assert page.read_bytes() == (ROOT / "lom/render/fleet.html").read_bytes()


def test_authors_have_what_they_need(installed: Path, tmp_path: Path) -> None:
    """Templates, the kit, and the kit as a plugin that pytest finds by itself."""
    rune = installed / "rune"
    run(rune, "plugin", "new", "t-new", cwd=tmp_path)
    tested = run(rune, "plugin", "test", "t-new", "--only", "orphans", cwd=tmp_path)
    assert tested == "ok: t-new 0.1.0 passes\n"
    pytest_ = (installed / "python", "-m", "pytest", "--basetemp", tmp_path / "temporary", "-q")
    said = run(*pytest_, "--rune-plugin", "plugins/t-new", "-k", "check or output", cwd=tmp_path)
    assert "2 passed" in said


def test_everything_that_is_imported_is_required() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    lines = config["options"]["install_requires"].split()
    lines += config["options.extras_require"]["fleet"].split()
    required = {re.split("[<>=]", line)[0].lower().replace("-", "_") for line in lines}
    required = (required - {"pyyaml"}) | {"yaml", "lom", "lmm"}
    required |= {"pytest"}  # it imports our plugin, never the other way round
    imported = set()
    for path in [*ROOT.glob("lom/**/*.py"), *ROOT.glob("lmm/**/*.py")]:
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add((node.module or "").partition(".")[0])
    assert imported - set(sys.stdlib_module_names) <= required
