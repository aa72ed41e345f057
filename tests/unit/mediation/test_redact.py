"""A secret that comes back is hidden, in every usual spelling, and nothing else is."""

from __future__ import annotations

import base64
import json
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmm.redact import MASK, Redactor, places, secrets_in

SECRET = 'hunter2 "quoted" ünï/+&?\\'


@pytest.mark.parametrize(
    "spelt",
    [
        SECRET,
        json.dumps(SECRET)[1:-1],
        json.dumps(SECRET, ensure_ascii=False)[1:-1],
        quote(SECRET),
        quote(SECRET, safe=""),
        quote_plus(SECRET),
    ],
)
def test_spellings(spelt: str) -> None:
    assert Redactor([SECRET]).text(f"before {spelt} after") == f"before {MASK} after"


@given(
    secret=st.text(st.characters(codec="utf-8"), min_size=12, max_size=40),
    before=st.binary(max_size=5),
    after=st.binary(max_size=5),
)
def test_base64_at_any_place(secret: str, before: bytes, after: bytes) -> None:
    """What is left of an encoded text does not decode to the secret any more."""
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        encoded = encode(before + secret.encode() + after).decode()
        hidden = Redactor([secret]).text(encoded)
        assert MASK in hidden
        rest = hidden.replace(MASK, "")
        assert len(rest) <= len(encoded) - len(encode(secret.encode())) + 12


@given(st.text(st.characters(codec="utf-8"), min_size=4))
def test_no_secret_survives(secret: str) -> None:
    found = Redactor([secret]).value({"a": [f"x{secret}y", {secret: secret}], "n": 1})
    if secret not in MASK:
        assert secret not in json.dumps(found, ensure_ascii=False)


def test_longer_secrets_first() -> None:
    assert Redactor(["pass", "password"]).text("password pass") == f"{MASK} {MASK}"


def test_without_secrets_nothing_is_touched() -> None:
    value = {"a": ["b"]}
    assert Redactor([]).value(value) is value
    assert Redactor(["", "abc"]).text("abc") == "abc"


@pytest.mark.parametrize(
    ("pointers", "found"),
    [
        (["/token"], {"top-secret"}),
        (["/users/*/pw"], {"pw-of-a", "pw-of-b"}),
        (["/nested"], {"deep-one", 5, "deep-two"}),
        (["/a~1b"], {"slashed"}),
        (["/flag", "/nowhere", "/token/x"], set()),
    ],
)
def test_secrets_in(pointers: list[str], found: set[str]) -> None:
    parameters: dict[str, Any] = {
        "token": "top-secret",
        "users": [{"pw": "pw-of-a", "n": "a name"}, {"pw": "pw-of-b"}],
        "nested": {"x": ["deep-one", 5], "y": {"z": "deep-two"}},
        "a/b": "slashed",
        "flag": True,
    }
    assert secrets_in(parameters, pointers) == found


def test_the_empty_pointer_is_everything() -> None:
    assert [key for _, key in places({"a": 1, "b": 2}, [""])] == ["a", "b"]
