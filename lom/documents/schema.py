"""What a schema of ``specs/`` says of a file that people write, in plain English.

Words for a rule stand beside it in the schema, as ``errorMessage`` or ``patternErrorMessage``, from
where editors show them, too; all others are made here. Imported only where there is such a file,
because jsonschema-rs is.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from lmm.contract import Breach, spec_validator
from lmm.model import JSON
from lom.documents.document import Document, Location
from lom.names import did_you_mean

_KINDS = {
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "string": "text",
    "array": "a list",
    "object": "a mapping",
}


def check(document: Document, spec: str) -> set[Location]:
    """Note every fault of what a file holds, by the schema of ``spec``; return their places."""
    try:
        breaches = spec_validator(spec).breaches(document.data)
    except ValueError:
        document.fault((), "it holds half a surrogate pair, which is no character")
        return {()}
    faults = dict.fromkeys(fault for breach in breaches for fault in _faults(breach))
    for where, message in faults:
        document.fault(where, message)
    return {where for where, _ in faults}


def not_one_of(value: JSON, known: Iterable[str]) -> str:
    """Return the words for a value that is none of those that are known."""
    *most, last = (repr(one) for one in known)
    choice = f"{', '.join(most)} or {last}" if most else last
    hint = did_you_mean(value, known) if isinstance(value, str) else ""
    return f"{_shown(value)} is not {choice}{hint}"


def _faults(breach: Breach) -> Iterator[tuple[Location, str]]:
    own = breach.schema.get("errorMessage")
    if breach.keyword == "additionalProperties":
        known = breach.schema["properties"]
        for name in breach.asked:
            hint = did_you_mean(name, known) or f"; known are {', '.join(known)}"
            yield (*breach.location, name), f"unknown key {name!r}{hint}"
    elif breach.keyword == "required":
        yield (*breach.location, breach.asked), own or f"the key {breach.asked!r} is needed"
    elif breach.keyword == "pattern":
        yield breach.location, breach.schema.get("patternErrorMessage") or str(own)
    else:
        yield breach.location, own or _words(breach)


def _words(breach: Breach) -> str:
    asked, shown = breach.asked, _shown(breach.value)
    match breach.keyword:
        case "type":
            kinds = [_KINDS[kind] for kind in asked if kind != "null"]
            quotes = kinds == [_KINDS["string"]] and not isinstance(breach.value, dict | list)
            remedy = "; put it in quotes" if quotes else ""
            return f"{shown} is not {' or '.join(kinds)}{remedy}"
        case "enum":
            return not_one_of(breach.value, [one for one in asked if one is not None])
        case "minimum":
            return f"{shown} is less than the minimum of {asked}"
        case "exclusiveMinimum":
            return f"{shown} is not greater than {asked}"
        case "maximum":
            return f"{shown} is greater than the maximum of {asked}"
        case "maxLength":
            return f"it is longer than {asked} characters"
        case "minItems":
            return "the list is empty; name at least one, or leave the key out"
        case _:
            raise NotImplementedError(f"no words for {breach.keyword}")


def _shown(value: JSON) -> str:
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else "the value"
