"""Where the connections that outlive RUNE are found: one socket for each kind of connection.

The masters behind the sockets are processes of the user's own ``ssh``. Their directory is
private; a socket's name says for which host and with which settings its master logged in.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from lmm import temporary
from lmm.errors import RequestError
from lmm.model import Target
from lmm.ownership import first_doubt
from lmm.ssh import mux_client
from lmm.ssh.configfile import stamps

HOST_SIGNS, SETTINGS_SIGNS = 8, 16
# A socket's path has room for 107 bytes, and ssh binds it under its name plus 17 more.
MAX_DIRECTORY = 107 - 17 - 1 - HOST_SIGNS - SETTINGS_SIGNS
LEAVE_S = 2.0  # for masters to end after they were asked to
AT_ONCE = 200  # masters; each takes a descriptor while it leaves
# What decides, beside files and settings, as whom ssh logs in, and for whom: a master has the
# limits of the process that began it, which those who ask an account behind sudo each choose.
LOGIN_VARIABLES = ("SSH_AUTH_SOCK", "KRB5CCNAME", "RUNE_ASKER")

_CHOOSING = threading.Lock()  # two threads would make two directories
_CHOSEN: dict[Path, Path] = {}  # beside which: to look through a full /tmp takes long


class Disconnected(NamedTuple):
    """How many masters have ended, and how many did not answer and were put out of reach."""

    ended: int
    silent: int


# -- the directory -----------------------------------------------------------------------------


def directory() -> Path:
    """Return the user's private directory for sockets, made if there is none.

    ``$XDG_RUNTIME_DIR/rune``, else ``rune-UID`` in a temporary directory, or one with more to its
    name where somebody else has taken that. Only a place counts where nobody else can exchange it.
    Raises RequestError (``local_io_error``) for one that others may change.
    """
    failed = ""
    with _CHOOSING:
        for path, is_shared in _places():
            try:
                return _directory_at(path, is_shared)
            except OSError as error:
                failed = f": {path}: {error.strerror}"
    raise RequestError(
        "local_io_error",
        f"no place for the sockets of ssh connections{failed}; set XDG_RUNTIME_DIR to a private"
        " directory with a short name",
    )


def _directory_at(path: Path, is_shared: bool) -> Path:
    """Return the directory at a path, or another beside it that is the user's. Raises OSError,
    RequestError."""
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        if is_shared and not _is_users(path):
            path = _own_beside(path)
    problem = _exposure(path)
    if not problem and (doubt := first_doubt(path)):
        problem = f"is where others can exchange it ({doubt.why})"
    if problem:
        raise RequestError(
            "local_io_error",
            f"{path}, where ssh connections are kept, {problem}: remove it, or set"
            " XDG_RUNTIME_DIR to a private directory",
            path=str(path),
        )
    return path


def _places() -> Iterator[tuple[Path, bool]]:
    """Yield the directories to choose from whose names leave room for sockets, and whether they
    are where anybody can make some."""
    name = f"rune-{os.geteuid()}"
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if os.path.isabs(runtime) and _has_room(Path(runtime, "rune")) and not first_doubt(runtime):
        yield Path(runtime, "rune"), False
    for base in (*temporary.named(), "/tmp"):
        if _has_room(Path(base, name)) and not first_doubt(base, inside=True):
            yield Path(base, name), True
            return


def _own_beside(path: Path) -> Path:
    """Return the user's own directory beside one that is another's, made if there is none."""
    own = _CHOSEN.get(path)
    if own is None or not _is_private(own):
        own = next(_beside(path), None)
        own = own or Path(tempfile.mkdtemp(prefix=f"{path.name}-", dir=path.parent))
        _CHOSEN[path] = own
    return own


def _beside(path: Path) -> Iterator[Path]:
    """Yield the private directories whose names begin like the path's.

    In a temporary directory anybody can take a name first.
    """
    yield from filter(_is_private, sorted(path.parent.glob(f"{path.name}-*")))


def _is_private(path: Path) -> bool:
    with contextlib.suppress(OSError):
        return _exposure(path) is None
    return False


def _is_users(path: Path) -> bool:
    try:
        return os.lstat(path).st_uid == os.geteuid()
    except FileNotFoundError:  # somebody else's, who has removed it meanwhile
        return False


def _has_room(folder: Path) -> bool:
    return len(os.fsencode(folder)) + len("-12345678") <= MAX_DIRECTORY  # see ``_beside``


def _exposure(path: Path) -> str | None:
    """Return why the directory is not the user's alone, ``None`` if it is."""
    found = os.lstat(path)
    if not stat.S_ISDIR(found.st_mode):
        return "is no directory"
    if found.st_uid != os.geteuid():
        return f"belongs to the user with id {found.st_uid}"
    if found.st_mode & 0o077:
        return f"is open to others (mode {stat.S_IMODE(found.st_mode):03o})"
    return None


# -- names -------------------------------------------------------------------------------------


def socket_of(target: Target, folder: Path) -> str:
    """Return the path of the socket for the target's connections.

    It is the same in every process as long as nothing changes that decides how ssh logs in: host,
    port and user, the settings of the inventory, the files of ssh_config by their time and size,
    agent and ticket cache, and who asks. Timeouts do not matter to a connection that stands.
    """
    ssh = replace(
        target.ssh,
        connect_timeout_s=None,
        banner_timeout_s=0.0,
        auth_timeout_s=0.0,
        connect_attempts=0,
    )
    login = [os.environ.get(name) for name in LOGIN_VARIABLES]
    settings = (_login(target), ssh, sorted(stamps(ssh.config_file).items()), login)
    return str(folder / (_host_signs(target) + _digest(settings, SETTINGS_SIGNS)))


def _login(target: Target) -> tuple[str, int | None, str | None]:
    return target.address, target.port, target.user


def _host_signs(target: Target) -> str:
    return _digest(_login(target), HOST_SIGNS)


def _digest(value: object, signs: int) -> str:
    return hashlib.sha256(repr(value).encode(errors="surrogateescape")).hexdigest()[:signs]


# -- what is done to masters -------------------------------------------------------------------


def identity(socket: str) -> tuple[int, int] | None:
    """Return what tells this socket from later ones of its name; ``None`` if there is none."""
    try:
        found = os.lstat(socket)
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def put_away(socket: str, known: tuple[int, int] | None) -> None:
    """Remove the socket, unless another master has taken its place."""
    if known is not None and identity(socket) == known:
        with contextlib.suppress(OSError):
            os.unlink(socket)


def retire(socket: str, known: tuple[int, int] | None) -> None:
    """Have the master end after its last session and take no more; it keeps no one waiting."""
    try:
        mux_client.stop_listening(socket)
    except mux_client.MasterError:
        put_away(socket, known)


def is_live(target: Target) -> bool:
    """Whether a master for the target's settings takes connections. Raises what ``directory``
    raises, and RequestError for settings that cannot hold."""
    socket = socket_of(target, directory())
    try:
        with mux_client.MuxConnection(socket):
            return True
    except mux_client.MasterGone:
        return False


def disconnect(targets: Iterable[Target] | None = None) -> Disconnected:
    """End the masters of these targets, whatever their settings, or all; sessions end with them.

    It looks into all directories that a process of this user may have chosen.
    """
    signs = "" if targets is None else tuple({_host_signs(target) for target in targets})
    found = [
        str(path)
        for place, is_shared in _places()
        for folder in (place, *(_beside(place) if is_shared else ()))
        if folder.exists() and not _exposure(folder)
        for path in sorted(folder.iterdir())
        if path.is_socket() and path.name.startswith(signs) and not path.suffix
    ]  # one with a suffix belongs to an ssh that has not logged in yet
    groups = [_end(found[at : at + AT_ONCE]) for at in range(0, len(found), AT_ONCE)]
    return Disconnected(*(sum(counts) for counts in zip((0, 0), *groups, strict=True)))


def _end(sockets: Sequence[str]) -> Disconnected:
    leaving, silent = [], []
    for socket in sockets:
        known = identity(socket)
        try:
            leaving.append((socket, known, mux_client.ask_to_leave(socket)))
        except mux_client.MasterSilent:
            silent.append((socket, known))
        except mux_client.MasterGone:
            put_away(socket, known)
    until = time.monotonic() + LEAVE_S
    ended = 0
    for socket, known, asked in leaving:
        if mux_client.has_left(asked, until):
            ended += 1
            while identity(socket) == known and time.monotonic() < until:
                time.sleep(0.002)  # a master hangs up just before it removes its socket
        else:
            silent.append((socket, known))
    for socket, known in silent:
        put_away(socket, known)
    return Disconnected(ended, len(silent))
