"""What a file that people write holds, and its faults with their places."""

from __future__ import annotations

import codecs
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from lmm.contract import json_path
from lmm.errors import RequestError
from lmm.model import JSON

if TYPE_CHECKING:
    import yaml

Location = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault of a file: what, where in the document, in which file, line and column."""

    message: str
    location: Location
    file: str
    line: int | None = None
    column: int | None = None

    @property
    def path(self) -> str:
        return json_path(self.location)

    def __str__(self) -> str:
        line = "" if self.line is None else f":{self.line}"
        column = "" if self.column is None else f":{self.column}"
        return f"{self.file}{line}{column}: {self.message} @ {self.path}"


@dataclass(slots=True)
class Document:
    """What one file holds, with the faults found in it so far; relative paths in it start in
    ``folder``."""

    file: str
    folder: Path
    data: JSON = None
    root: yaml.Node | None = None
    problems: list[Problem] = field(default_factory=list)

    def fault(
        self, location: Location, message: str, line: int | None = None, column: int | None = None
    ) -> None:
        """Note a fault, with its line where the file is YAML."""
        line = line or self.line(location)
        self.problems.append(Problem(message, location, self.file, line, column))

    def path(self, text: str) -> str:
        """Return a path that stands in the file as it is from its folder, with ``~`` expanded."""
        return str(self.folder / os.path.expanduser(text))

    def line(self, location: Location) -> int | None:
        """Return the line where a place of a YAML file stands, or the nearest place around it."""
        if self.root is None:
            return None
        import yaml

        node, mark = self.root, self.root.start_mark
        for part in location:
            if isinstance(node, yaml.MappingNode):
                pairs = [pair for pair in node.value if pair[0].value == part]
                if not pairs:
                    break
                mark, node = pairs[0][0].start_mark, pairs[0][1]
            elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
                node = node.value[part]
                mark = node.start_mark
        return mark.line + 1


def refuse(documents: Document | Sequence[Document], reason: str) -> None:
    """Raise RequestError with all faults of the documents, if they have any."""
    documents = [documents] if isinstance(documents, Document) else documents
    problems = [
        problem
        for document in documents
        for problem in sorted(document.problems, key=lambda one: one.line or 0)
    ]
    if not problems:
        return
    first, more = problems[0], len(problems) - 1
    raise RequestError(
        reason,
        f"{first} (and {more} more)" if more else str(first),
        field=first.path,
        file=first.file,
        validation_errors=[str(problem) for problem in problems],
        **({"line": first.line} if first.line else {}),
    )


_MARKS = (
    *((mark, "UTF-32") for mark in (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)),
    *((mark, "UTF-16") for mark in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)),
)


def is_text(document: Document, content: bytes) -> bool:
    """Whether the bytes are UTF-8; if not, that is noted."""
    foreign = next((name for mark, name in _MARKS if content.startswith(mark)), None)
    if foreign is None and b"\0" in content:
        foreign = "no text, or UTF-16"
    if foreign is not None:
        document.fault((), f"the file is {foreign}; save it as UTF-8")
        return False
    try:
        content.decode()
    except UnicodeDecodeError as error:
        document.fault((), "the file is not UTF-8", content[: error.start].count(b"\n") + 1)
        return False
    return True
