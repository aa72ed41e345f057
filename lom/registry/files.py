"""The files of plugins: which are sent beside the script, ``files/`` and libraries; their hash."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from lmm.errors import RequestError
from lom.documents.leftovers import walk

FOLDER = "files"
MOST_FILES = 1000
MOST_BYTES = 256 * 1024 * 1024  # of all files together: they are held in memory while they are sent
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+@-]*")


def bundled_plugins() -> Path:
    """Return the folder of RUNE's own plugins, installed or beside the checkout."""
    room = Path(__file__).resolve().parents[1]
    packaged = room / "plugins"
    return packaged if packaged.is_dir() else room.parent / "plugins"


def sources(directory: Path, entrypoint: str, lib: Sequence[str]) -> dict[str, Path]:
    """Return where the files come from, by the path that they have on the host.

    Libraries lie beside the script there, files keep their path. Raises ValueError, in words.
    """
    found = {entrypoint: directory / entrypoint}
    shelf = bundled_plugins() / "lib"
    for name in lib:
        if not (shelf / name).is_file():
            known = ", ".join(sorted(one.name for one in walk(shelf)))
            raise ValueError(f"there is no library {name}; known are {known}")
        if name in found:
            raise ValueError(f"{name} is the entrypoint's name")
        found[name] = shelf / name
    found.update(_tree(directory))
    if len(found) > MOST_FILES:
        raise ValueError(f"{len(found)} files are more than {MOST_FILES}")
    size = sum(path.stat().st_size for path in found.values() if path.exists())
    if size > MOST_BYTES:
        raise ValueError(f"its files have {size} bytes, more than {MOST_BYTES}")
    return found


def read(found: Mapping[str, Path]) -> dict[str, bytes]:
    """Return the contents of files. Raises RequestError (``local_io_error``)."""
    contents = {}
    for name, path in found.items():
        try:
            contents[name] = path.read_bytes()
        except OSError as error:
            raise RequestError("local_io_error", f"cannot read {path}: {error.strerror}") from None
    return contents


def is_executable(path: Path) -> bool:
    """Whether its owner may execute a file."""
    return bool(path.stat().st_mode & stat.S_IXUSR)


def tree_sha256(folder: Path) -> str:
    """Return the SHA-256 of a plugin's folder: names, links, contents, and what may be executed."""
    total = hashlib.sha256()
    for path in sorted(walk(folder)):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            kind, content = "link", os.readlink(path).encode()
        elif path.is_file():
            kind = "program" if os.access(path, os.X_OK) else "file"
            content = path.read_bytes()
        else:
            continue
        digest = hashlib.sha256(content).hexdigest()
        total.update(f"{kind}\0{name}\0{digest}\n".encode("utf-8", "surrogateescape"))
    return total.hexdigest()


def _tree(directory: Path) -> Iterator[tuple[str, Path]]:
    root = directory / FOLDER
    if not os.path.lexists(root):
        return
    inside = directory.resolve()
    for path in walk(root, _unread):
        if not _NAME.fullmatch(path.name):
            raise ValueError(f"{str(path)!r} has a name that not every host takes")
        if path.is_symlink() and inside not in path.resolve().parents:
            raise ValueError(f"{path} leads out of the plugin's folder")
        if path.is_dir():
            if path.is_symlink():
                raise ValueError(f"{path} is a link to a folder")
            continue
        if not (path.is_file() and os.access(path, os.R_OK)):
            raise ValueError(f"{path} is no file that can be read")
        yield path.relative_to(directory).as_posix(), path


def _unread(error: OSError) -> None:
    raise ValueError(f"{error.filename} cannot be read: {error.strerror}")
