"""The files of an inventory: YAML, JSON, executables that print JSON, and folders of these."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

from lmm.temporary import nameless
from lom.documents.document import Document
from lom.documents.leftovers import is_leftover
from lom.documents.read import MAX_BYTES, parse, parse_json
from lom.documents.trust import refuse_foreign

EXECUTABLE_TIMEOUT_S = 60.0
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
    import threading

    with open(nameless(), "w+b") as stderr:
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
