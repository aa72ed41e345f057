"""The lines of ssh_config files, and the blocks that they stand in, each as it is written.

What they come to for one host belongs to ``configfile``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from lmm.errors import RequestError
from lmm.ssh.keywords import KEYWORDS

MATCH_ALONE = frozenset({"all", "canonical", "final"})
# Of readconf.c in OpenSSH 10; what only ssh can judge among them is told as such.
MATCH_WITH = frozenset(
    {"command", "exec", "host", "localnetwork", "localuser", "originalhost", "sessiontype"}
    | {"tagged", "user", "version"}
)
# Settings that RUNE uses and that have one value: ssh refuses a line with more.
SINGLE = frozenset(
    {"certificatefile", "connecttimeout", "hashknownhosts", "hostkeyalias", "hostname"}
    | {
        "identitiesonly",
        "identityagent",
        "identityfile",
        "ignoreunknown",
        "port",
        "stricthostkeychecking",
        "user",
    }
)
_YES = frozenset({"yes", "no", "true", "false"})
_ONE_OF = {
    "hashknownhosts": _YES,
    "identitiesonly": _YES,
    "stricthostkeychecking": _YES | {"ask", "off", "accept-new"},
}
RAW = frozenset({"proxycommand", "proxyjump", "localcommand", "remotecommand", "knownhostscommand"})


@dataclass(frozen=True, slots=True)
class Setting:
    """One line. A command is one word, spaces and all."""

    keyword: str
    words: tuple[str, ...]
    file: str
    number: int
    is_users: bool  # from the user's file, not the system's

    @property
    def value(self) -> str:
        return self.words[0] if self.words else ""

    @property
    def place(self) -> str:
        return f"{self.file}:{self.number}"

    def error(self, problem: str) -> RequestError:
        """Return the RequestError (``config_invalid``) that names this line."""
        return RequestError(
            "config_invalid",
            f"{self.place}: {self.keyword}: {problem}",
            file=self.file,
            line=self.number,
            field=self.keyword,
        )


@dataclass(slots=True)
class Block:
    """The lines below one ``Host`` or ``Match`` (``condition``), or before the first of them."""

    condition: Setting | None
    body: list[Setting | list[Block]] = field(default_factory=list)
    exact: frozenset[str] = frozenset()  # of a Host line: plain names, found without patterns
    patterns: tuple[str, ...] = ()
    has_unknown: bool = False  # a line here, or in what it includes, has no known keyword

    def add(self, item: Setting | list[Block]) -> None:
        self.body.append(item)
        if isinstance(item, list):
            self.has_unknown |= any(block.has_unknown for block in item)
        else:
            self.has_unknown |= item.keyword not in KEYWORDS


def match_criteria(line: Setting) -> Iterator[tuple[bool, str, str]]:
    """Yield (negated, attribute, argument) of a Match line. Raises RequestError."""
    words = iter(line.words)
    for word in words:
        negated = word.startswith("!")
        attribute, _, argument = word[negated:].partition("=")
        attribute = attribute.lower()
        if attribute not in MATCH_ALONE | MATCH_WITH:
            raise line.error(f"ssh knows no condition {attribute!r}")
        if attribute not in MATCH_ALONE and not argument:
            argument = next(words, "")
            if not argument:
                raise line.error(f"{attribute} needs an argument")
        yield negated, attribute, argument


def text_of(path: str, data: bytes) -> str:
    """Decode a file as ssh would read it. Raises RequestError for what it would misread."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in data:
        raise invalid(path, "is not plain text but UTF-16 or binary; save it as UTF-8")
    if data.startswith(b"\xef\xbb\xbf"):
        raise invalid(path, "begins with a byte order mark, which ssh refuses; save it without")
    return data.decode("utf-8", errors="surrogateescape")


def block_of(line: Setting) -> Block:
    if not line.words:
        raise line.error("needs an argument")
    if line.keyword == "match":
        list(match_criteria(line))  # raises for what cannot be read
        return Block(line)
    if any(word.startswith("!") for word in line.words):
        return Block(line, patterns=line.words)
    exact = frozenset(word for word in line.words if not set(word) & {"*", "?"})
    return Block(line, exact=exact, patterns=tuple(w for w in line.words if w not in exact))


def parse_line(raw: str, file: str, number: int, is_users: bool) -> Setting | None:
    """Return the line's setting, ``None`` for blank lines and comments. Raises RequestError."""
    text = raw.rstrip(" \t\r\f").lstrip(" \t")
    if not text or text.startswith("#"):
        return None
    end = next((at for at, sign in enumerate(text) if sign in " \t="), len(text))
    keyword = text[:end].strip('"').lower()
    rest = text[end:].lstrip(" \t")
    rest = rest.removeprefix("=").lstrip(" \t")
    if keyword in RAW:
        value = rest.partition("#")[0].strip() if keyword == "proxyjump" else rest
        return _checked(Setting(keyword, (value,), file, number, is_users))
    words = split_words(rest)
    if words is None:
        raise invalid(file, f"line {number}: a quote is not closed")
    return _checked(Setting(keyword, tuple(words), file, number, is_users))


def _checked(line: Setting) -> Setting:
    """Return the line. Raises RequestError for a value of no use, whichever host it is for."""
    if line.keyword in SINGLE and len(line.words) > 1:
        raise line.error(f"has more than one value: {' '.join(line.words)}")
    if line.keyword in SINGLE | RAW | {"include"} and not line.value:
        raise line.error("has no value")
    known = _ONE_OF.get(line.keyword)
    if known and line.value.lower() not in known:
        raise line.error(f"{line.value!r} is none of {', '.join(sorted(known))}")
    return line


def split_words(text: str) -> list[str] | None:
    """Split as argv_split of OpenSSH does; ``None`` where a quote is not closed.

    A ``#`` at the start of a word ends the line.
    """
    words: list[str] = []
    at = 0
    while at < len(text):
        if text[at] in " \t":
            at += 1
            continue
        if text[at] == "#":
            break
        word, quote = "", ""
        while at < len(text):
            sign, following = text[at], text[at + 1 : at + 2]
            escapable = "'\"\\" if quote else "'\"\\ "
            if sign == "\\" and following and following in escapable:
                word += following
                at += 1
            elif sign in "'\"" and quote in ("", sign):
                quote = "" if quote else sign
            elif sign in " \t" and not quote:
                break
            else:
                word += sign
            at += 1
        if quote:
            return None
        words.append(word)
    return words


def invalid(path: str, problem: str) -> RequestError:
    return RequestError("config_invalid", f"{path}: {problem}", file=path)
