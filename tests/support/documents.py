"""Holds what ``rune … -o json`` prints against the schema that ``specs/README.md`` names for it."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from lmm.contract import BASE_URI, validator_for

README = Path(__file__).resolve().parents[2] / "specs" / "README.md"
# Command, as it is typed, with an option where that decides -> schema and its part.
DOCUMENTS: dict[str, str] = dict(
    re.findall(r"(?m)^\| `rune ([^`]+)` \| \[(\w+(?:#\w+)?)\]", README.read_text("utf-8"))
)
_MOST_BYTES = 1024 * 1024  # what is longer is many results, which other tests look at


def schema_of(arguments: Sequence[str]) -> str | None:
    """Return the name of the schema for a command line, None for a command that has none."""
    for command in sorted(DOCUMENTS, key=len, reverse=True):
        words = [word for word in command.split() if not word.startswith("-")]
        options = set(command.split()) - set(words)
        if list(arguments[: len(words)]) == words and options <= set(arguments):
            return DOCUMENTS[command]
    return None


def check_document(arguments: Sequence[str], stdout: bytes) -> None:
    """Fail if a command line printed a JSON document that its schema does not allow.

    Text that is no JSON, as of ``--help`` or of a killed process, is for the test to judge.
    """
    schema = schema_of(arguments)
    wants_json = ("-o", "json") in pairwise(arguments)
    if schema is None or not wants_json or len(stdout) > _MOST_BYTES:
        return
    try:
        document = json.loads(stdout)
    except ValueError:
        return
    name, _, part = ("eps_v2" if "error_data" in document else schema).partition("#")
    uri = f"{BASE_URI}{name}.json" + (f"#/$defs/{part}" if part else "")
    violations = validator_for({"$ref": uri}).violations(document)
    assert not violations, (arguments, uri, [str(one) for one in violations])
