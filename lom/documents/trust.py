"""Whose files are obeyed: what is found, and not named for this call, must be the user's own.

Whoever can change a configuration, an inventory or a plugin decides what RUNE runs. A path is the
user's own when nobody but the user and root can change what stands there (``lmm.ownership``).
``rune config trust`` makes an exception for a folder.
"""

from __future__ import annotations

import contextlib
import os
import shlex
from collections.abc import Iterator

from lmm import filelock
from lmm.errors import RequestError
from lmm.ownership import Doubt, doubts, make_private, steps_to
from lom.documents.places import CONFIG, home, user_folder

LIST = "trusted"  # one folder a line


def refuse_foreign(path: str | os.PathLike[str], *, machine: bool = False) -> None:
    """Raise RequestError (``untrusted_path``) if others can change what stands at a path, or could
    put something there; ``config_invalid`` for what binds the whole ``machine``, which no list of
    trusted folders excepts."""
    steps = steps_to(path)
    if not (found := list(doubts(steps))):
        return
    resolved = steps[-1][0]
    if machine:
        remedy = found[0].remedy or "root must own it, and nobody else may write it"
        raise _error("config_invalid", path, found[0], remedy)
    trusted = [one for one in _trusted() if _within(resolved, one)]
    for doubt in found:
        if not any(_within(doubt.at, one) or _within(one, doubt.at) for one in trusted):
            raise _refusal(path, resolved, doubt)


def is_own(path: str | os.PathLike[str]) -> bool:
    """Whether a path is the user's own, or trusted."""
    try:
        refuse_foreign(path)
    except RequestError:
        return False
    return True


# -- folders that are trusted all the same -----------------------------------------------------


def trusted_folders() -> list[str]:
    """Return the folders that `rune config trust` has noted. Raises RequestError."""
    return list(_trusted())


def trust(folder: str | os.PathLike[str]) -> str:
    """Note that a folder, and all that lies in it, is trusted; return its resolved path.

    Raises RequestError (``invalid_request``, ``config_invalid``, ``local_io_error``).
    """
    found = os.path.realpath(folder)
    if not os.path.isdir(found):
        raise RequestError("invalid_request", f"{os.fspath(folder)} is no folder")
    if not found.isprintable():
        raise RequestError("invalid_request", "a path with control characters cannot be noted")
    with _changing() as file:
        _write(file, [*(one for one in _trusted() if one != found), found])
    return found


def distrust(folder: str | os.PathLike[str]) -> str:
    """Take a folder off the list; return its resolved path. Raises RequestError."""
    found = os.path.realpath(folder)
    with _changing() as file:
        listed = _trusted()
        if found not in listed:
            raise RequestError(
                "invalid_request",
                f"{found} is not trusted; `rune config trust --list` shows which are",
            )
        _write(file, [one for one in listed if one != found])
    return found


def _list_file() -> str | None:
    folder = user_folder(CONFIG, home=home())
    return folder and os.path.join(folder, LIST)


def _trusted() -> list[str]:
    file = _list_file()
    if file is None or not os.path.lexists(file):
        return []
    steps = steps_to(file)
    for doubt in doubts(steps):
        raise _refusal(file, steps[-1][0], doubt)
    try:
        with open(file, encoding="utf-8") as stream:
            return [line for line in stream.read().splitlines() if line.startswith("/")]
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not UTF-8"
        raise RequestError("config_invalid", f"cannot read {file}: {why}", file=file) from None


@contextlib.contextmanager
def _changing() -> Iterator[str]:
    """Let one process at a time read and write the list; yield its path. Raises RequestError."""
    file = _list_file()
    if file is None:
        raise RequestError(
            "config_invalid",
            "there is no home directory to keep the list in: set HOME, or XDG_CONFIG_HOME",
        )
    folder = os.path.dirname(file)
    for doubt in doubts(steps_to(folder)):
        raise _refusal(file, file, doubt)
    try:
        make_private(folder)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            filelock.lock(descriptor)
            yield file
        finally:
            os.close(descriptor)
    except OSError as error:
        raise RequestError("local_io_error", f"cannot write {file}: {error.strerror}") from None


def _write(file: str, folders: list[str]) -> None:
    new = f"{file}.{os.getpid()}"
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as stream:
        stream.write("".join(f"{one}\n" for one in folders))
    os.replace(new, file)


def _within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _refusal(path: str | os.PathLike[str], resolved: str, doubt: Doubt) -> RequestError:
    ways = [doubt.remedy] if doubt.remedy else []
    if os.path.basename(resolved) == LIST and resolved == _list_file():
        ways.append("set HOME or XDG_CONFIG_HOME to folders of your own (`sudo -H` does)")
    else:
        # where nothing stands yet, what is resolved is the folder that it would come into
        folder = os.path.dirname(resolved) if os.path.lexists(path) else resolved
        ways.append(
            f"if you trust all who can change it: `rune config trust {shlex.quote(folder)}`"
        )
    return _error("untrusted_path", path, doubt, "; or ".join(ways))


def _error(reason: str, path: str | os.PathLike[str], doubt: Doubt, remedy: str) -> RequestError:
    return RequestError(
        reason,
        f"{os.fspath(path)} is not obeyed: {doubt.why}; {remedy}",
        file=os.fspath(path),
        path=doubt.at,
    )
