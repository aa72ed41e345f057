"""The files of an inventory: YAML, JSON, executables that print JSON, and folders of these."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable
from pathlib import Path

from lmm.temporary import nameless, roomy
from lom.documents.document import Document
from lom.documents.leftovers import is_leftover
from lom.documents.read import MAX_BYTES, parse, parse_json
from lom.documents.trust import refuse_foreign

EXECUTABLE_TIMEOUT_S = 60.0
_BLOCK = 64 * 1024  # bytes read at once: what a pipe holds
SUFFIXES = (".yaml", ".yml", ".json")


def read(paths: Iterable[Path], *, found: bool = False) -> list[Document]:
    """Read every file that the paths stand for, in order, a folder's sorted by name.

    Files that were ``found``, not named for this call, must be the user's own: else it raises
    RequestError (``untrusted_path``).
    """
    documents: dict[str, Document] = {}
    for path in paths:
        for file in files_of(path):
            real = os.path.realpath(file)
            if real not in documents:
                if found:
                    refuse_foreign(file)
                documents[real] = _read(file, Path(real).parent)
    return list(documents.values())


def files_of(path: Path) -> list[Path]:
    """Return the files that a path stands for: itself, or those of a folder by name."""
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
        and not is_leftover(file.name)
        and (file.suffix in SUFFIXES or os.access(file, os.X_OK))
    ]
    return found or [path]


def _read(file: Path, folder: Path) -> Document:
    document = Document(str(file), folder)
    try:
        if os.path.isdir(file) and os.access(file, os.R_OK):
            document.fault((), "the folder holds no *.yaml, *.yml, *.json and no executable")
        elif os.path.isfile(file) and file.suffix not in SUFFIXES and os.access(file, os.X_OK):
            if (printed := _run(document, file)) is not None:
                document.data = parse_json(document, printed, "the inventory")
        else:
            with file.open("rb") as stream:
                content = stream.read(MAX_BYTES + 1)
            if content.startswith(b"#!"):
                document.fault((), "it is a script but not executable; run chmod +x on it")
            else:
                parse(document, content, as_json=file.suffix == ".json")
    except OSError as error:
        document.fault((), f"cannot read it: {error.strerror or error}")
    return document


def _run(document: Document, file: Path) -> bytes | None:
    """Return what the executable prints, None after noting why it failed."""
    import signal
    import subprocess

    try:
        words, _ = nameless(roomy())
    except OSError as error:
        document.fault((), f"cannot run it: {error.strerror}")
        return None
    with open(words, "w+b") as stderr:
        try:
            process = subprocess.Popen(
                [os.path.abspath(file)],
                cwd=document.folder,  # not where RUNE was called: interpreters take code from there
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                start_new_session=True,
            )
        except OSError as error:
            document.fault((), f"cannot run it: {error.strerror}; a script starts with #!")
            return None
        until = time.monotonic() + EXECUTABLE_TIMEOUT_S
        content = status = None
        assert process.stdout
        try:
            with process.stdout as stdout:
                content = _printed(stdout.fileno(), until)
            if content is not None and len(content) <= MAX_BYTES:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    status = process.wait(max(0.0, until - time.monotonic()))
        finally:
            if status is None:  # nobody has waited for it: the group is still its own
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        if content is not None and len(content) > MAX_BYTES:
            document.fault((), "the executable printed more than 64 MiB")
        elif status is None:
            document.fault(
                (),
                f"the executable did not end within {EXECUTABLE_TIMEOUT_S:g} s, or what it started"
                " kept its stdout open",
            )
        elif status != 0:
            stderr.seek(max(0, stderr.seek(0, os.SEEK_END) - 2000))
            text = stderr.read().decode("utf-8", "replace")
            tail = "".join(c if c.isprintable() or c == "\n" else "?" for c in text)
            said = f" and said: {tail.strip()}" if tail.strip() else " and nothing on stderr"
            document.fault((), f"the executable ended with exit status {status}{said}")
        else:
            return content
    return None


def _printed(stdout: int, until: float) -> bytes | None:
    """Return all that is printed, cut off above ``MAX_BYTES``, None if no end came in time.

    No kill can make the end come: a process that left the group may keep the pipe open.
    """
    import select

    content = bytearray()
    poll = select.poll()
    poll.register(stdout, select.POLLIN)
    while len(content) <= MAX_BYTES:
        left = until - time.monotonic()
        if left <= 0 or not poll.poll(left * 1000):
            return None
        if not (block := os.read(stdout, _BLOCK)):
            break
        content += block
    return bytes(content)
