"""Parameters that stand in a file, or come on stdin."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lmm.errors import RequestError
from lom.documents.document import Document, refuse
from lom.documents.read import MAX_BYTES, parse, read_document


def read_params(name: str) -> Mapping[str, Any]:
    """Return the object in a file of parameters, or on stdin for ``-``.

    A file is YAML if it is called so, else JSON. Raises RequestError (``invalid_request``).
    """
    if name != "-":
        document = read_document(Path(name), as_json=not name.endswith((".yaml", ".yml")))
    elif sys.stdin is None:
        raise RequestError("invalid_request", "--params - reads stdin, which is closed")
    else:
        document = Document("stdin (--params -)", Path())
        parse(document, sys.stdin.buffer.read(MAX_BYTES + 1), as_json=True)
    refuse(document, "invalid_request")
    value = document.data
    if not isinstance(value, Mapping):
        raise RequestError(
            "invalid_request", f"--params {name} must hold an object of parameters", file=name
        )
    return value
