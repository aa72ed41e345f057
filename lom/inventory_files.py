"""Reading inventory files: YAML, JSON and executables that print JSON; faults with their lines.

YAML is read as its JSON part: numbers, true, false and null as JSON writes them, everything else
is text (so ``no``, ``on``, ``012`` and ``12:30`` stay what they look like), keys come once.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from lmm.contract import json_path
from lmm.envelope import loads_request
from lmm.errors import RequestError
from lmm.model import JSON

MAX_BYTES = 64 * 1024 * 1024
MAX_VALUES = 1_000_000  # aliases count each time they are used
MAX_DEPTH = 64
EXECUTABLE_TIMEOUT_S = 60.0
SUFFIXES = (".yaml", ".yml", ".json")

Location = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault of an inventory: what, where in the document, in which file and line."""

    message: str
    location: Location
    file: str
    line: int | None = None

    @property
    def path(self) -> str:
        return json_path(self.location)

    def __str__(self) -> str:
        line = "" if self.line is None else f":{self.line}"
        return f"{self.file}{line}: {self.message} @ {self.path}"


@dataclass(slots=True)
class Document:
    """What one file holds, with the faults found in it so far."""

    file: str
    folder: Path
    data: JSON = None
    root: yaml.Node | None = None
    problems: list[Problem] = field(default_factory=list)

    def fault(self, location: Location, message: str, line: int | None = None) -> None:
        """Note a fault, with its line where the file is YAML."""
        self.problems.append(Problem(message, location, self.file, line or self.line(location)))

    def line(self, location: Location) -> int | None:
        """Return the line where a place of a YAML file stands, or the nearest place around it."""
        node, mark = self.root, self.root and self.root.start_mark
        for part in location:
            if isinstance(node, yaml.MappingNode):
                pairs = [pair for pair in node.value if pair[0].value == part]
                if not pairs:
                    break
                mark, node = pairs[0][0].start_mark, pairs[0][1]
            elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
                node = node.value[part]
                mark = node.start_mark
        return mark.line + 1 if mark else None


def read(paths: Iterable[Path]) -> list[Document]:
    """Read every file that the paths stand for, in order, a folder's sorted by name."""
    documents: dict[str, Document] = {}
    for path in paths:
        for file in _files(path):
            real = os.path.realpath(file)
            if real not in documents:
                documents[real] = _read(file, Path(real).parent)
    return list(documents.values())


def _files(path: Path) -> list[Path]:
    if not os.path.isdir(path):
        return [path]
    try:
        inside = sorted(path.iterdir())
    except OSError:
        return [path]  # reading it as a file then says why it cannot be read
    found = [
        file
        for file in inside
        if os.path.isfile(file)
        and not file.name.startswith(".")
        and (file.suffix in SUFFIXES or os.access(file, os.X_OK))
    ]
    return found or [path]


def _read(file: Path, folder: Path) -> Document:
    document = Document(str(file), folder)
    try:
        if os.path.isdir(file) and os.access(file, os.R_OK):
            document.fault((), "the folder holds no *.yaml, *.yml, *.json and no executable")
        elif os.path.isfile(file) and file.suffix not in SUFFIXES and os.access(file, os.X_OK):
            document.data = _parse_json(document, _run(document, file))
        else:
            with file.open("rb") as stream:
                content = stream.read(MAX_BYTES + 1)
            if len(content) > MAX_BYTES:
                document.fault((), "the file is larger than 64 MiB")
            elif file.suffix == ".json":
                document.data = _parse_json(document, content)
            elif content.startswith(b"#!"):
                document.fault((), "it is a script but not executable; run chmod +x on it")
            else:
                document.data = _parse_yaml(document, content)
    except OSError as error:
        document.fault((), f"cannot read it: {error.strerror or error}")
    return document


# --- JSON ----------------------------------------------------------------------------------


def _parse_json(document: Document, content: bytes | None) -> JSON:
    if content is None:
        return None
    try:
        return loads_request(content, "the inventory")
    except RequestError as error:
        document.fault((), error.message)
        return None


def _run(document: Document, file: Path) -> bytes | None:
    """Return what the executable prints, None after noting why it failed."""
    import signal
    import subprocess
    import tempfile
    import threading

    with tempfile.TemporaryFile() as stderr:
        try:
            process = subprocess.Popen(
                [os.path.abspath(file)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                start_new_session=True,
            )
        except OSError as error:
            document.fault((), f"cannot run it: {error.strerror}; a script starts with #!")
            return None
        late = threading.Event()

        def kill() -> None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)

        def too_late() -> None:
            late.set()
            kill()

        timer = threading.Timer(EXECUTABLE_TIMEOUT_S, too_late)
        timer.daemon = True
        timer.start()
        assert process.stdout
        try:
            with process.stdout as stdout:
                content = stdout.read(MAX_BYTES + 1)
            if len(content) > MAX_BYTES:
                kill()
            status = process.wait()
        finally:
            timer.cancel()
            timer.join()
            if process.poll() is None:
                kill()
                process.wait()
        if len(content) > MAX_BYTES:
            document.fault((), "the executable printed more than 64 MiB")
        elif late.is_set():
            document.fault((), f"the executable did not end within {EXECUTABLE_TIMEOUT_S:g} s")
        elif status != 0:
            stderr.seek(max(0, stderr.seek(0, os.SEEK_END) - 2000))
            text = stderr.read().decode("utf-8", "replace")
            tail = "".join(c if c.isprintable() or c == "\n" else "?" for c in text)
            said = f" and said: {tail.strip()}" if tail.strip() else " and nothing on stderr"
            document.fault((), f"the executable ended with exit status {status}{said}")
        else:
            return content
    return None


# --- YAML ----------------------------------------------------------------------------------


_TAG = "tag:yaml.org,2002:"


def loader_on(base: Any) -> Any:
    """Return a loader of PyYAML that resolves scalars as JSON does."""

    class Loader(base):  # type: ignore[misc]
        yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - as PyYAML declares it

    for kind, pattern, first in (
        ("bool", r"true|false", "tf"),
        ("null", r"null|~|", ["n", "~", ""]),
        ("int", r"-?(0|[1-9][0-9]*)", "-0123456789"),
        ("float", r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?", "-0123456789"),
    ):
        Loader.add_implicit_resolver(_TAG + kind, re.compile(rf"({pattern})\Z"), list(first))
    return Loader


_Loader = loader_on(getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def _parse_yaml(document: Document, content: bytes) -> JSON:
    try:
        loader = _Loader(content.decode("utf-8-sig"))
        try:
            document.root = loader.get_single_node()
        finally:
            loader.dispose()
    except UnicodeDecodeError as error:
        document.fault((), "the file is not UTF-8", content[: error.start].count(b"\n") + 1)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        # What stands in quotes comes from the file and may be part of a secret.
        why = re.sub(r"\s*'[^']{2,}'", "", error.problem or "it cannot be read")
        at = f", column {mark.column + 1}" if mark else ""
        document.fault((), f"not YAML: {why}{at}", mark.line + 1 if mark else None)
    except (yaml.YAMLError, RecursionError):
        document.fault((), "not YAML: it holds characters that YAML forbids, or is too deep")
    if document.root is None:
        return None
    try:
        return _Values(document).value(document.root, ())
    except OverflowError as error:
        document.fault((), str(error))
        return None


class _Values:
    """Turns YAML nodes into JSON values, noting what has no place in JSON."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.count = 0

    def value(self, node: yaml.Node, location: Location) -> JSON:
        self.count += 1
        if self.count > MAX_VALUES or len(location) > MAX_DEPTH:
            raise OverflowError(
                f"the file holds more than {MAX_VALUES} values or {MAX_DEPTH} levels, "
                "or an alias inside of itself"
            )
        if isinstance(node, yaml.MappingNode) and node.tag == f"{_TAG}map":
            return dict(self._pairs(node, location))
        if isinstance(node, yaml.SequenceNode) and node.tag == f"{_TAG}seq":
            return [self.value(item, (*location, i)) for i, item in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode) and node.tag in _SCALARS:
            try:
                return _SCALARS[node.tag](node.value)
            except ValueError as error:
                return self._fault(node, location, str(error))
        # The tag itself is not shown: it may be an unquoted secret that starts with "!".
        return self._fault(node, location, "a tag is not read here; quote text that starts with !")

    def _pairs(self, node: yaml.MappingNode, location: Location) -> Iterator[tuple[str, JSON]]:
        seen: set[str] = set()
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag not in _SCALARS:
                self._fault(key, location, "a key is a plain text")
                continue
            here = (*location, key.value)
            if key.value == "<<":
                self._fault(key, here, "merge keys are not read; use defaults or a group")
            if key.value in seen:
                self._fault(key, here, "the key stands here a second time")
                continue
            seen.add(key.value)
            yield key.value, self.value(value, here)

    def _fault(self, node: yaml.Node, location: Location, message: str) -> None:
        self.document.fault(location, message, node.start_mark.line + 1)


def _integer(text: str) -> int:
    if len(text) > 1000:
        raise ValueError("the number has too many digits; quote it")
    return int(text)


def _number(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise ValueError("the number is too large; quote it")
    return number


_SCALARS: dict[str, Callable[[str], JSON]] = {
    f"{_TAG}str": str,
    f"{_TAG}null": lambda text: None,
    f"{_TAG}bool": lambda text: text == "true",
    f"{_TAG}int": _integer,
    f"{_TAG}float": _number,
}
