"""The documents are sorted, their links lead somewhere, and all that RUNE has stands in them."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import click
import pytest

from lmm import __version__
from lmm.errors import code_table
from lmm.model import Outcome, SshSettings, SsmSettings
from lom.cli.app import rune
from lom.exit_codes import ExitCode
from lom.settings.values import KEYS, SAFEGUARD_KEYS
from tests.integration.cli.everything import leaves

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "specs/*.md", "plugins/**/*.md")
    for path in ROOT.glob(pattern)
)
KINDS = ("Tutorials", "How-to", "Reference", "Explanation")


def text_of(page: str) -> str:
    return (DOCS / page).read_text(encoding="utf-8")


def headings(page: Path) -> set[str]:
    """Return the anchors of a page, as GitHub makes them."""
    found = set()
    prose = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for line in re.findall(r"(?m)^#+ (.+)$", prose):
        shown = re.sub(r"\[([^]]*)]\([^)]*\)", r"\1", line).replace("`", "").strip().lower()
        found.add(re.sub(r"[^\w\- ]", "", shown).replace(" ", "-"))
    return found


# -- pages -------------------------------------------------------------------------------------


def test_every_page_stands_under_one_kind() -> None:
    page = text_of("README.md")
    kinds = dict(re.findall(r"(?ms)^## (\S+?):? [^\n]*\n(.*?)(?=^## |\Z)", page))
    assert tuple(kinds) == KINDS
    sorted_in = [
        link for kind in kinds.values() for link in re.findall(r"]\(([\w/-]+\.md)\)", kind)
    ]
    decisions = set(DOCS.glob("decisions/*.md")) - {DOCS / "decisions/README.md"}
    there = set(DOCS.rglob("*.md")) - decisions - {DOCS / "README.md"}
    assert sorted(sorted_in) == sorted(str(path.relative_to(DOCS)) for path in there)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    prose = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for link in re.findall(r"]\(([^)\s]+)\)", prose):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), link
        assert not anchor or anchor in headings(target), link


def test_who_reports_a_fault_is_told_of_this_version() -> None:
    major, minor, *_ = __version__.split(".")
    assert f"| {major}.{minor}.x | yes" in (ROOT / "SECURITY.md").read_text(encoding="utf-8")


# -- words -------------------------------------------------------------------------------------


def glossary() -> tuple[list[str], list[str]]:
    """Return the words of the glossary, and its outcomes."""
    words, outcomes = text_of("glossary.md").split("| outcome | meaning |")
    rows = re.findall(r"(?m)^\| ([^|`]+) \|", words.partition("|---|")[2])
    return [word for row in rows for word in row.split(", ")], re.findall(
        r"(?m)^\| `(\w+)` \|", outcomes
    )


def test_every_word_of_the_glossary_is_used() -> None:
    pages = [path for path in PAGES if path.name not in ("glossary.md", "CHANGELOG.md")]
    code = [path for room in ("lom", "lmm") for path in (ROOT / room).rglob("*.py")]
    used = "\n".join(path.read_text(encoding="utf-8") for path in (*pages, *code)).lower()
    words, _ = glossary()
    assert len(words) > 30
    assert [word for word in words if not re.search(rf"\b{re.escape(word)}", used)] == []


def test_the_glossary_has_every_outcome() -> None:
    assert sorted(glossary()[1]) == sorted(map(str, Outcome))


# -- nothing is missing ------------------------------------------------------------------------


def section(title: str) -> str:
    """Return what stands below a heading of the page of the command line."""
    found = re.search(rf"(?ms)^## {title}\n(.*?)(?=^## |\Z)", text_of("cli.md"))
    assert found, title
    return found[1]


@pytest.mark.parametrize("path", leaves(rune))
def test_a_command_has_its_heading_and_each_option_its_row(path: str) -> None:
    shared, own = section("Options of every command"), section(f"`rune {path}[^`]*`")
    for option in leaves(rune)[path].params:
        if isinstance(option, click.Option):
            for name in (*option.opts, *option.secondary_opts):
                assert re.search(rf"(?m)^\| .*`{re.escape(name)}`.* \|", own + shared), name


def test_an_exit_code_has_its_row() -> None:
    table = section("Exit codes")
    for code in ExitCode:
        assert f"| {int(code)} | {code.meaning} |" in table


def test_an_error_has_its_row() -> None:
    page = text_of("errors.md")
    for reason, row in code_table().items():
        assert f"| `{reason}` | {row['code']} |" in page


def test_a_setting_has_its_line() -> None:
    written = section("Settings")
    for key in KEYS:
        assert re.search(rf"(?m)^{key}: .+# ", written), key
    for key in SAFEGUARD_KEYS:
        assert re.search(rf"(?m)^{key}:", text_of("policy.md")), key


def test_a_variable_of_the_environment_has_its_row() -> None:
    table = section("Settings")
    named = set(re.findall(r"\b(?:RUNE_[A-Z_]+|NO_COLOR)\b", rune.epilog or ""))
    assert len(named) > 5
    for name in named:
        assert f"| `{name}` |" in table, name


@pytest.mark.parametrize("settings", [SshSettings, SsmSettings])
def test_a_setting_of_an_inventory_is_told_of(settings: type) -> None:
    seen = {"ping_status"}  # by AWS, not set
    pages = text_of("inventory.md") + text_of("ssh.md") + text_of("aws.md")
    for field in dataclasses.fields(settings):
        assert field.name in seen or re.search(rf"\b{field.name}\b", pages), field.name
