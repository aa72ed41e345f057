"""The page that tells which fault was tried by which test names tests that there are."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
PAGE = ROOT / "docs" / "reliability.md"


def test_every_test_of_the_table_exists() -> None:
    named = re.findall(r"`(test_\w+)`", PAGE.read_text(encoding="utf-8"))
    there = {
        name
        for path in ROOT.glob("tests/**/test_*.py")
        for name in [path.stem, *re.findall(r"^def (test_\w+)", path.read_text("utf-8"), re.M)]
    }
    assert len(named) > 40
    assert {*named} - there == set()
