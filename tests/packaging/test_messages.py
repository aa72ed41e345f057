"""What messages name must be there where RUNE is installed, without its checkout."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# A plugin has files and cases of its own, and addresses of pages have any path.
CHECKOUT = re.compile(r"(?<![/\w])(docs|tests|benchmarks)/|\b(CONTRIBUTING|CHANGELOG)\b")


def texts(file: Path) -> Iterator[str]:
    """Yield the texts of a Python file, joined as they are written; docstrings are help, too."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def test_no_message_sends_people_to_a_file_that_only_the_checkout_has() -> None:
    found = [
        f"{file.relative_to(ROOT)}: {text}"
        for part in ("lom", "lmm")
        for file in sorted((ROOT / part).rglob("*.py"))
        for text in texts(file)
        if CHECKOUT.search(text)
    ]
    rows = json.loads((ROOT / "specs" / "eps_codes.json").read_text(encoding="utf-8"))["codes"]
    found += [f"{reason}: {row}" for reason, row in rows.items() if CHECKOUT.search(str(row))]
    for file in sorted((ROOT / "plugins").rglob("*")):
        if file.is_file() and file.suffix in (".sh", ".json", ".py", ".pl", ".js"):
            code = re.sub(r"^\s*(#|//).*", "", file.read_text("utf-8", "replace"), flags=re.M)
            found += [f"{file}: {one[0]}" for one in CHECKOUT.finditer(code)]
    assert found == []
