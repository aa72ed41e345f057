"""Finds secrets in bytes, however JSON, URLs, shells, HTML, Python, base64 or hex spell them.

What is escaped is looked at as it was before, up to ``DEPTH`` times: JSON within JSON, a URL within
JSON. What is packed (base64, hex) is looked for without the white space that wraps it into lines.
"""

from __future__ import annotations

import base64
import functools
import json
import re
import sys
from collections.abc import Iterable, Iterator
from html.entities import html5
from typing import NamedTuple
from urllib.parse import quote

DEPTH = 3

_Escapes = tuple[tuple[bytes, re.Pattern[bytes]], ...]
Span = tuple[int, int]  # begin and end of what is to be hidden

_HEX = rb"[0-9a-fA-F]"
_PAIR = rb"\\u[dD][89abAB]%b{2}\\u[dD][c-fC-F]%b{2}" % (_HEX, _HEX)
_WIDE = rb"\{(?:%b{1,5}|10%b{4})\}" % (_HEX, _HEX)  # as Perl and Rust write any character
_BACKSLASH = re.compile(
    rb"%b|\\(?:[ -/:-@\[-`{-~abeEfnrtv]|[0-3][0-7]{2}|[xu]%b|x%b{2}|u%b{4}|U00(?:0%b|10)%b{4}"
    rb"|[0NLP]|\r?\n[ \t]*)" % (_PAIR, _WIDE, *[_HEX] * 4)
)
_PERCENT = re.compile(rb"%%%b{2}" % _HEX)
_ENTITY = re.compile(
    rb"&(?:[A-Za-z][A-Za-z0-9]{1,31};|(?:amp|lt|gt|quot|AMP|LT|GT|QUOT|#\d{1,20}|#[xX]%b{1,16});?)"
    % _HEX
)
_FOLD = re.compile(rb"\r?\n +")  # of a text with blanks, as YAML breaks it at 80 columns
# what RUNE, and a terminal, leave out where a host speaks
_CONTROL = re.compile(rb"\x1b\[[0-?]*[ -/]*[@-~]|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\xc2[\x80-\x9f]")
_CONTROLS = bytes({*range(32), 127}.difference(b"\t\r\n"))
_ESCAPES = ((b"\\", _BACKSLASH), (b"%", _PERCENT), (b"&", _ENTITY), (b"", _CONTROL))
_FOLDS = ((b"\n ", _FOLD),)
_RARE = re.compile(rb"\\(?:[^\"'\\/bfnrtuU]|u\{)")  # what _plain does not know how to do fast
_LONG = re.compile(rb"%b|\\(?:x%b{2}|u%b{4}|U00(?:0%b|10)%b{4})" % (_PAIR, *[_HEX] * 4))
# an escape at the end that more bytes would have completed
_UNFINISHED = re.compile(
    rb"(?:\\u[dD][89abAB]%b{2}(?:\\(?:u%b{0,3})?)?|\\(?:x%b?|u%b{0,3}|U%b{0,7}|[xu]\{%b{0,6}"
    rb"|[0-3][0-7]?)?|%%%b?|\x1b(?:\[[0-?]*[ -/]*)?"
    rb"|&(?:[A-Za-z][A-Za-z0-9]{0,31}|#\d{0,20}|#[xX]%b{0,16})?)\Z" % ((_HEX,) * 8)
)
_NUMBER = re.compile(rb"(?<!\d)(?<!\d\.)\d{1,400}(?:\.\d{1,400})?(?:[eE][-+]?\d{1,3})?(?!\d)")
_FRACTION = re.compile(rb"(?<!\d)\.\d{1,400}(?:[eE][-+]?\d{1,3})?(?!\d)")  # as bc writes one
_SHORT = dict(zip(b"\"'\\/bfnrt", b"\"'\\/\b\f\n\r\t", strict=True))
_RARER = {
    **dict(zip(b"aeEv0", ["\a", "\x1b", "\x1b", "\v", "\0"], strict=True)),
    **dict(zip(b"LP", ["\u2028", "\u2029"], strict=True)),
}
_LISTED = re.compile(r"([,:])[ \t\r\n]*")
_SLASH = ord("\\")
_BASE64 = bytes.maketrans(b"-_", b"+/")
_LOWER = bytes.maketrans(b"ABCDEF", b"abcdef")
_BLANK = b' \t\r\n",'  # also what stands between the lines in a list
# a digit that shares its bits with what stands beside the secret
_DIGIT_BEFORE = rb"(?:[A-Za-z0-9+/_-][%b]*)?" % _BLANK
_DIGIT_AFTER = rb"(?:[%b]*[A-Za-z0-9+/_-])?" % _BLANK
_EITHER = {b"+": rb"[+-]", b"/": rb"[/_]"}


class Finder:
    """Looks for texts as they are and encoded, and for numbers of the same value."""

    def __init__(self, texts: Iterable[str], numbers: Iterable[float]) -> None:
        self._numbers = {_magnitude(one) for one in numbers}
        self._has_fractions = any(one < 1 for one in self._numbers)
        texts = {*texts, *(str(one) for one in self._numbers if isinstance(one, int))}
        whole = {*texts, *(json.dumps(one) for one in numbers)}
        self._texts = sorted({form for text in texts for form in _forms(text)})
        self._begins = sorted({form for text in whole for form in _forms(text)})
        self._escapes = _ESCAPES + (_FOLDS if any(b" " in text for text in self._texts) else ())
        inner = {form for text in whole for form in _escaped(text)}
        self._packed = [packed for data in sorted(inner) for packed in _packings(data)]

    def has(self, number: float) -> bool:
        """Return whether the number is a secret, of either sign, as a double."""
        return _magnitude(number) in self._numbers

    def spans(self, data: bytes, *, cut_from: int | None = None, more: int = 0) -> list[Span]:
        """Return where the secrets stand, in order; those that touch are one.

        With ``cut_from`` also where ``unfinished`` says, from so many digits on, and before a line
        end: it may be what the host writes ahead of its own line. There may be so many ``more``
        layers of escapes.
        """
        found: list[Span] = []
        for view in _views(data, self._escapes, DEPTH + more):
            found += view.origins(_joined(self._spans_in(view.data)))
        if cut_from is not None:
            printed = data.removesuffix(b"\n")
            if (begin := self.unfinished(printed, cut_from)) < len(printed):
                found.append((begin, len(printed)))
        return _joined(found)

    def unfinished(self, data: bytes, least: int) -> int:
        """Return where a secret begins that more bytes may complete; the length if none does.

        Of what is packed, at least ``least`` digits must be there: fewer tell nothing, and stand
        at the end of many a word.
        """
        at = len(data)
        for view in _views(data, self._escapes, DEPTH, cut=True):
            plain, end = _unplussed(view.data), len(view.data)
            starts = [end - _begun(plain, text) for text in self._begins]
            unwrapped = {table: _unwrapped(view.data, table) for table in (_BASE64, _LOWER)}
            for packed in self._packed:
                digits = _begun(unwrapped[packed.table], packed.digits)
                if digits >= least:
                    starts.append(_back(view.data, digits))
            if (start := min(starts, default=end)) < end:
                at = min(at, *(begin for begin, _ in view.origins([(start, end)])))
        return at

    def _spans_in(self, data: bytes) -> Iterator[Span]:
        plain = _unplussed(data)
        for text in self._texts:
            at = plain.find(text)
            while at >= 0:
                yield at, at + len(text)
                at = plain.find(text, at + 1)
        unwrapped = {table: _unwrapped(data, table) for table in (_BASE64, _LOWER)}
        for packed in self._packed:
            if packed.digits in unwrapped[packed.table]:
                yield from (one.span() for one in packed.pattern().finditer(data))
        for pattern in (_NUMBER,) * bool(self._numbers) + (_FRACTION,) * self._has_fractions:
            found = pattern.finditer(data)
            yield from (one.span() for one in found if float(one[0]) in self._numbers)


# -- what is escaped -----------------------------------------------------------------------------


class _View(NamedTuple):
    """A text as it was before it was escaped, ``parent`` the text with the escapes."""

    data: bytes
    parent: _View | None = None
    escape: re.Pattern[bytes] = _BACKSLASH
    depth: int = 0

    def origins(self, spans: list[Span]) -> list[Span]:
        """Return where spans, in order and apart, stand in the text that was given."""
        if self.parent is None or not spans:
            return spans
        escapes = self.escape.finditer(self.parent.data)
        escape = next(escapes, None)
        here = there = 0  # after the last escape before the place, and where that is in the parent
        found = []
        for place in (place for span in spans for place in span):
            while escape is not None:
                after = here + escape.start() - there + len(_meaning(escape[0]))
                if after > place:
                    break
                here, there = after, escape.end()
                escape = next(escapes, None)
            found.append(there + place - here)
        return self.parent.origins(list(zip(found[::2], found[1::2], strict=True)))


def _views(data: bytes, escapes: _Escapes, depth: int, *, cut: bool = False) -> list[_View]:
    """Return the text, and what it is without up to ``depth`` layers of escapes.

    With ``cut`` the text is not whole: an escape that its end breaks is left out.
    """
    views = [_View(data)]
    for view in views:
        if view.depth == depth:
            break
        whole = view.data
        if cut and (broken := _UNFINISHED.search(whole, max(0, len(whole) - 40))):
            whole = whole[: broken.start()]
        for sign, escape in escapes:
            if sign not in view.data or (escape is _CONTROL and not _has_controls(view.data)):
                continue
            plain = _plain(whole, escape)
            if all(plain != one.data for one in views):
                views.append(_View(plain, view, escape, view.depth + 1))
    return views


def _has_controls(data: bytes) -> bool:
    """Return whether ``_CONTROL`` finds anything, in a tenth of the time."""
    is_shorter = len(data.translate(None, _CONTROLS)) < len(data)
    return is_shorter or bool(re.search(rb"\xc2[\x80-\x9f]", data))


def _plain(data: bytes, escape: re.Pattern[bytes]) -> bytes:
    """Return what ``escape.sub(_replaced, data)`` returns, in a fifth of the time."""
    if escape is not _BACKSLASH or b"\xff" in data or _RARE.search(data):
        return escape.sub(_replaced, data)
    data = data.replace(b"\\\\", b"\xff")
    for letter, meaning in _SHORT.items():
        if letter != _SLASH:
            data = data.replace(b"\\%c" % letter, b"%c" % meaning)
    if b"\\" in data:
        data = _LONG.sub(_replaced, data)
    return data.replace(b"\xff", b"\\")


def _replaced(escape: re.Match[bytes]) -> bytes:
    return _meaning(escape[0])


@functools.lru_cache(maxsize=1024)
def _meaning(escape: bytes) -> bytes:
    if escape.startswith(b"%"):
        return bytes([int(escape[1:], 16)])
    if escape.startswith(b"&"):
        name = escape[1:].rstrip(b";").decode()
        if name.startswith("#"):
            return _character(name[1:].replace("x", "X").encode())
        return html5[f"{name};"].encode() if f"{name};" in html5 else escape
    if escape.startswith((b"\r", b"\n")):
        return b" "
    if escape < b" " or escape.startswith((b"\x7f", b"\xc2")):
        return b""
    if escape.startswith((b"\\\r", b"\\\n")):  # YAML and shells go on in the next line
        return b""
    if escape == b"\\N":
        return b"\x85"  # one byte, as the other characters of Latin-1 that YAML escapes
    if len(escape) == 2:
        rarer = _RARER.get(escape[1])
        return rarer.encode() if rarer else bytes([_SHORT.get(escape[1], escape[1])])
    if escape.endswith(b"}"):
        return _character(b"X" + escape[3:-1])
    if escape[1:2] == b"x":
        return bytes([int(escape[2:], 16)])
    if escape[1:2].isdigit():
        return bytes([int(escape[1:], 8)])
    units = [int(unit, 16) for unit in re.split(rb"\\[uU]", escape)[1:]]
    if len(units) == 2:
        return chr(0x10000 + ((units[0] & 0x3FF) << 10) + (units[1] & 0x3FF)).encode()
    return chr(units[0]).encode("utf-8", "surrogatepass")


def _character(number: bytes) -> bytes:
    """Return the character of a decimal number, or of a hexadecimal one behind an X."""
    code = int(number[1:], 16) if number.startswith(b"X") else int(number)
    return chr(min(code, sys.maxunicode)).encode("utf-8", "surrogatepass")


def _forms(text: str) -> Iterator[bytes]:
    """Yield the text with a form's blanks, either kind of line ends, and as shells, YAML and CSV
    quote it; of what is in a list also with the blanks that JSON has there.

    Also as Latin-1, for a character below 256 that is escaped as one byte: all of them (YAML) or
    those that cannot be printed (Python's repr).
    """
    unix = text.replace("\r\n", "\n")
    quoted = (text.replace("'", sign) for sign in ("'\\''", "'\"'\"'", "''"))
    # as text, "\_" is a blank in YAML alone
    others = (text.replace('"', '""'), text.replace("\xa0", "_"), _LISTED.sub(r"\1 ", text))
    for form in (text, unix, unix.replace("\n", "\r\n"), *quoted, *others):
        yield _unplussed(form.encode("utf-8", "surrogatepass"))
        for escaped in (_is_latin, lambda one: _is_latin(one) and not one.isprintable()):
            parts = (one.encode("latin-1" if escaped(one) else "utf-8") for one in form)
            yield _unplussed(b"".join(parts))


def _is_latin(character: str) -> bool:
    return "\x7f" < character < "\u0100"


# -- what is packed ------------------------------------------------------------------------------


class _Packed(NamedTuple):
    """The digits that only the secret decides, and whether a digit before and after shares bits."""

    digits: bytes
    table: bytes
    before: bool = False
    after: bool = False

    def pattern(self) -> re.Pattern[bytes]:
        """Return what finds the digits in any lines and with either alphabet."""
        digits = (bytes([digit]) for digit in self.digits)
        spelt = (
            _EITHER.get(one, one) if self.table is _BASE64 else b"[%b%b]" % (one, one.upper())
            for one in digits
        )
        body = (rb"[%b]*" % _BLANK).join(spelt)
        return re.compile(_DIGIT_BEFORE * self.before + body + _DIGIT_AFTER * self.after)


def _escaped(text: str) -> Iterator[bytes]:
    """Yield the usual forms in which a text is packed with others: a document, a form."""
    yield text.encode("utf-8", "backslashreplace")
    for ascii_only in (True, False):
        yield json.dumps(text, ensure_ascii=ascii_only)[1:-1].encode("utf-8", "backslashreplace")
    yield quote(text, safe="", errors="backslashreplace").encode()


def _packings(data: bytes) -> Iterator[_Packed]:
    for ahead in range(3):  # bytes of the group of three that begins before the secret
        digits = base64.b64encode(bytes(ahead) + data + bytes(2))
        bits = 8 * (ahead + len(data))
        core = digits[-(-8 * ahead // 6) : bits // 6]
        yield _Packed(core, _BASE64, ahead > 0, bits % 6 > 0)
    yield _Packed(data.hex().encode(), _LOWER)


def _unwrapped(data: bytes, table: bytes) -> bytes:
    return data.translate(table, _BLANK)


def _back(data: bytes, digits: int) -> int:
    """Return where the last ``digits`` bytes that are not blank begin."""
    at = len(data)
    while digits:
        at -= 1
        digits -= data[at] not in _BLANK
    return at


# -- small helpers -------------------------------------------------------------------------------


def _unplussed(data: bytes) -> bytes:
    """Return the bytes with the blanks that forms write as a plus."""
    return data.replace(b"+", b" ")


def _begun(data: bytes, text: bytes) -> int:
    """Return how many bytes at the end of ``data`` begin ``text`` and do not end it."""
    tail = data[-len(text) + 1 :] if len(text) > 1 else b""
    at = tail.find(text[:1])
    while at >= 0 and not text.startswith(tail[at:]):
        at = tail.find(text[:1], at + 1)
    return len(tail) - at if at >= 0 else 0


def _joined(spans: Iterable[Span]) -> list[Span]:
    joined: list[Span] = []
    for begin, end in sorted(spans):
        if joined and begin <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(end, joined[-1][1])
        else:
            joined.append((begin, end))
    return joined


def _magnitude(number: float) -> float:
    """Return the magnitude as most programs read it: as a double, where it is one."""
    try:
        return abs(float(number))
    except OverflowError:
        return abs(number)
