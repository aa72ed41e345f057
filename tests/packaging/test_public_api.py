"""The declared surface: small, complete, documented, and typed as a consumer sees it."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import lmm
import lom

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("package", [lmm, lom])
def test_every_public_name_is_there_and_documented(package: ModuleType) -> None:
    for name in package.__all__:
        found = getattr(package, name)
        if not name.startswith("__"):
            assert inspect.getdoc(found), name
    assert package.__all__ == sorted(package.__all__)
    with pytest.raises(AttributeError):
        _ = package.no_such_name


def test_the_examples_of_the_documents_are_typed(tmp_path: Path) -> None:
    """mypy --strict on the library examples of README and getting-started, as a consumer."""
    examples = []
    for document in ("README.md", "docs/getting-started.md"):
        text = (ROOT / document).read_text(encoding="utf-8")
        examples += re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(examples) == 2
    for number, example in enumerate(examples):
        path = tmp_path / f"example{number}.py"
        path.write_text(example + "\nreveal_type(result.outcome)\n")
        done = subprocess.run(
            [sys.executable, "-m", "mypy", "--strict", "--cache-dir", tmp_path / "cache", path],
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout
        assert 'Revealed type is "lmm.model.Outcome"' in done.stdout
