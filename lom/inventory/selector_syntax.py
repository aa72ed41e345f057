"""The syntax of selectors: text to a small tree of frozen values and back.

What the words of a selector mean, and which targets they pick, is in ``selectors``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, NoReturn

from lmm.errors import RequestError
from lom.inventory.ranges import MAX_NAMES, RangeError, expand
from lom.names import RESERVED, shown

MAX_DEPTH = 50

_TOKEN = re.compile(r"[(),]|(?:\[[^\[\]\s]*\]|[^\s(),\[\]])+")
_VARIABLE = re.compile(r"([A-Za-z0-9_][A-Za-z0-9_.-]*)(!?)=(.*)")
_FOREIGN = re.compile(r"[^A-Za-z0-9_.\-*?\[\],:@/\\+%$]")
_PASSWORD = re.compile(r"(?<![^\s(),])([a-z]+://)?[^\s(),@=:]*:(?!//)[^\s(),@]*@")


class Word(NamedTuple):
    """A target, group, range, glob, ``all`` or a host that is not in the inventory."""

    text: str

    def __str__(self) -> str:
        return self.text


class Variable(NamedTuple):
    """Targets whose variable ``key`` (dotted for nested ones) matches ``value``."""

    key: str
    value: str

    def __str__(self) -> str:
        return f"{self.key}={self.value}"


class FileWord(NamedTuple):
    """The selectors in a file, one a line, united."""

    path: str

    def __str__(self) -> str:
        return f"@{self.path}"


@dataclass(frozen=True, slots=True)
class Not:
    operand: Selector

    def __str__(self) -> str:
        return f"not {_inner(self.operand)}"


@dataclass(frozen=True, slots=True)
class And:
    operands: tuple[Selector, ...]

    def __str__(self) -> str:
        return " and ".join(map(_inner, self.operands))


@dataclass(frozen=True, slots=True)
class Or:
    operands: tuple[Selector, ...]

    def __str__(self) -> str:
        return " or ".join(map(_inner, self.operands))


Selector = Word | Variable | FileWord | Not | And | Or


def _inner(selector: Selector) -> str:
    return f"({selector})" if isinstance(selector, And | Or) else str(selector)


def names_file(selector: Selector) -> bool:
    """Whether ``@file`` stands anywhere in it."""
    match selector:
        case FileWord():
            return True
        case Not(operand):
            return names_file(operand)
        case And(operands) | Or(operands):
            return any(map(names_file, operands))
    return False


def parse(text: str) -> Selector:
    """Return the tree of a selector. Raises RequestError (``selector_invalid``), with a caret."""
    if _PASSWORD.search(text):
        raise RequestError(
            "selector_invalid",
            "a selector holds no password; give ssh.password: env:NAME in the inventory",
        )
    return _Parser(text).parse()


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = list(self._tokens())
        self.index = 0
        self.depth = 0
        self.names = 0

    def _tokens(self) -> Iterator[tuple[str, int]]:
        at = 0
        while at < len(self.text):
            if self.text[at].isspace():
                at += 1
                continue
            found = _TOKEN.match(self.text, at)
            if not found:
                self.fail("a bracket has no partner, or a space stands in a range", at)
            yield found[0], at
            at = found.end()
        yield "", len(self.text)

    def fail(self, why: str, at: int) -> NoReturn:
        start = max(0, at - 50)
        window = "".join(c if c.isprintable() else "?" for c in self.text[start : start + 70])
        raise RequestError(
            "selector_invalid",
            f"{why}, at character {at + 1} of the selector\n  {window}\n  {' ' * (at - start)}^",
            position=at + 1,
        )

    @property
    def token(self) -> str:
        return self.tokens[self.index][0]

    def unexpected(self, wanted: str) -> NoReturn:
        token, at = self.tokens[self.index]
        self.fail(f"{wanted}, not {shown(token)}" if token else f"{wanted}, not the end", at)

    def parse(self) -> Selector:
        selector = self.any_of()
        if self.token:
            self.unexpected("expected 'and', 'or' or ','")
        return selector

    def any_of(self) -> Selector:
        return self.chain(("or", ","), self.all_of, Or)

    def all_of(self) -> Selector:
        return self.chain(("and",), self.negation, And)

    def chain(
        self,
        operators: tuple[str, ...],
        operand: Callable[[], Selector],
        build: type[And] | type[Or],
    ) -> Selector:
        operands = [operand()]
        while self.token in operators:
            self.index += 1
            operands.append(operand())
        return operands[0] if len(operands) == 1 else build(tuple(operands))

    def negation(self) -> Selector:
        token, at = self.tokens[self.index]
        if token not in ("not", "("):
            return self.word()
        self.depth += 1
        if self.depth > MAX_DEPTH:
            self.fail(f"nested more than {MAX_DEPTH} levels deep", at)
        self.index += 1
        if token == "not":
            inner: Selector = Not(self.negation())
        else:
            inner = self.any_of()
            if self.token != ")":
                self.unexpected("expected ')'")
            self.index += 1
        self.depth -= 1
        return inner

    def word(self) -> Selector:
        token, at = self.tokens[self.index]
        if token in ("", ")", ",") or token in RESERVED - {"all"}:
            self.unexpected("expected a target, a group or '('")
        self.index += 1
        if token.startswith("@"):
            if token == "@":
                self.fail("expected a file name after '@'", at)
            return FileWord(token[1:])
        variable = _VARIABLE.fullmatch(token)
        if variable:
            self.expand(variable[3], at + variable.start(3))
            equal = Variable(variable[1], variable[3])
            return Not(equal) if variable[2] else equal
        foreign = _FOREIGN.search(token)
        if foreign:
            why = f"unexpected {shown(foreign[0])}; the operators are and, or, not and ','"
            self.fail(why, at + foreign.start())
        self.expand(token, at)
        return Word(token)

    def expand(self, text: str, at: int) -> None:
        try:
            self.names += len(expand(text))
        except RangeError as error:
            self.fail(str(error), at + error.offset)
        if self.names > MAX_NAMES:
            self.fail(f"the selector stands for more than {MAX_NAMES} names", at)
