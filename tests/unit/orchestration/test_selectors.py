from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from lmm.errors import RequestError
from lmm.model import SshSettings, Target
from lom.inventory.load import load_inventory
from lom.inventory.model import Inventory
from lom.inventory.selectors import parse, select

DOCS = Path(__file__).parents[3] / "docs" / "inventory.md"

VARS: dict[str, dict[str, Any]] = {
    "web1": {"sku": "a100", "site": {"name": "ams"}, "n": 1, "tags": ["x", "y"]},
    "web2": {"sku": "h200", "site": {"name": "fra"}, "n": 1.5, "tags": []},
    "gpu01": {"sku": "h200", "on": True, "none": None},
    "gpu02": {"sku": "h100"},
    "db.main": {"text": "true"},
}
GROUPS = {"web": ("web1", "web2"), "gpu": ("gpu01", "gpu02"), "h": ("web2", "gpu01")}
INVENTORY = Inventory(
    targets={
        name: Target(name, vars=values, groups=tuple(g for g in GROUPS if name in GROUPS[g]))
        for name, values in VARS.items()
    },
    groups=GROUPS,
    defaults=Target(
        "", user="ops", port=2022, vars={"site": "x"}, ssh=SshSettings(keepalive_s=3.0)
    ),
)


def names(*expressions: str, inventory: Inventory = INVENTORY) -> list[str]:
    return [target.name for target in select(expressions, inventory)]


def refusal(expression: str, inventory: Inventory = INVENTORY) -> RequestError:
    with pytest.raises(RequestError) as caught:
        select([expression], inventory)
    return caught.value


# --- what selectors pick -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("web1", "web1"),
        ("n=1.0", "web1"),
        ("n=1.50", "web2"),
        ("n=15e-1", "web2"),
        ("n=[1,2].0", "web1"),
        ("n!=1.0 and web", "web2"),
        ("n=1.5*", "web2"),
        ("gpu", "gpu01 gpu02"),
        ("all", "web1 web2 gpu01 gpu02 db.main"),
        ("*", "web1 web2 gpu01 gpu02 db.main"),
        ("gpu or web", "web1 web2 gpu01 gpu02"),
        ("gpu,web1", "web1 gpu01 gpu02"),
        (" gpu ,\tweb1 ", "web1 gpu01 gpu02"),
        ("h and gpu", "gpu01"),
        ("h and not gpu", "web2"),
        ("not gpu and h", "web2"),
        ("not (gpu or web)", "db.main"),
        ("not not gpu", "gpu01 gpu02"),
        ("web1 or h and gpu", "web1 gpu01"),
        ("(web1 or h) and gpu", "gpu01"),
        ("web1,h and gpu", "web1 gpu01"),
        ("gpu[01-02]", "gpu01 gpu02"),
        ("gpu[01,02]", "gpu01 gpu02"),
        ("gpu[01]", "gpu01"),
        ("web[1-2] and not web1", "web2"),
        ("w*", "web1 web2"),
        ("g?u", "gpu01 gpu02"),
        ("gpu0?", "gpu01 gpu02"),
        ("*.main", "db.main"),
        ("all and not nothing*", "web1 web2 gpu01 gpu02 db.main"),
        ("sku=h200", "web2 gpu01"),
        ("sku=h[1,2]00", "web2 gpu01 gpu02"),
        ("sku=h*", "web2 gpu01 gpu02"),
        ("sku!=h*", "web1 db.main"),
        ("not sku=h*", "web1 db.main"),
        ("site.name=ams", "web1"),
        ("n=1", "web1"),
        ("n=1.5", "web2"),
        ("tags=y", "web1"),
        ("on=true", "gpu01"),
        ("none=null", "gpu01"),
        ("text=true", "db.main"),
        ("ops@web1 and not web", "ops@web1"),
        ("web1 or ops@[1-2].example", "web1 ops@1.example ops@2.example"),
        ("not ops@h and gpu", "gpu01 gpu02"),
        ("local", "local"),
        ("local,gpu01", "gpu01 local"),
    ],
)
def test_what_a_selector_picks(expression: str, expected: str) -> None:
    assert names(expression) == expected.split()


def test_a_number_is_found_as_it_was_written(tmp_path: Path) -> None:
    file = tmp_path / "i.yaml"
    file.write_text(
        "targets: {a: {vars: {ver: 1.10}}, b: {vars: {ver: '1.10'}}, c: {vars: {ver: 2}}}"
    )
    inventory = load_inventory(file)
    assert names("ver=1.10", inventory=inventory) == ["a", "b"]
    assert names("ver=1.1", inventory=inventory) == ["a"]  # a text is no number
    assert names("ver=2.0", inventory=inventory) == ["c"]


def test_expressions_are_united_in_the_order_of_the_inventory() -> None:
    assert names("x@b", "gpu02", "x@a", "web1", "gpu", "x@b") == [
        *("web1", "gpu01", "gpu02"),
        *("x@b", "x@a"),
    ]


def test_no_expression_is_no_target() -> None:
    assert names() == []


@pytest.mark.parametrize(
    ("expression", "reason", "message"),
    [
        ("wbe1", "unknown_target", "there is no target or group 'wbe1'; did you mean 'web1'?"),
        ("Gpu", "unknown_target", "there is no target or group 'Gpu'; did you mean 'gpu'?"),
        ("gpu[01-03]", "unknown_target", "there is no target or group 'gpu03'; did you mean"),
        ("web1.example", "unknown_target", "there is no target or group 'web1.example'"),
        ("nothing*", "selector_empty", "selector 'nothing*' matches no target"),
        ("gpu and web", "selector_empty", "selector 'gpu and web' matches no target"),
        ("sku=b*", "selector_empty", "matches no target"),
        ("skuu!=h200", "selector_invalid", "no target has a variable 'skuu'; did you mean 'sku'?"),
        ("site.nam=ams", "selector_invalid", "no target has a variable 'site.nam'"),
        ("web1:abc", "selector_invalid", "a port is a number from 1 to 65535"),
        ("web1:0", "selector_invalid", "a port is a number from 1 to 65535"),
        ("web1:65536", "selector_invalid", "a port is a number from 1 to 65535"),
        ("web1:", "selector_invalid", "a port is a number from 1 to 65535"),
        ("@web1", "selector_invalid", "cannot read the selectors in 'web1': No such file"),
        ("ops@", "selector_invalid", "no host name or address stands there"),
        ("ssh://", "selector_invalid", "no host name or address stands there"),
        ("-oX@web1", "selector_invalid", "the user before '@' is empty or has a character"),
        ("ops@-oX", "selector_invalid", "no host name or address stands there"),
        ("http://web1", "selector_invalid", "the only scheme is ssh://"),
        ("[web:1]:22", "selector_invalid", "no IPv6 address stands in the brackets"),
        ("a:b:c", "selector_invalid", "write an IPv6 address with a port as [::1]:22"),
    ],
)
def test_a_refused_selector(expression: str, reason: str, message: str) -> None:
    error = refusal(expression)
    assert error.reason == reason
    assert message in error.message


def test_every_expression_must_pick_something() -> None:
    with pytest.raises(RequestError, match="'nothing\\*' matches no target"):
        select(["web1", "nothing*"], INVENTORY)


@pytest.mark.parametrize(
    ("text", "why", "position"),
    [
        ("", "expected a target, a group or '(', not the end", 1),
        ("gpu and", "expected a target, a group or '(', not the end", 8),
        ("gpu and and web", "expected a target, a group or '(', not 'and'", 9),
        ("or gpu", "expected a target, a group or '(', not 'or'", 1),
        ("gpu,", "expected a target, a group or '(', not the end", 5),
        ("gpu web", "expected 'and', 'or' or ',', not 'web'", 5),
        ("gpu AND web", "expected 'and', 'or' or ',', not 'AND'", 5),
        ("gpu)", "expected 'and', 'or' or ',', not ')'", 4),
        ("(gpu", "expected ')', not the end", 5),
        ("()", "expected a target, a group or '(', not ')'", 2),
        ("a&b", "unexpected '&'; the operators are and, or, not and ','", 2),
        ("!gpu", "unexpected '!'; the operators are and, or, not and ','", 1),
        ("gpü", "unexpected 'ü'; the operators are and, or, not and ','", 3),
        ("a\x1b[1]", "unexpected '\\x1b'; the operators are and, or, not and ','", 2),
        ("n[1-3", "a bracket has no partner, or a space stands in a range", 2),
        ("n[1, 3]", "a bracket has no partner, or a space stands in a range", 2),
        ("n1]", "a bracket has no partner, or a space stands in a range", 3),
        ("n[[1]]", "a bracket has no partner, or a space stands in a range", 2),
        ("n[]", "a range holds numbers, as in [1-9], [01-64], [1,3,5-9] or [0-10/2]", 3),
        ("n[1,a]", "a range holds numbers, as in [1-9], [01-64], [1,3,5-9] or [0-10/2]", 5),
        ("n[²]", "unexpected '²'; the operators are and, or, not and ','", 3),
        ("n[9-1]", "the range runs backwards; write 1-9", 3),
        ("n[0-9/0]", "a step of 0 never ends", 3),
        ("n[1-064]", "both ends need the same zero padding, as in [001-128]", 3),
        ("sku=h[1-x]", "a range holds numbers, as in [1-9], [01-64], [1,3,5-9] or [0-10/2]", 7),
        ("n[1-100001]", "the range stands for more than 100000 names", 3),
        ("n[1-999][1-999]", "the range stands for more than 100000 names", 9),
        ("n[1-60000],m[1-60000]", "the selector stands for more than 100000 names", 12),
        ("web or " + "u" * 90_000 + "[1-100000]@h", "a name has more than 512 characters", 8),
        ("sku=" + "u" * 513, "a name has more than 512 characters", 5),
        ("@", "expected a file name after '@'", 1),
        ("(" * 51, "nested more than 50 levels deep", 51),
        ("not " * 100_000, "nested more than 50 levels deep", 201),
    ],
)
def test_a_selector_that_cannot_be_read_is_shown_with_a_caret(
    text: str, why: str, position: int
) -> None:
    with pytest.raises(RequestError) as caught:
        parse(text)
    error = caught.value
    first, shown, caret = error.message.split("\n")
    assert (error.reason, error.data["position"]) == ("selector_invalid", position)
    assert first == f"{why}, at character {position} of the selector"
    at = caret.index("^")
    pointed = text[position - 1 : position]
    assert shown[at : at + 1] == (pointed if pointed.isprintable() else "?")


@pytest.mark.parametrize("text", ["ops:hunter2@web1", "web1 or ssh://ops:hunter2@h and and"])
def test_a_password_is_refused_and_not_repeated(text: str) -> None:
    error = refusal(text)
    assert "a selector holds no password" in error.message
    assert "hunter2" not in f"{error.message} {error.data}"


# --- files -----------------------------------------------------------------------------------


def test_a_file_of_selectors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("list").write_text("\ufeff# some\ngpu01 # the first\n\n  web and not web1\r\nx@h#1:22\n")
    assert refusal("@list").message.startswith("list:5: unexpected '#'")
    Path("list").write_text("\ufeff# some\ngpu01 # the first\n\n  web and not web1\r\n")
    assert names("@list") == ["web2", "gpu01"]
    assert names("gpu and not @list", "@./list") == ["web2", "gpu01", "gpu02"]
    Path("none").write_text("# nothing is out of order today\n")
    assert names("gpu and not @none") == ["gpu01", "gpu02"]
    assert refusal("@none").reason == "selector_empty"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"web1\n@list\n", "list:2: a file of selectors names no other file"),
        (b"web1 and not @other\n", "list:1: a file of selectors names no other file"),
        (b"\n\ngpu and\n", "list:3: expected a target"),
        (b"web1\nweb\xff\n", "cannot read the selectors in 'list': it is not a UTF-8 text file"),
        (None, "cannot read the selectors in 'list': No such file or directory"),
    ],
)
def test_a_file_that_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    if content is not None:
        Path("list").write_bytes(content)
    error = refusal("all and @list")
    assert error.reason == "selector_invalid"
    assert error.message.startswith(message)


# --- docs ------------------------------------------------------------------------------------


def test_the_selectors_of_the_docs(tmp_path: Path) -> None:
    text = DOCS.read_text()
    example = re.search(r"^```yaml inventory\n(.*?)^```", text, re.M | re.S)
    assert example
    (tmp_path / "inventory.yaml").write_text(example[1])
    inventory = load_inventory(tmp_path / "inventory.yaml")
    table = text[text.index("| selector | picks |") :].split("\n\n")[0]
    rows = re.findall(r"^\| `(.+?)` \| (.+?) \|", table, re.M)
    assert len(rows) == table.count("\n") - 1
    for expression, expected in rows:
        assert names(expression, inventory=inventory) == expected.split(), expression
