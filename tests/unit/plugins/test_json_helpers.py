"""plugins/lib/json.sh: JSON in bash, and that the plugins' copies of it are copies."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lom.registry.files import bundled_plugins

FUNCTION = re.compile(r"^(json_\w+)\(\) \{.*?^\}$", re.MULTILINE | re.DOTALL)
few = settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])


def bash(helpers: Path, script: str, data: bytes) -> bytes:
    done = subprocess.run(
        ["bash", "-c", f'. "$0"; {script}', str(helpers)],
        input=data,
        capture_output=True,
        timeout=60,
    )
    assert done.stderr == b""
    return done.stdout


def encode_all(helpers: Path, texts: list[bytes]) -> list[str]:
    script = 'while IFS= read -r -d "" t; do json_encode "$t"; printf "%s\\n" "$REPLY"; done'
    lines = bash(helpers, script, b"".join(text + b"\0" for text in texts)).splitlines()
    return [json.loads(line) for line in lines]


def replaced(text: bytes) -> str:
    """Decode with one U+FFFD for each byte that is in no character."""
    out, at = "", 0
    while at < len(text):
        for size in (1, 2, 3, 4):
            try:
                out += text[at : at + size].decode()
            except UnicodeDecodeError:
                continue
            at += size
            break
        else:
            out += "\ufffd"
            at += 1
    return out


nul_free = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))


@few
@given(texts=st.lists(nul_free, min_size=1, max_size=20))
def test_text_survives(helpers: Path, texts: list[str]) -> None:
    assert encode_all(helpers, [text.encode() for text in texts]) == texts


good = [b"a", b"\xc3\xa9", b"\xe2\x82\xac", b"\xf0\x9d\x84\x9e", b'"', b"\\", b"\n", b"\1"]
bad = [
    b"\xff",
    b"\x80",
    b"\xe2\x82",
    b"\xc0\xaf",
    b"\xed\xa0\x80",
    b"\xf4\x90\x80\x80",
    b"\xf0\x9f",
]
broken = st.lists(st.sampled_from([*good, *bad]), max_size=40).map(b"".join)


@few
@given(texts=st.lists(broken, min_size=1, max_size=20))
def test_broken_utf8_is_replaced(helpers: Path, texts: list[bytes]) -> None:
    assert encode_all(helpers, texts) == [replaced(text) for text in texts]


@pytest.mark.parametrize(
    "text",
    [
        bytes(range(1, 128)),
        "é".encode() * 70_000,  # characters across the ends of blocks and chunks
        b"a" + "𝄞".encode() * 40_000,
        b"ab" + "€".encode() * 50_000,
        b"x" * 2047 + "é".encode() + b"y" * 65_536 + "€".encode(),
        b'"' * 100_000,
        b"\\" * 70_000 + b"\n" * 70_000,
        b"a&b\\&/" * 10_000,
    ],
    ids=["ascii", "two", "four", "three", "edges", "quotes", "escapes", "ampersands"],
)
def test_long_texts(helpers: Path, text: bytes) -> None:
    assert encode_all(helpers, [text]) == [text.decode()]


def test_binary_is_still_json(helpers: Path) -> None:
    data = bytes(range(1, 256)) * 200
    (text,) = encode_all(helpers, [data])
    assert [c for c in text if c < "\x80"] == [c for c in data.decode("latin-1") if c < "\x80"]


names = st.sampled_from(["a", "b", "payload", "", "\\", '"', "}", "a b"])
leaves = st.one_of(
    nul_free, st.integers(), st.booleans(), st.none(), st.just([]), st.just({}), names
)
values = st.recursive(
    leaves, lambda v: st.lists(v, max_size=3) | st.dictionaries(names, v, max_size=3), max_leaves=8
)


@few
@given(
    documents=st.lists(st.dictionaries(names, values, max_size=4), min_size=1, max_size=20),
    ascii_only=st.booleans(),
    indent=st.sampled_from([None, 2]),
)
def test_cut(
    helpers: Path, documents: list[dict[str, Any]], ascii_only: bool, indent: int | None
) -> None:
    """json_cut finds the member at a path, or tells that there is none."""
    texts = [json.dumps(one, ensure_ascii=ascii_only, indent=indent) for one in documents]
    script = (
        'while IFS= read -r -d "" t; do'
        ' if json_cut "$t" payload a; then printf "%s\\0" "$REPLY"; else printf "none\\0"; fi; done'
    )
    found = bash(helpers, script, b"".join(t.encode() + b"\0" for t in texts)).split(b"\0")[:-1]
    for document, raw in zip(documents, found, strict=True):
        inner = document.get("payload")
        if isinstance(inner, dict) and "a" in inner:
            assert json.loads(raw) == inner["a"]
        else:
            assert raw == b"none"


@few
@given(texts=st.lists(nul_free, min_size=1, max_size=20), ascii_only=st.booleans())
def test_decode(helpers: Path, texts: list[str], ascii_only: bool) -> None:
    script = (
        'while IFS= read -r -d "" t; do json_decode "$t" || exit; printf "%s\\0" "$REPLY"; done'
    )
    raw = [json.dumps(text, ensure_ascii=ascii_only).encode() for text in texts]
    out = bash(helpers, script, b"".join(one + b"\0" for one in raw))
    assert out.decode().split("\0")[:-1] == texts


@pytest.mark.parametrize(
    ("raw", "text"),
    [(r'"\/\b\f"', "/\b\f"), (r'"\ud834\udd1e"', "𝄞"), (r'"\ud834x\udd1e"', "\ufffdx\ufffd")],
)
def test_decode_rare_escapes(helpers: Path, raw: str, text: str) -> None:
    script = 'json_decode "$(</dev/stdin)" && printf \'%s\' "$REPLY"'
    assert bash(helpers, script, raw.encode()).decode() == text


def test_nul_cannot_be_decoded(helpers: Path) -> None:
    assert bash(helpers, r"json_decode '\"a\u0000\"' || printf no", b"") == b"no"


SCRIPTS = sorted([*bundled_plugins().glob("*/main.sh"), bundled_plugins() / "lib" / "rune.sh"])


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: str(script.parent.name))
def test_copies_are_copies(helpers: Path, script: Path) -> None:
    """One that does without the library holds the functions that it needs, unchanged."""
    ours = {m[1]: m[0] for m in FUNCTION.finditer(helpers.read_text(encoding="utf-8"))}
    theirs = {m[1]: m[0] for m in FUNCTION.finditer(script.read_text(encoding="utf-8"))}
    for name in theirs.keys() & ours.keys():
        assert theirs[name] == ours[name]
