"""Parameters that are hard to bear, made from those of a case and allowed by the input schema."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from lmm.errors import RequestError
from lom.authoring.cases import filled
from lom.planning.input_schema import Place, place_of, write_only_paths
from lom.planning.params import resolve_parameters
from lom.registry.manifest import Capability

HUGE_BYTES = 1024 * 1024
# Quotes, substitutions, separators, an option, controls, two and four bytes of UTF-8.
HOSTILE = "é𝄞 \"'\\$(exit 9)`exit 9`;&|<>*?[a-z]{a,b}~#!%s\n\t\x01\x7f\u2028 -rf --"
MILD = "é𝄞 '$(exit 9)`exit 9`"
WORD = "é𝄞"

# A stage's own paths are not known yet; a made-up text does without them.
PLACES = {"{cwd}": "/tmp", "{cases}": "/tmp"}
_ANY_NAME = "text"  # of a parameter where the schema takes any

Parameters = Mapping[str, Any]


def refusal(capability: Capability, parameters: Parameters) -> str | None:
    """Return why RUNE would refuse parameters for an action, None if it would not."""
    try:
        resolve_parameters(capability.input_schema, document=filled(parameters, PLACES))
    except RequestError as error:
        return error.message
    return None


def hostile(capability: Capability, parameters: Parameters) -> dict[str, Parameters]:
    """Return the parameters with one text made hostile, by the name of that parameter."""

    def texts(before: str, _: int | None) -> Iterator[str]:
        for text in (HOSTILE, MILD, WORD):
            yield text
            yield before + text

    return _changed(capability, parameters, texts)


def huge(capability: Capability, parameters: Parameters) -> dict[str, Parameters]:
    """Return the parameters with one text as long as it may be, 1 MiB at most, by its name."""

    def texts(before: str, most: int | None) -> Iterator[str]:
        length = HUGE_BYTES if most is None else min(most, HUGE_BYTES)
        yield "x" * length
        yield (before + "x" * length)[:length]

    return _changed(capability, parameters, texts)


def with_secret(capability: Capability, parameters: Parameters) -> tuple[str, Parameters] | None:
    """Return the name of a secret parameter and the parameters with a secret there.

    None where no text parameter is ``writeOnly`` or none takes a random word.
    """
    marked = write_only_paths(capability.input_schema)
    word = f"s3cret{secrets.token_hex(12)}"
    for name in _names(capability, parameters):
        if f"/{name}" in marked and refusal(capability, {**parameters, name: word}) is None:
            return name, {**parameters, name: word}
    return None


def _changed(
    capability: Capability,
    parameters: Parameters,
    texts: Callable[[str, int | None], Iterable[str]],
) -> dict[str, Parameters]:
    """Return, for each text parameter, the parameters with the first text that is allowed."""
    root = place_of(capability.input_schema)
    found: dict[str, Parameters] = {}
    for name in _names(capability, parameters):
        place = root.child(name)
        if place.types and "string" not in place.types:
            continue
        bounds = [part["maxLength"] for part in place.parts if "maxLength" in part]
        most = int(min(bounds)) if bounds else None
        for text in texts(_known(parameters, name, place), most):
            if refusal(capability, {**parameters, name: text}) is None:
                found[name] = {**parameters, name: text}
                break
    return found


def _known(parameters: Parameters, name: str, place: Place) -> str:
    """Return a text that is good for a parameter: the case's, the default, an example, or none."""
    told = [
        word for part in place.parts for word in (part.get("default"), *part.get("examples", ()))
    ]
    texts = (one for one in (parameters.get(name), *told) if isinstance(one, str))
    return str(filled(next(texts, ""), PLACES))


def _names(capability: Capability, parameters: Parameters) -> list[str]:
    place = place_of(capability.input_schema)
    names = dict.fromkeys((*place.names, *parameters))
    return list(names) if names or place.closed else [_ANY_NAME]
