"""A secret is found as JSON, URLs, shells, HTML, Python, base64 and hex may spell it."""

from __future__ import annotations

import base64
import html
import json
import random
import re
import subprocess
from collections.abc import Callable
from urllib.parse import quote, quote_plus, unquote

import pytest
import yaml
from hypothesis import assume, given
from hypothesis import strategies as st

from lmm.redact import MASK, Lines, Redactor

_EVERY_KIND = st.characters(exclude_categories=["Cs"])
_AWKWARD = st.sampled_from("\"'\\/<>&%+=?\n\t\x01\x7f\x85\xa0äñ€😀 u0025n")
SECRETS = st.one_of(
    st.text(_EVERY_KIND | _AWKWARD, min_size=4, max_size=300),
    st.text(_AWKWARD, min_size=4, max_size=12),
).filter(lambda text: len(text) == len(text.strip()))
SEEDS = st.integers(0, 2**32).map(random.Random)

Spell = Callable[[str, random.Random], str]


def _json(text: str, rng: random.Random) -> str:
    return json.dumps(text, ensure_ascii=rng.random() < 0.5)[1:-1]


def _php(text: str, rng: random.Random) -> str:
    return json.dumps(text)[1:-1].replace("/", "\\/")


def _go(text: str, rng: random.Random) -> str:
    spelt = json.dumps(text, ensure_ascii=False)[1:-1]
    return "".join(f"\\u{ord(one):04x}" if one in "<>&" else one for one in spelt)


def _mixed_json(text: str, rng: random.Random) -> str:
    """Any character as a literal, a short escape or in hex of any case.

    Not as a literal that Python then shows like a byte: that would be two encodings in one text.
    """

    def spell(one: str) -> str:
        literal = json.dumps(one, ensure_ascii=False)[1:-1]
        units = one.encode("utf-16-be")
        escapes = "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))
        upper = escapes.upper().replace("U", "u")
        is_like_a_byte = "\x80" <= one <= "\xff" and not one.isprintable()
        return rng.choice([escapes if is_like_a_byte else literal, escapes, upper])

    return "".join(map(spell, text))


def _url(text: str, rng: random.Random) -> str:
    return rng.choice([quote(text), quote(text, safe=""), quote_plus(text)])


def _mixed_url(text: str, rng: random.Random) -> str:
    """Any byte as it is, where that may be, or in hex of any case."""
    plain = [quote(chr(one)) if one < 128 else f"%{one:02X}" for one in text.encode()]
    return "".join(
        rng.choice([one, f"%{byte:02x}", f"%{byte:02X}"])
        for one, byte in zip(plain, text.encode(), strict=True)
    )


def _repr(text: str, rng: random.Random) -> str:
    return repr(text)[1:-1]


def _shell(text: str, rng: random.Random) -> str:
    """As ``set -x`` shows a word in single quotes, and as Python's shlex writes one."""
    return text.replace("'", rng.choice(["'\\''", "'\"'\"'"]))


def _ansi_c(text: str, rng: random.Random) -> str:
    """As bash writes between ``$'`` and ``'`` in the locale C."""
    short = {7: "a", 8: "b", 9: "t", 10: "n", 11: "v", 12: "f", 13: "r", 27: "E", 39: "'", 92: "\\"}
    return "".join(
        f"\\{short[byte]}" if byte in short else chr(byte) if 31 < byte < 127 else f"\\{byte:03o}"
        for byte in text.encode()
    )


def _backslashed(text: str, rng: random.Random) -> str:
    """As bash's ``%q`` writes a word, and in part ``declare -p``."""
    return re.sub(r"([ -/:-@\[-`{-~])", r"\\\1", text)


def _perl(text: str, rng: random.Random) -> str:
    spelt = (f"\\x{{{ord(one):x}}}" if ord(one) > 126 else one for one in _backslashed(text, rng))
    return "".join(spelt)


def _ascii(text: str, rng: random.Random) -> str:
    """As Python's backslashreplace and YAML write what is not ASCII."""
    return ascii(text)[1:-1]


def _html(text: str, rng: random.Random) -> str:
    def spell(one: str) -> str:
        if one in "&<>\"'" or one > "\x9f":
            return rng.choice([html.escape(one), f"&#{ord(one)};", f"&#x{ord(one):x};"])
        return one

    named = {"&#x27;": rng.choice(["&apos;", "&#039;", "'"])}
    return "".join(named.get(spelt := spell(one), spelt) for one in text).replace("'", "&#39;")


def _bytes_repr(text: str, rng: random.Random) -> str:
    return repr(text.encode())[2:-1]


ESCAPES: list[Spell] = [
    *(_json, _php, _go, _mixed_json, _url, _mixed_url, _repr, _bytes_repr, _ansi_c),
]
spelt_layers = st.lists(st.sampled_from(ESCAPES), max_size=3)


def test_what_bash_says_of_a_secret_is_hidden() -> None:
    for secret in ("p\u00e4ss w\u00f6rd", "a\x1b[0mb\ac", "a b&c$d`e\"f'g\\h"):
        script = 'set -x; v=$1; set +x; printf "%q %s " "$v" "${v@Q}"; declare -p v'
        for locale in ("C", "C.UTF-8"):
            done = subprocess.run(
                ["bash", "-c", script, "bash", secret], capture_output=True, env={"LC_ALL": locale}
            )
            told = Redactor([secret]).bytes(done.stdout + done.stderr).decode()
            assert told.count(MASK) >= 4, told
            assert not any(piece in told for piece in ("ss", "[0m", "&c")), told


def nothing_but_masks(text: str) -> bool:
    return set(text) <= set(MASK + "\r\n")


SHELLS = st.sampled_from([_shell, _ansi_c, _backslashed, _perl, _ascii, _html])


@given(SECRETS, SHELLS, st.sampled_from([_json, None]), SEEDS)
def test_as_shells_and_html_write_it_it_is_hidden(
    secret: str, spell: Spell, around: Spell | None, rng: random.Random
) -> None:
    spelt = spell(secret, rng)
    spelt = around(spelt, rng) if around else spelt
    assert nothing_but_masks(Redactor([secret]).text(spelt))


@given(SECRETS, spelt_layers, SEEDS)
def test_every_escaped_spelling_is_hidden(
    secret: str, layers: list[Spell], rng: random.Random
) -> None:
    spelt = secret
    for layer in layers:
        spelt = layer(spelt, rng)
    redactor = Redactor([secret])
    hidden = redactor.text(f"<{spelt}>")
    assert nothing_but_masks(hidden[1:-1]), hidden
    assert redactor.value([1, {"a": f"<{spelt}>"}]) == [1, {"a": hidden}]


@given(SECRETS, spelt_layers, SEEDS)
def test_what_a_cut_leaves_of_a_secret_is_hidden(
    secret: str, layers: list[Spell], rng: random.Random
) -> None:
    spelt = secret
    for layer in layers[:2]:
        spelt = layer(spelt, rng)
    data = spelt.encode()
    left = Redactor([secret]).bytes(b"<" + data[: rng.randrange(len(data) + 1)], cut=True)
    # of the first character an escape may be there that is not whole: in each layer, six digits
    # for a character or four for a byte
    longest = max(6 * 6, 4 * 6 * len(secret[0].encode()))
    assert len(left[1:].replace(MASK.encode(), b"").replace(b"\n", b"")) < longest, left


def _base64(data: bytes, rng: random.Random) -> str:
    digits = rng.choice([base64.b64encode, base64.urlsafe_b64encode])(data).decode()
    return _wrapped(digits, rng)


def _hex(data: bytes, rng: random.Random) -> str:
    return _wrapped(rng.choice([data.hex(), data.hex().upper()]), rng)


def _wrapped(digits: str, rng: random.Random) -> str:
    column, end = rng.choice([1, 4, 19, 60, 64, 76, 10**6]), rng.choice(["\n", "\r\n"])
    return end.join(digits[at : at + column] for at in range(0, len(digits), column))


@pytest.mark.parametrize(
    ("secret", "spelt"),
    [
        ("it's a pass", "it''s a pass"),
        ('a"b,c', 'a""b,c'),
        ("pässwörd<&co!", "p&auml;ssw&ouml;rd&LT;&AMP;co&excl;"),
        ("a&bcdefgh", "a&ampbcdefgh"),
        ("a&bcdefgh", "a&#0000000038;bcdefgh"),
        ("a&bcdefgh", "a&#x000000026bcdefgh".replace("26b", "26;b")),
        ("ab\0cd\x85\xa0ef\u2028\u2029g", "ab\\0cd\\N\\_ef\\L\\Pg"),
        ("one two", "one\n    two"),
        ("one two", "one\\\n  \\ two"),
        ("hunter2hunter2", "hunter2\x1b[0mhunter2"),
        ("hunter2hunter2", "hun\x00ter2\x7fhun\x9bter2"),
        ("12345678,87654321", "12345678, 87654321"),
    ],
)
def test_rarer_spellings_are_hidden(secret: str, spelt: str) -> None:
    assert nothing_but_masks(Redactor([secret]).text(spelt))
    assert Redactor([secret]).value({"a": [spelt]}) == {"a": [Redactor([secret]).text(spelt)]}


_WORDS = st.lists(st.text(_EVERY_KIND | _AWKWARD, min_size=1, max_size=30), min_size=1, max_size=12)


@given(_WORDS.map(" ".join), st.sampled_from([None, '"', "'"]), st.integers(20, 80))
def test_as_yaml_writes_it_it_is_hidden(secret: str, style: str | None, width: int) -> None:
    """However long, on one line or folded; each line of several is a secret by itself."""
    secret = "".join(secret.splitlines()).strip()
    assume(len(secret) >= 4)
    written = yaml.safe_dump({"k": [f"<{secret}>"]}, default_style=style, width=width)
    hidden = yaml.safe_load(Redactor([secret]).text(written))
    assert nothing_but_masks(hidden["k"][0][1:-1].replace(" ", "")), (written, hidden)


@given(SECRETS, st.integers(4, 76))
def test_lines_of_base64_in_a_list_are_hidden(secret: str, column: int) -> None:
    assume(len(secret.splitlines()) == 1)  # else each line is one by itself
    packed = base64.b64encode(secret.encode()).decode()
    lines = [packed[at : at + column] for at in range(0, len(packed), column)]
    told = Redactor([secret]).value({"n": 1, "lines": lines})
    assert told["n"] == 1
    assert len("".join(told["lines"]).replace(MASK, "").rstrip("=")) <= 3


def test_a_secret_that_control_characters_cut_in_two_is_hidden_at_an_end() -> None:
    redactor = Redactor(["hunter2hunter2"])
    for left in ("hunter2\x1b[0mhunter2", "hunter2\x1b[0mhunt", "hunter2\x1b[0"):
        assert redactor.bytes(f"wrong: {left}".encode(), cut=True) == f"wrong: {MASK}".encode()


PACKINGS = st.sampled_from([_base64, _hex])
AROUND = st.binary(max_size=5)


@given(SECRETS, AROUND, AROUND, PACKINGS, spelt_layers, SEEDS)
def test_every_packed_spelling_is_hidden(
    secret: str,
    before: bytes,
    after: bytes,
    pack: Callable[[bytes, random.Random], str],
    layers: list[Spell],
    rng: random.Random,
) -> None:
    """Only digits of what stands around it are left, and those that share their bits with it."""
    spelt = pack(before + rng.choice([secret, _json(secret, rng)]).encode() + after, rng)
    for layer in layers[:2]:
        spelt = layer(spelt, rng)
    hidden = Redactor([secret]).text(f"<{spelt}>")
    assert MASK in hidden
    rest = hidden[1:-1].replace(MASK, "")
    for layer in reversed(layers[:2]):
        plain = rest.replace("\\/", "/").encode().decode("unicode_escape")
        rest = unquote(rest) if layer in (_url, _mixed_url) else plain
    digits = "".join(rest.split()).rstrip("=")
    assert len(digits) <= 2 * (len(before) + len(after)) + 4, hidden


@given(SECRETS, st.integers(0, 6), SEEDS)
def test_lines_that_are_told_one_by_one_hide_what_goes_over_them(
    secret: str, ahead: int, rng: random.Random
) -> None:
    redactor = Redactor([secret])
    packed = base64.b64encode(b"x" * ahead + secret.encode() + b"x").decode()
    column = rng.randrange(4, 77)
    wrapped = "\n".join(packed[at : at + column] for at in range(0, len(packed), column))
    for text in (secret, wrapped):
        data = f"begin\n{text}\nend\n".encode()
        lines, told = Lines(redactor), []
        for line in data.removesuffix(b"\n").split(b"\n"):
            told += lines.add(line + b"\n")
        told += lines.end(cut=False)
        assert len(told) == data.count(b"\n")
        whole = redactor.bytes(data).removesuffix(b"\n").split(b"\n")
        # of base64 three digits, and those that share bits with others, may be told already
        assert sum(a != b for a, b in zip(told, whole, strict=True)) <= 2
        assert MASK.encode() in b"\n".join(told)


def test_a_line_that_may_begin_a_secret_waits_for_the_next() -> None:
    lines = Lines(Redactor(["one\ntwo"]))
    assert lines.add(b"zero\n") == [b"zero"]
    assert lines.add(b"one\n") == []
    assert lines.add(b"two\n") == [MASK.encode(), MASK.encode()]
    assert lines.add(b"one\n") == []
    assert lines.add(b"three\n") == [b"one", b"three"]
    assert lines.add(b"one\n") == []
    assert lines.end(cut=False) == [b"one"]


@pytest.mark.parametrize("end", [b"\n", b""])
def test_a_secret_that_is_cut_off_before_the_hosts_line_end_is_hidden(end: bytes) -> None:
    redactor = Redactor(["one and two"])
    lines = Lines(redactor)
    assert lines.add(b"so far one and" + end) == []
    assert lines.end(cut=True) == [b"so far " + MASK.encode()]
    assert redactor.bytes(b"so far one and" + end, cut=True) == b"so far " + MASK.encode() + end


def test_a_line_that_ends_in_a_letter_or_two_of_a_secret_is_told_at_once() -> None:
    lines = Lines(Redactor(["one and two"]))
    assert lines.add(b"halo\n") == [b"halo"]
    assert lines.add(b"so far one and\n") == []
    assert lines.add(b"more\n") == [b"so far one and", b"more"]


def test_a_line_that_was_told_before_counts_for_what_comes_after_it() -> None:
    lines = Lines(Redactor(["one\ntwo"]))
    assert lines.add(b"one\n", is_told=True) == []
    assert lines.add(b"two\n") == [MASK.encode()]


@pytest.mark.parametrize(
    "spelt",
    ["987654321", "-987654321", "987654321.0", "9.87654321e8", "98765432.10E+1", "id987654321,"],
)
def test_a_number_is_hidden_however_it_is_spelt(spelt: str) -> None:
    for secret in (987654321, -987654321, 987654321.0, "987654321"):
        assert "98765" not in Redactor([secret]).text(f"the pin is {spelt}")


# Below 2**53 doubles have fractions: as an integer such a one is another number.
_LARGE = st.integers(10**15, 10**399) | st.floats(2.0**53, allow_infinity=False)


@given(_LARGE, st.sampled_from([1, -1]))
def test_a_large_number_is_hidden_as_the_double_that_programs_make_of_it(
    secret: float, sign: int
) -> None:
    texts = [str(secret)] if isinstance(secret, int) else []
    doubles = [float(secret), int(float(secret))] if secret < 1e308 else []
    answers = [sign * one for one in (secret, *doubles)]
    as_given: list[str | float] = [secret, *texts]
    for one_way in as_given:
        redactor = Redactor([one_way])
        assert redactor.value(answers) == [MASK] * len(answers)
        for one in answers:
            assert redactor.text(f"it is {json.dumps(one)}!") in (
                f"it is {MASK}!",
                f"it is -{MASK}!",
            )


def test_a_card_number_as_jq_rounds_it_is_hidden() -> None:
    assert Redactor(["4111111111111111119"]).value({"n": 4111111111111111000}) == {"n": MASK}


@pytest.mark.parametrize("secret", [0.98765432, "0.98765432", "-.98765432"])
def test_a_fraction_is_hidden_without_its_zero(secret: float | str) -> None:
    redactor = Redactor([secret])
    assert "987" not in redactor.text("is .98765432, -.98765432")
    assert redactor.text("1.98765432 .987654321") == "1.98765432 .987654321"


@pytest.mark.parametrize("spelt", ["1987654321", "987654321.5", "98765432", "0.987654321"])
def test_other_numbers_stay(spelt: str) -> None:
    assert Redactor([987654321]).text(spelt) == spelt
    assert Redactor([987654321]).value({"n": json.loads(spelt)}) == {"n": json.loads(spelt)}


@given(st.integers() | st.floats(allow_nan=False, allow_infinity=False))
def test_no_number_of_four_characters_survives(secret: float) -> None:
    hidden = Redactor([secret]).value({"a": [secret, {"b": -secret}], "text": f"is {secret}!"})
    if len(json.dumps(int(abs(secret)) if secret == int(secret) else abs(secret))) >= 4:
        assert hidden["a"] == [MASK, {"b": MASK}]
        assert str(abs(secret)) not in hidden["text"]
    else:
        assert hidden["a"] == [secret, {"b": -secret}]


def test_truth_values_and_zeros_stay() -> None:
    value = {"a": True, "b": False, "c": 0, "d": 1, "e": None, "f": 0.5}
    assert Redactor(["0000", "1.00", 0, 1, "true", 0.5]).value(value) == value
