"""Where a plugin is installed from: a folder, a tarball, a git repository, made into a folder."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from lmm.errors import RequestError
from lom.authoring.tarballs import DEEPEST, MOST_BYTES, MOST_FILES, TooLarge, Unsafe, unpack
from lom.documents.leftovers import is_leftover, walk
from lom.registry.manifest import MANIFEST

# What is opened is what stands there: no link is followed, and nothing waits for a pipe.
_OF_A_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_OF_A_FOLDER = _OF_A_FILE | os.O_DIRECTORY
_BLOCK = 1024 * 1024  # bytes read at once
_GIT_TIMEOUT_S = 300.0
_URL = re.compile(r"[a-z][a-z0-9+.-]*://|[A-Za-z0-9._-]+@[A-Za-z0-9._-]+:")
_TARBALL = re.compile(r"\.(tar|tar\.(gz|xz|bz2)|tgz|txz|tbz2)$")


@dataclass(frozen=True, slots=True)
class Fetched:
    """A source as a folder. ``sha256`` is that of a tarball's bytes, ``commit`` that of a git
    repository, None elsewhere; ``shown`` is the source without a password."""

    folder: Path
    kind: str
    shown: str
    sha256: str | None = None
    commit: str | None = None


def fetch(source: str, place: Path) -> Fetched:
    """Return a source as a folder, below ``place`` where it has to be unpacked.

    ``URL@REF`` is a git repository at a branch, tag or commit; ``git+`` before a path makes it
    one. Raises RequestError (``invalid_request``, ``local_dependency_missing``).
    """
    if source.startswith("git+") or _URL.match(source):
        return _cloned(source.removeprefix("git+"), place / "clone")
    path = Path(os.path.expanduser(source))
    if path.is_dir():
        return Fetched(path.resolve(), "folder", str(path.resolve()))
    if path.is_file() and _TARBALL.search(path.name):
        return _unpacked(path.resolve(), place / "unpacked")
    raise RequestError(
        "invalid_request",
        f"{source!r} is neither a folder nor a tarball (*.tar.gz, …) nor a git repository's URL",
    )


def plugin_folder(fetched: Fetched, name: str | None) -> Path:
    """Return the folder of the one plugin in a source, or of the one named.

    Plugins stand at the top, one level below, or in its folder ``plugins``. Raises RequestError.
    """
    top = fetched.folder
    patterns = ("", "*/", "plugins/*/")
    for pattern in patterns:
        found = sorted(file.parent for file in top.glob(f"{pattern}{MANIFEST}"))
        found = [one for one in found if one == top or not is_leftover(one.name)]
        if name is not None:
            found = [one for one in found if one.name == name]
        if len(found) == 1:
            if not found[0].resolve().is_relative_to(top.resolve()):
                raise RequestError(
                    "invalid_request",
                    f"{found[0].name} in {fetched.shown} is refused: it leads out of there",
                )
            return found[0]
        if found:
            names = ", ".join(one.name for one in found)
            raise RequestError(
                "invalid_request",
                f"{fetched.shown} holds several plugins ({names}); choose one with --plugin",
            )
    which = f"plugin {name!r}" if name else "plugin: no folder with plugin.json"
    raise RequestError("invalid_request", f"{fetched.shown} holds no {which}")


def copy_plugin(source: Path, goal: Path) -> None:
    """Copy a plugin's folder without what version control, editors and Python leave there.

    Whoever may change the folder meanwhile cannot have anything copied from elsewhere. Raises
    RequestError (``invalid_request``) for links that lead out of it, for what is no plain file or
    cannot be read, and for more than 64 MiB, 10 000 files, or 32 folders within each other.
    """
    try:
        descriptor = os.open(source.resolve(), _OF_A_FOLDER)
        try:
            _Copying(source, goal).folder(descriptor, Path())
        finally:
            os.close(descriptor)
        # Links are judged where nobody else can change them any more.
        for path in walk(goal):
            if path.is_symlink() and not _stays(path, goal):
                raise _refused(
                    path.relative_to(goal), "it is a link that leads out of the plugin, or nowhere"
                )
    except OSError as error:
        raise RequestError(
            "invalid_request", f"cannot copy {error.filename or source}: {error.strerror}"
        ) from None


class _Copying:
    """A copy that is made: whence, whither, and how much more it may hold."""

    def __init__(self, source: Path, goal: Path) -> None:
        self._source, self._goal = source, goal
        self._room, self._left = MOST_BYTES, MOST_FILES

    def folder(self, descriptor: int, inside: Path) -> None:
        """Copy what is in an open folder, whose path inside the plugin is told."""
        if len(inside.parts) > DEEPEST:
            raise _refused(inside, f"it lies more than {DEEPEST} folders deep")
        (self._goal / inside).mkdir(mode=0o755)
        for name in sorted(os.listdir(descriptor)):
            if not is_leftover(name):
                self._one(descriptor, name, inside / name)

    def _one(self, above: int, name: str, inside: Path) -> None:
        mode = os.stat(name, dir_fd=above, follow_symlinks=False).st_mode
        self._count(files=1)
        if stat.S_ISLNK(mode):
            (self._goal / inside).symlink_to(os.readlink(name, dir_fd=above))
            return
        if not (stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
            raise _refused(inside, "it is no plain file")
        descriptor = os.open(name, _OF_A_FOLDER if stat.S_ISDIR(mode) else _OF_A_FILE, dir_fd=above)
        try:
            if stat.S_ISDIR(mode):
                self.folder(descriptor, inside)
            else:
                self._file(descriptor, inside)
        finally:
            os.close(descriptor)

    def _file(self, descriptor: int, inside: Path) -> None:
        found = os.fstat(descriptor)  # of what is open, which may be another by now
        if not stat.S_ISREG(found.st_mode):
            raise _refused(inside, "it is no plain file")
        copy = self._goal / inside
        with open(descriptor, "rb", closefd=False) as original, copy.open("xb") as made:
            while block := original.read(_BLOCK):
                self._count(size=len(block))
                made.write(block)
        copy.chmod(0o755 if found.st_mode & 0o100 else 0o644)

    def _count(self, *, files: int = 0, size: int = 0) -> None:
        self._left -= files
        self._room -= size
        if self._room < 0 or self._left < 0:
            raise _too_large(str(self._source))


def _stays(link: Path, folder: Path) -> bool:
    """Whether a link leads to what is in a folder, and does so wherever the folder stands."""
    try:
        # Strictly, so that a way too long to be followed is not taken for one that stays.
        goal = os.path.realpath(link, strict=True)
    except OSError:
        return False
    return Path(goal).is_relative_to(folder.resolve()) and not os.path.isabs(os.readlink(link))


# -- tarballs ----------------------------------------------------------------------------------


def _unpacked(path: Path, place: Path) -> Fetched:
    try:
        sha256 = unpack(path, place)
    except TooLarge as error:
        raise RequestError(
            "invalid_request", f"{path} holds {error}: too much for a plugin"
        ) from None
    except Unsafe as error:
        raise RequestError("invalid_request", f"{path} is refused: {error}") from None
    except (
        *(tarfile.TarError, EOFError, OSError, RecursionError, ValueError),
        zlib.error,
    ) as error:
        raise RequestError("invalid_request", f"cannot unpack {path}: {error}") from None
    return Fetched(place, "tarball", str(path), sha256=sha256)


# -- git ---------------------------------------------------------------------------------------


def _cloned(text: str, place: Path) -> Fetched:
    url, reference = _split(text)
    if not shutil.which("git"):
        raise RequestError("local_dependency_missing", "git is not installed on this machine")
    shown = _without_password(url)
    _git(shown, "clone", "--quiet", "--", url, str(place))
    if reference:
        if reference.startswith("-"):
            raise RequestError("invalid_request", f"{reference!r} is no branch, tag or commit")
        _git(shown, "-C", str(place), "checkout", "--quiet", "--detach", reference, "--")
    commit = _git(shown, "-C", str(place), "rev-parse", "HEAD").strip()
    return Fetched(place, "git", f"{shown}@{reference}" if reference else shown, commit=commit)


def _split(text: str) -> tuple[str, str]:
    """Return URL and reference of ``URL@REF``; the @ of a user is none."""
    url, at, reference = text.rpartition("@")
    if not at or ":" in reference or ("://" in url and "/" not in url.partition("://")[2]):
        return text, ""
    return url, reference


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    if parts.password is None:
        return url
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{parts.username}@{host}"))


def _git(shown: str, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", *arguments],
            env={**os.environ, "GIT_TERMINAL_PROMPT": "0"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_GIT_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise RequestError("invalid_request", f"git: {shown} does not answer") from None
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise RequestError("invalid_request", f"git: {shown}: {said[-1] if said else 'failed'}")
    return done.stdout.decode(errors="replace")


def _refused(inside: Path, why: str) -> RequestError:
    return RequestError("invalid_request", f"{inside} is refused: {why}")


def _too_large(what: str) -> RequestError:
    return RequestError(
        "invalid_request",
        f"{what} holds more than {MOST_BYTES // 1024**2} MiB or {MOST_FILES} files: too much for a"
        " plugin",
    )
