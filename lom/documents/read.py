"""The one reader of the files that people write: YAML and JSON, strict, faults with their places.

What stands in YAML is turned into values in ``yaml_values``. What the values mean, and who may
write the files, is for others to say.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from lmm.envelope import loads_request
from lmm.errors import RequestError
from lmm.model import JSON
from lom.documents.document import Document, Location, is_text

MAX_BYTES = 64 * 1024 * 1024


def read_document(file: Path, *, as_json: bool) -> Document:
    """Return what a file holds; its faults are noted in the document."""
    document = Document(str(file), file.absolute().parent)
    try:
        with file.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except OSError as error:
        document.fault((), f"cannot read it: {error.strerror or error}")
        return document
    return parse(document, content, as_json=as_json)


def parse(document: Document, content: bytes, *, as_json: bool) -> Document:
    """Put into a document what ``content`` holds; return the document."""
    if len(content) > MAX_BYTES:
        document.fault((), "the file is larger than 64 MiB")
    elif as_json:
        document.data = parse_json(document, content)
    else:
        from lom.documents.yaml_values import parse_yaml

        document.data = parse_yaml(document, content)
    return document


# --- JSON ----------------------------------------------------------------------------------

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+')


def parse_json(document: Document, content: bytes, what: str = "not JSON") -> JSON:
    """Return the object in JSON text, None after noting in the document what is wrong with it."""
    if not is_text(document, content):
        return None
    try:
        return loads_request(content, what)
    except RequestError as error:
        text = content.decode()
        found = re.fullmatch(r"(.*) at line (\d+) column (\d+)", error.message, re.DOTALL)
        if twice := _second_key(text):
            location, at = twice
            line = text.count("\n", 0, at) + 1
            message = f"the key {location[-1]!r} stands twice in one object"
            document.fault(location, message, line, at - text.rfind("\n", 0, at))
        elif found:
            document.fault((), found[1], int(found[2]), int(found[3]))
        else:
            document.fault((), error.message)
        return None


def _second_key(text: str) -> tuple[Location, int] | None:
    """Return where in JSON text the first key stands a second time, and at which character."""
    path: list[str | int] = []
    seen: list[set[str] | None] = []
    before = ""
    for token in _TOKEN.finditer(text):
        one = token[0]
        if one in "{[":
            seen.append(set() if one == "{" else None)
            path.append("" if one == "{" else 0)
        elif not seen:
            return None
        elif one in "}]":
            seen.pop()
            path.pop()
        elif one == "," and isinstance(path[-1], int):
            path[-1] += 1
        elif one[0] == '"' and before in "{," and (keys := seen[-1]) is not None:
            try:
                path[-1] = name = str(json.loads(one))
            except ValueError:
                return None
            if name in keys:
                return tuple(path), token.start()
            keys.add(name)
        before = one
    return None
