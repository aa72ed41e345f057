"""A secret that comes back is hidden, in every usual spelling, and nothing else is."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
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
    if secret not in MASK and len(secret.strip()) >= 4:
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


JSON_VALUES = st.recursive(
    st.text(st.characters(codec="utf-8"), max_size=20) | st.integers() | st.booleans(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=5), JSON_VALUES, min_size=1, max_size=4))
def test_a_secret_that_is_json_is_hidden_by_what_is_in_it(document: dict[str, Any]) -> None:
    told = json.dumps(Redactor([json.dumps(document)]).value({"n": 1, "creds": document}))
    for one in secrets_in(document, [""]):
        text = str(one).lstrip("-").strip()
        if len(text) >= 4 and text not in MASK:
            assert one not in secrets_in(json.loads(told), [""])


def test_json_within_json_counts_as_well() -> None:
    document = json.dumps({"user": "admin", "more": json.dumps(["hunter2hunter2", 87654321])})
    answer = {"a": "is hunter2hunter2", "b": [{"n": 87654321}], "c": "other"}
    assert Redactor([document]).value(answer) == {
        "a": f"is {MASK}",
        "b": [{"n": MASK}],
        "c": "other",
    }


def test_values_that_together_spell_a_secret_are_hidden_and_no_others() -> None:
    answer = {"a": [12345678, 87654321], "b": [[1, 2]], "c": {"d": {"user": "bob"}, "e": "x"}}
    told = Redactor(["12345678,87654321", '"user":"bob"']).value(answer)
    assert told == {"a": [MASK], "b": [[1, 2]], "c": {"d": {"user": MASK}, "e": "x"}}
    assert Redactor(['"user":"bob"']).value({"user": "bob"}) == {"user": MASK}


def test_without_secrets_nothing_is_loaded_that_finds_some() -> None:
    program = "import sys, lmm.job, lmm.redact; lmm.redact.Redactor(['a', 1]); "
    program += "print('lmm.spellings' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert done.stdout == b"False\n"
