"""What the pages claim of safety, reliability and compatibility is tried by a test."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
DOCS = ROOT / "docs"
TESTED = ("security.md", "policy.md", "reliability.md", "advisories.md", "compatibility.md")
# Of the tables whose rows each claim something: the column before them all is no claim.
CLAIMING = ("threat", "fault", "what stays")


def names_of_tests() -> set[str]:
    return {
        name
        for path in ROOT.glob("tests/**/test_*.py")
        for name in [path.stem, *re.findall(r"^def (test_\w+)", path.read_text("utf-8"), re.M)]
    }


@pytest.mark.parametrize("page", sorted(path.name for path in DOCS.glob("*.md")))
def test_every_test_that_a_page_names_exists(page: str) -> None:
    named = re.findall(r"`(test_\w+)`", (DOCS / page).read_text(encoding="utf-8"))
    assert {*named} - names_of_tests() == set()
    assert named or page not in TESTED


def rows(page: str) -> list[str]:
    """Return the rows of the page's tables of threats, faults and promises."""
    found: list[str] = []
    claiming = False
    for line in (DOCS / page).read_text(encoding="utf-8").splitlines():
        if not line.startswith("|"):
            claiming = False
        elif line.startswith(tuple(f"| {word} |" for word in CLAIMING)):
            claiming = True
        elif claiming and not line.startswith("|---"):
            found.append(line)
    return found


@pytest.mark.parametrize(
    ("page", "least"),
    [("security.md", 20), ("reliability.md", 40), ("advisories.md", 25), ("compatibility.md", 18)],
)
def test_every_row_of_a_table_of_claims_names_its_test(page: str, least: int) -> None:
    found = rows(page)
    assert len(found) >= least
    assert [row for row in found if not re.search(r"`test_\w+`", row)] == []


@pytest.mark.parametrize("page", ["security.md", "policy.md"])
def test_every_section_names_a_test(page: str) -> None:
    """Sections that say what does not hold, and how a file is written, claim nothing."""
    silent = {"What it does not protect against", "Known limits", "Which files"}
    text = (DOCS / page).read_text(encoding="utf-8")
    sections = [one.partition("\n") for one in re.split(r"^## ", text, flags=re.M)]
    assert len(sections) > 5
    for title, _, body in sections[1:]:
        assert title in silent or "`test_" in body, title
