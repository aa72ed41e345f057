"""Selectors: expressions that pick targets, e.g. ``gpu and not rack3`` or ``node[001-128]``.

``parse`` (in ``selector_syntax``) gives a tree, ``evaluate`` applies it to an inventory; only
``select`` reads files (``@file``).
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterator, Mapping, Sequence

from lmm.errors import RequestError
from lmm.model import JSON, Target
from lom.documents.facts import is_same, spelt
from lom.inventory.hosts import ad_hoc_target
from lom.inventory.model import Inventory
from lom.inventory.ranges import MAX_NAMES, expand
from lom.inventory.selector_syntax import And, FileWord, Not, Or, Selector, Variable, Word, parse
from lom.names import did_you_mean, shown

__all__ = ["evaluate", "parse", "select"]

MAX_FILE_CHARACTERS = 16 * 1024 * 1024


def select(expressions: Sequence[str], inventory: Inventory) -> list[Target]:
    """Return the targets that any of the expressions picks.

    Those of the inventory come first, in its order, then hosts given straight, in theirs; each
    once. Raises RequestError: ``selector_invalid``, ``unknown_target``, or ``selector_empty``
    if one of the expressions matches nothing.
    """
    known: set[str] = set()
    straight: dict[str, Target] = {}
    for text in expressions:
        found = evaluate(_with_files(parse(text)), inventory)
        if not found:
            hint = "" if inventory.targets else "; no inventory is loaded"
            raise RequestError(
                "selector_empty", f"selector {shown(text)} matches no target{hint}", selector=text
            )
        for target in found:
            if target.name in inventory.targets:
                known.add(target.name)
            else:
                straight[target.name] = target
        if len(straight) > MAX_NAMES:
            raise RequestError(
                "selector_invalid", f"more than {MAX_NAMES} hosts are given that no inventory has"
            )
    return [
        *(target for name, target in inventory.targets.items() if name in known),
        *straight.values(),
    ]


# --- files ---------------------------------------------------------------------------------


def _with_files(selector: Selector) -> Selector:
    """Return the selector with every ``@file`` replaced by what stands in the file."""
    match selector:
        case FileWord(path):
            return _read(path)
        case Not(operand):
            return Not(_with_files(operand))
        case And(operands):
            return And(tuple(map(_with_files, operands)))
        case Or(operands):
            return Or(tuple(map(_with_files, operands)))
    return selector


def _read(path: str) -> Selector:
    try:
        with open(os.path.expanduser(path), encoding="utf-8-sig") as file:
            text = file.read(MAX_FILE_CHARACTERS + 1)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "it is not a UTF-8 text file"
        raise RequestError(
            "selector_invalid", f"cannot read the selectors in {shown(path)}: {why}"
        ) from None
    if len(text) > MAX_FILE_CHARACTERS:
        raise RequestError("selector_invalid", f"{shown(path)} is larger than 16 MiB")
    selectors = []
    for number, line in enumerate(text.splitlines(), 1):
        content = re.sub(r"(^|\s)#.*", "", line).strip()
        if not content:
            continue
        try:
            selector = parse(content)
        except RequestError as error:
            raise RequestError(
                error.reason, f"{path}:{number}: {error.message}", **error.data
            ) from None
        if any(isinstance(part, FileWord) for part in _parts(selector)):
            raise RequestError(
                "selector_invalid", f"{path}:{number}: a file of selectors names no other file"
            )
        selectors.append(selector)
    return Or(tuple(selectors))


def _parts(selector: Selector) -> Iterator[Selector]:
    yield selector
    match selector:
        case Not(operand):
            yield from _parts(operand)
        case And(operands) | Or(operands):
            for operand in operands:
                yield from _parts(operand)


# --- evaluation ----------------------------------------------------------------------------


def evaluate(selector: Selector, inventory: Inventory) -> list[Target]:
    """Return the targets that a selector without ``@file`` picks; it may be none.

    The universe, against which ``not`` is taken, is the inventory and the hosts that the selector
    itself gives straight. Raises RequestError (``unknown_target``, ``selector_invalid``).
    """
    universe = dict(inventory.targets)
    words: dict[str, frozenset[str]] = {}
    for part in _parts(selector):
        if isinstance(part, Word) and part.text not in words:
            names: set[str] = set()
            for name in expand(part.text):
                known = _known(name, inventory)
                if known is None:
                    target = ad_hoc_target(name, inventory)
                    universe[target.name] = target
                    known = {target.name}
                names |= known
            words[part.text] = frozenset(names)

    def names_of(part: Selector) -> frozenset[str]:
        match part:
            case Word(text):
                return words[text]
            case Variable(key, value):
                return _having(key, value, universe)
            case Not(operand):
                return frozenset(universe.keys() - names_of(operand))
            case And(operands):
                return frozenset.intersection(*map(names_of, operands))
            case Or(operands):
                return frozenset().union(*map(names_of, operands))
        raise AssertionError(f"{part} is read by select()")

    picked = names_of(selector)
    return [target for name, target in universe.items() if name in picked]


def _known(word: str, inventory: Inventory) -> set[str] | None:
    """Return the names that a word means in the inventory, None if it means nothing there."""
    if word == "all":
        return set(inventory.targets)
    if word in inventory.targets:
        return {word}
    if word in inventory.groups:
        return set(inventory.groups[word])
    if word in inventory.instances:
        return {inventory.instances[word]}
    if "*" not in word and "?" not in word:
        return None
    pattern = _glob(word)
    names = {name for name in inventory.targets if pattern.fullmatch(name)}
    for group, members in inventory.groups.items():
        if pattern.fullmatch(group):
            names.update(members)
    return names


@functools.lru_cache(maxsize=256)
def _glob(text: str) -> re.Pattern[str]:
    return re.compile(re.escape(text).replace(r"\*", ".*").replace(r"\?", "."), re.DOTALL)


def _having(key: str, value: str, universe: Mapping[str, Target]) -> frozenset[str]:
    texts = expand(value)
    patterns = [_glob(text) for text in texts]
    path = key.split(".")
    found = {name: _lookup(target.vars, path) for name, target in universe.items()}
    if all(value is None for value in found.values()):
        known = {name for target in universe.values() for name in target.vars}
        raise RequestError(
            "selector_invalid", f"no target has a variable {key!r}{did_you_mean(key, known)}"
        )
    return frozenset(
        name
        for name, items in found.items()
        if any(
            any(pattern.fullmatch(spelt(item)) for pattern in patterns)
            or any(is_same(item, text) for text in texts)
            for item in items or ()
        )
    )


def _lookup(value: JSON, path: Sequence[str]) -> list[JSON] | None:
    """Return the values of a variable, a list's items each; None if there is none."""
    for key in path:
        if not isinstance(value, Mapping) or key not in value:
            return None
        value = value[key]
    items = value if isinstance(value, list) else [value]
    return [item for item in items if not isinstance(item, dict | list)]
