"""The same table for the libraries of all languages: what is sent comes back, whatever it holds."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

few = settings(max_examples=10, suppress_health_check=list(HealthCheck))

NUL = "a\0b"
HOSTILE = [
    *("", " ", "\n", "\t\r\n", "a\n\n", "\x01\x1f\x7f\x80\x9f", "\u2028\u2029", "\ufeff", "\ufffd"),
    *('"', '""', "\\", "\\\\", '\\"', "\\\\\\", "\\n", "\\u0041", "\\ud834\\udd1e", "x\\", "/"),
    *("$(exit 9)", "`exit 9`", "${x}", "$x", "%s%d%n", "*", "?", "[a-z]", "~", "!", "a;b", "a&b"),
    *("'", "-n", "-e", "--", "a=b", "{", "}", "[", "]", ",", ":", "null", "true", "1", "{}"),
    *("é", "日本", "\U0001d11e", "e\u0301", "\U0010ffff", "\ud7ff\ue000", "integer:5", "##rune {}"),
    "x" * 5000,
    'say "hi"\n' * 500,
]
KEYS = [
    *("a b", "", '"', "\\", "$(exit 9)", "`", "]", "[", "@", "*", "0", "-1", "-n", "\n"),
    *("__proto__", "constructor", "length", "é", "\U0001d11e", "\\u0061", "a=b", "'", ":", ","),
]
NUMBERS: list[int | float] = [
    *(0, -1, 2**31, -(2**31) - 1, 2**53 + 1, 2**63, -(2**63), 2**64 + 1, 10**40),
    *(0.1, -0.5, 1.0, 1e-300, 1e300, 5e-324, 0.1 + 0.2, 1e22, 123456789.123456789, -2.5e-7),
]
DEEP: Any = 7
for _ in range(40):
    DEEP = [{"k": DEEP}]
VALUES: dict[str, Any] = {
    "hostile": HOSTILE,
    "keys": {key: key for key in KEYS},
    "numbers": NUMBERS,
    "scalars": [None, True, False, {}, [], {"a": {}}, [[]], [{}], [None, [None]]],
    "deep": DEEP,
    "many": [{"name": f"disk {n}", "size": n * 1.5, "tags": ["a", '"']} for n in range(150)],
}
text = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | text,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(text, inner, max_size=5),
    max_leaves=30,
)  # fmt: skip


def same(one: Any, other: Any) -> bool:
    """Whether two JSON values are equal; 1 and 1.0 are, 1 and true are not."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    return bool(one == other) and isinstance(one, str) == isinstance(other, str)


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
def test_what_is_sent_comes_back(workshop: Any, language: Any, value: Any) -> None:
    answer = workshop.run(language, {"do": "walk", "value": value})
    assert answer.stderr == ""
    assert same(answer.output_data, {"value": value}), answer.output_data


@few
@given(value=st.lists(values, min_size=3, max_size=8))
def test_any_json_comes_back(workshop: Any, language: Any, value: Any) -> None:
    answer = workshop.run(language, {"do": "walk", "value": value})
    assert same(answer.output_data, {"value": value}), answer.output_data


@few
@given(texts=st.lists(text, min_size=5, max_size=30))
def test_any_text_comes_back(workshop: Any, language: Any, texts: list[str]) -> None:
    answer = workshop.run(language, {"do": "walk", "value": texts})
    assert answer.output_data == {"value": texts}


def test_nul(workshop: Any, language: Any) -> None:
    """A shell cannot keep it, and gives the JSON as it came."""
    value = [NUL, {"k": "\0"}, "\0"]
    assert workshop.run(language, {"do": "walk", "value": value}).output_data == {"value": value}
    if language.shell:
        answer = workshop.run(language, {"do": "get", "path": ["text"], "text": NUL})
        assert answer.output_data == {"type": "string", "value": NUL, "status": 2}


TREE: dict[str, Any] = {
    "none": None,
    "no": False,
    "zero": 0,
    "empty": "",
    "list": [10, {"k": ["deep"]}],
    'a"b': {"\\": "é"},
    "0": "key",
}


@pytest.mark.parametrize(
    ("path", "kind", "value"),
    [
        (["tree", "none"], "null", None),
        (["tree", "nothing"], "missing", None),
        (["tree", "none", "k"], "missing", None),
        (["tree", "no"], "boolean", False),
        (["tree", "zero"], "number", 0),
        (["tree", "empty"], "string", ""),
        (["tree", "empty", 0], "missing", None),
        (["tree", "list"], "array", TREE["list"]),
        (["tree", "list", 0], "number", 10),
        (["tree", "list", 1, "k", 0], "string", "deep"),
        (["tree", "list", 2], "missing", None),
        (["tree", 'a"b', "\\"], "string", "é"),
        (["tree", "0"], "string", "key"),
        (["tree", "length"], "missing", None),
        ([], "object", ...),
    ],
)
def test_a_parameter_by_its_path(
    workshop: Any, language: Any, path: list[Any], kind: str, value: Any
) -> None:
    parameters = {"do": "get", "path": path, "tree": TREE}
    output = workshop.run(language, parameters).output_data
    assert output["type"] == kind
    assert ("value" in output) == (kind != "missing")
    assert same(output.get("value"), parameters if value is ... else value)
    if language.shell:
        assert output["status"] == (1 if kind in ("missing", "null") else 0)


def test_a_large_request(workshop: Any, language: Any) -> None:
    """60 KB, most of it quotes and escapes; the last value is asked for."""
    many = [{"name": f'"{n}"\n', "tags": ["a\\b", "é"], "n": n} for n in range(1200)]
    asked = {"do": "get", "path": ["many", 1199, "name"], "many": many}
    assert workshop.run(language, asked).output_data["value"] == '"1199"\n'


@pytest.mark.parametrize("code", [1, 2, 3, 4, 100, 255])
def test_an_error_is_the_exit_status(workshop: Any, language: Any, code: int) -> None:
    message = 'no "disk"\n$(exit 9)\x01é'
    details = {"path": ["/dev/\\x"], "n": 1.5}
    asked = {"do": "fail", "code": code, "message": message, "details": details, "retryable": True}
    answer = workshop.run(language, asked)
    assert answer.status == code
    assert answer.error == {
        "code": code,
        "message": message,
        "details": details,
        "retryable": True,
    }


def test_an_error_without_details(workshop: Any, language: Any) -> None:
    answer = workshop.run(language, {"do": "fail", "code": 3, "message": "broke"})
    assert answer.status == 3
    assert answer.error == {"code": 3, "message": "broke"}


@pytest.mark.parametrize("message", ["half way", 'a"b\\c\né\U0001d11e$(exit 9)%s', "##rune {}"])
def test_events_and_metrics(workshop: Any, language: Any, message: str) -> None:
    answer = workshop.run(language, {"do": "events", "message": message})
    busbw = {"name": "busbw", "value": 412.5, "unit": "GB/s", "better": "higher"}
    labels = {"device": message, "kind": "a"}
    latency = {"name": "latency", "value": 7, "unit": "us", "better": "lower"}
    assert answer.stderr == ""
    assert answer.events == [
        {"kind": "progress", "percent": 12.5, "message": message},
        {"kind": "log", "level": "warning", "message": message},
        {"kind": "metric", **busbw, "labels": labels},
        {"kind": "metric", **latency},
    ]
    metrics = [{**busbw, "labels": labels, "samples": [411, 414]}, latency]
    assert answer.output_data == {"metrics": metrics}


def test_the_time_that_is_left(workshop: Any, language: Any) -> None:
    output = workshop.run(language, {"do": "left"}).output_data
    assert output["target"] == "wéb1"
    assert 0 < output["left"] <= 30.5


BYTES = [
    b"plain",
    b"\xff",
    b"a\xffb\xc0\xafc",
    b"\xc3\xa9\xc3",
    b"\xe2\x82",
    b"\xed\xa0\x80",
    b"\xf4\x90\x80\x80",
    b"\xf0\x9d\x84\x9e!\xf8\x88\x80\x80\x80",
    bytes(range(1, 256)) + b".",
    b"ok \xe9t\xe9\n" * 20 + b".",
]


@pytest.mark.parametrize("data", BYTES, ids=range(len(BYTES)))
def test_bytes_that_are_no_text(workshop: Any, language: Any, data: bytes) -> None:
    """What is no character becomes U+FFFD, one or several; all else stays."""
    (workshop.folder(language) / "bytes").write_bytes(data)
    found = workshop.run(language, {"do": "bytes"}).output_data["text"]
    assert _parts(found) == _parts(data.decode("utf-8", "replace"))


def _parts(text: str) -> list[str]:
    parts = text.split("\ufffd")
    return [parts[0], *filter(None, parts[1:-1]), *parts[1:][-1:]]


@pytest.mark.parametrize("stdin", [b"", b"\n", b"{", b"[]", b"null", b'{"payload":[]}', b"{} {}"])
def test_no_request(workshop: Any, language: Any, stdin: bytes) -> None:
    answer = workshop.run(language, {}, stdin=stdin)
    assert (answer.status, answer.error["code"]) == (1, 1)


def test_what_the_author_did_not_expect(workshop: Any, language: Any) -> None:
    """Where a language has exceptions, one that nobody catches is an answer too."""
    if language.shell or language.name == "c":
        return
    answer = workshop.run(language, {"do": "no such thing"})
    assert (answer.status, answer.error["code"]) == (100, 100)
    assert "no such thing" in answer.error["message"]


def test_what_a_shell_finds_on_path(workshop: Any, language: Any) -> None:
    """All above passes with these commands alone; in bash with none at all."""
    if language.path is not None:
        found = {file.name for file in (workshop.folder(language) / "path").iterdir()}
        assert found == set(language.path)
