"""One strict reader for all files that people write: what it refuses, with file, line and place."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from lmm.errors import RequestError
from lom.authoring.cases import load_case
from lom.authoring.templates import write_plugin
from lom.inventory.load import load_inventory
from lom.registry.lockfile import read_lock
from lom.registry.manifest import load_plugin
from lom.service.parameters import read_params
from lom.settings.load import load_settings


def config(folder: Path, content: bytes) -> object:
    (folder / "rune.yaml").write_bytes(content)
    return load_settings({}, {}, folder, folder)


def inventory(folder: Path, content: bytes) -> object:
    (folder / "i.yaml").write_bytes(content)
    return load_inventory(folder / "i.yaml")


def inventory_json(folder: Path, content: bytes) -> object:
    (folder / "i.json").write_bytes(content)
    return load_inventory(folder / "i.json")


def params(folder: Path, content: bytes) -> object:
    (folder / "p.yaml").write_bytes(content)
    return read_params(str(folder / "p.yaml"))


def params_json(folder: Path, content: bytes) -> object:
    (folder / "p.json").write_bytes(content)
    return read_params(str(folder / "p.json"))


def manifest(folder: Path, content: bytes) -> object:
    (folder / "plugin.json").write_bytes(content)
    return load_plugin(folder, "tested")


def lock(folder: Path, content: bytes) -> object:
    (folder / "lock.json").write_bytes(content)
    return read_lock(folder / "lock.json")


def case(folder: Path, content: bytes) -> object:
    write_plugin(folder / "own", "own", "bash")
    (folder / "case.json").write_bytes(content)
    return load_case(load_plugin(folder / "own", "tested"), folder / "case.json")


Reader = Callable[[Path, bytes], object]
YAML = [config, inventory, params]
JSON = [inventory_json, params_json, manifest, lock, case]


def refused(read: Reader, folder: Path, content: bytes) -> RequestError:
    with pytest.raises(RequestError) as caught:
        read(folder, content)
    return caught.value


@pytest.mark.parametrize("read", YAML)
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("vars: 1\na:\n  x: 1\n  x: 2\n", r":4:3: the key stands here a second time.* @ \$\.a\.x"),
        ("a: {x: 1, x: 2}\n", r":1:11: the key stands here a second time.* @ \$\.a\.x"),
        ("a: [1, {x: 1, x: 2}]\n", r":1:15: .*second time.* @ \$\.a\[1\]\.x"),
        ("b: &b {x: 1}\na: {<<: *b}\n", r":2:5: merge keys are not read.* @ \$\.a\[\"<<\"\]"),
        ("a:\n\tx: 1\n", r":2:1: not YAML: a tab; lines are indented by spaces"),
        ("a: !!python/none x\n", r":1:4: a tag is not read here"),
        ("a: &a [*a]\n", r"an alias inside of itself"),
        ("? [a]\n: 1\n", r":1:3: a key is a plain text"),
        ("a: [1\n", r":2:1: not YAML"),
        ("---\na: 1\n---\na: 1\n", r":3:1: not YAML: but found another document"),
    ],
)
def test_yaml_is_refused_with_line_column_and_path(
    tmp_path: Path, read: Reader, text: str, words: str
) -> None:
    error = refused(read, tmp_path, text.encode())
    assert any(re.search(words, one) for one in error.data["validation_errors"])


@pytest.mark.parametrize("read", JSON)
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"a": 1,\n "a": 2}', r":2:2: the key 'a' stands twice in one object @ \$\.a"),
        ('{"b": [0, {"x": 1,\n "y": "{", "\\u0078": 2}]}', r":2:12: the key 'x' .*\$\.b\[1\]\.x"),
        ('{"a": NaN}', r"NaN is not JSON"),
        ('{"a": -Infinity}', r"-Infinity is not JSON"),
        ('{"a": 1e999}', r"'1e999' is out of range"),
        ('{"a": 1,\n}', r":2:1: not JSON: "),
        ('{"a": 1} {}', r"something follows the first JSON value on line 1"),
        ("[]", r"the JSON value is not an object"),
        ("", r"there is no output|not JSON"),
        ("\ufeff{}", r"a byte order mark stands before the JSON"),
        ('{"a": ' * 200 + "1" + "}" * 200, r"more than 100 levels"),
    ],
)
def test_json_is_refused_with_line_column_and_path(
    tmp_path: Path, read: Reader, text: str, words: str
) -> None:
    assert re.search(words, refused(read, tmp_path, text.encode()).message)


@pytest.mark.parametrize("read", [*YAML, *JSON])
@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"a": 1}'.encode("utf-16"), "the file is UTF-16; save it as UTF-8"),
        (b"\xfe\xff" + "a: 1".encode("utf-16-be"), "the file is UTF-16; save it as UTF-8"),
        ('{"a": 1}'.encode("utf-32"), "the file is UTF-32; save it as UTF-8"),
        ('{"a": 1}'.encode("utf-16-le"), "the file is no text, or UTF-16; save it as UTF-8"),
        (b'{"a":\n "\xff"}', ":2: the file is not UTF-8"),
    ],
)
def test_text_that_is_not_utf8_is_told_plainly(
    tmp_path: Path, read: Reader, content: bytes, words: str
) -> None:
    assert words in refused(read, tmp_path, content).message


@pytest.mark.parametrize("read", [config, params])
def test_an_alias_bomb_is_bounded(tmp_path: Path, read: Reader) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    error = refused(read, tmp_path, "\n".join(lines).encode())
    assert "more than 1000000 values" in error.message


def test_a_rule_that_says_two_things_is_refused(tmp_path: Path) -> None:
    rule = b"policy:\n  rules:\n    - name: r\n      effect: deny\n      effect: allow\n"
    error = refused(config, tmp_path, rule)
    assert error.reason == "config_invalid"
    assert error.message == (
        f"{tmp_path}/rune.yaml:5:7: the key stands here a second time (first in line 4)"
        " @ $.policy.rules[0].effect"
    )
    assert (error.data["line"], error.data["field"]) == (5, "$.policy.rules[0].effect")


def test_a_folder_called_like_parameters_is_not_run(tmp_path: Path) -> None:
    folder = tmp_path / "p.yaml"
    folder.mkdir()
    tool = folder / "tool"
    tool.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\necho '{{}}'\n")
    tool.chmod(0o755)
    with pytest.raises(RequestError, match="Is a directory"):
        read_params(str(folder))
    assert not (tmp_path / "ran").exists()


def test_texts_stay_texts_everywhere(tmp_path: Path) -> None:
    text = b"a: no\nb: 012\nc: 12:30\nd: 2026-01-02\ne: 1_000\nf: 0x10\ng: .5\nh: ~\n"
    assert params(tmp_path, text) == {
        "a": "no",
        "b": "012",
        "c": "12:30",
        "d": "2026-01-02",
        "e": "1_000",
        "f": "0x10",
        "g": ".5",
        "h": None,
    }
    assert params_json(tmp_path, json.dumps({"a": 1}).encode()) == {"a": 1}
