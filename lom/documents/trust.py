"""Whose files are obeyed: what is found, and not named for this call, must be the user's own.

Whoever can change a configuration, an inventory or a plugin decides what RUNE runs. A path is the
user's own when nobody but the user and root can change what stands there: they own it, the folders
above it and the links on the way, and nobody else may write these. Then nothing can change between
this look and the reading, either. ``rune config trust`` makes an exception for a folder.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shlex
import stat
from collections.abc import Iterator
from typing import NamedTuple

from lmm.errors import RequestError
from lom.documents.places import CONFIG, home, user_folder

LIST = "trusted"  # one folder a line
_MOST_LINKS = 40


class Doubt(NamedTuple):
    """What lets others decide what stands at a path: where, in words, and what ends it."""

    at: str
    why: str
    remedy: str | None


def refuse_foreign(path: str | os.PathLike[str], *, machine: bool = False) -> None:
    """Raise RequestError (``untrusted_path``) if others can change what stands at a path, or could
    put something there; ``config_invalid`` for what binds the whole ``machine``, which no list of
    trusted folders excepts."""
    steps = _steps_to(path)
    if not (doubts := list(_doubts(steps))):
        return
    resolved = steps[-1][0]
    if machine:
        remedy = doubts[0].remedy or "root must own it, and nobody else may write it"
        raise _error("config_invalid", path, doubts[0], remedy)
    trusted = [one for one in _trusted() if _within(resolved, one)]
    for doubt in doubts:
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
    _write([*(one for one in _trusted() if one != found), found])
    return found


def distrust(folder: str | os.PathLike[str]) -> str:
    """Take a folder off the list; return its resolved path. Raises RequestError."""
    found = os.path.realpath(folder)
    rest = [one for one in _trusted() if one != found]
    if len(rest) == len(_trusted()):
        raise RequestError(
            "invalid_request", f"{found} is not trusted; `rune config trust --list` shows which are"
        )
    _write(rest)
    return found


def _list_file() -> str | None:
    folder = user_folder(CONFIG, home=home())
    return folder and os.path.join(folder, LIST)


def _trusted() -> list[str]:
    file = _list_file()
    if file is None or not os.path.lexists(file):
        return []
    steps = _steps_to(file)
    for doubt in _doubts(steps):
        raise _refusal(file, steps[-1][0], doubt)
    try:
        with open(file, encoding="utf-8") as stream:
            return [line for line in stream.read().splitlines() if line.startswith("/")]
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not UTF-8"
        raise RequestError("config_invalid", f"cannot read {file}: {why}", file=file) from None


def _write(folders: list[str]) -> None:
    file = _list_file()
    if file is None:
        raise RequestError(
            "config_invalid",
            "there is no home directory to keep the list in: set HOME, or XDG_CONFIG_HOME",
        )
    for doubt in _doubts(_steps_to(os.path.dirname(file))):
        raise _refusal(file, file, doubt)
    try:
        os.makedirs(os.path.dirname(file), 0o700, exist_ok=True)
        new = f"{file}.{os.getpid()}"
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as stream:
            stream.write("".join(f"{one}\n" for one in folders))
        os.replace(new, file)
    except OSError as error:
        raise RequestError("local_io_error", f"cannot write {file}: {error.strerror}") from None


# -- who can change what stands at a path ------------------------------------------------------

_Step = tuple[str, os.stat_result]


def _steps_to(path: str | os.PathLike[str]) -> list[_Step]:
    """Return all that decides what stands at a path: the folders from / on, links, itself last.

    It ends with what leads there if nothing stands there: it may come a moment later.
    """
    steps: list[_Step] = []
    with contextlib.suppress(OSError):
        full = path if os.path.isabs(path) else os.path.join(os.getcwd(), path)
        for step in _walk(os.fspath(full)):
            steps.append(step)
    return steps


def _walk(path: str) -> Iterator[_Step]:
    at, parts, links = "/", path.split("/"), 0
    yield at, os.lstat(at)
    while parts:
        part = parts.pop(0)
        if part in ("", "."):
            continue
        if part == "..":
            at = os.path.dirname(at)
            continue
        here = os.path.join(at, part)
        found = os.lstat(here)
        yield here, found
        if not stat.S_ISLNK(found.st_mode):
            at = here
            continue
        links += 1
        if links > _MOST_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), here)
        leads = os.readlink(here)
        at = "/" if leads.startswith("/") else at
        parts[:0] = leads.split("/")


def _doubts(steps: list[_Step]) -> Iterator[Doubt]:
    own = {0, os.geteuid()}
    # Where a user namespace shows root as nobody, / belongs to nobody; who owns / owns all anyway.
    above = {*own, steps[0][1].st_uid} if steps else own
    shared = False  # whether others may add names beside this one
    for number, (at, found) in enumerate(steps):
        last = number == len(steps) - 1
        if found.st_uid not in (own if last else above):
            yield Doubt(at, f"{at} belongs to {_user(found.st_uid)}", None)
        if stat.S_ISLNK(found.st_mode):
            continue
        if shared and not stat.S_ISDIR(found.st_mode) and found.st_nlink > 1:
            yield Doubt(at, f"{at} has a second name, which others may have made", None)
        who = _others(at, found)
        shared = who is not None
        # In a folder with the sticky bit nobody can remove or replace what others own.
        if who and (last or not found.st_mode & stat.S_ISVTX):
            mode = stat.S_IMODE(found.st_mode)
            mends = found.st_uid == os.geteuid() or os.geteuid() == 0
            yield Doubt(
                at,
                f"{who} may write {at} (mode {mode:04o}, owner {_user(found.st_uid)})",
                f"`chmod go-w {shlex.quote(at)}`" if mends else None,
            )


def _others(at: str, found: os.stat_result) -> str | None:
    """Return who else may write, in words."""
    if found.st_mode & stat.S_IWOTH:
        return "everybody"
    if found.st_mode & stat.S_IWGRP and not _is_private(at, found.st_gid):
        import grp

        with contextlib.suppress(KeyError):
            return f"the group {grp.getgrgid(found.st_gid).gr_name}"
        return f"the group {found.st_gid}"
    return None


def _is_private(at: str, gid: int) -> bool:
    """Whether only the user and root are in a group: many systems give each user a group of the
    same name and a umask of 002. Others may still be let in by an access list."""
    import grp
    import pwd

    users = []
    for uid in {0, os.geteuid()}:
        with contextlib.suppress(KeyError):
            users.append(pwd.getpwuid(uid))
    try:
        group = grp.getgrgid(gid)
    except KeyError:
        return False
    if not any(one.pw_gid == gid and one.pw_name == group.gr_name for one in users):
        return False
    with contextlib.suppress(OSError):
        os.getxattr(at, "system.posix_acl_access")
        return False
    others = {one.pw_name for one in pwd.getpwall() if one.pw_gid == gid}
    return {*group.gr_mem, *others} <= {one.pw_name for one in users}


def _user(uid: int) -> str:
    import pwd

    try:
        return f"{pwd.getpwuid(uid).pw_name} (uid {uid})"
    except KeyError:
        return f"uid {uid}"


def _within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _refusal(path: str | os.PathLike[str], resolved: str, doubt: Doubt) -> RequestError:
    ways = [doubt.remedy] if doubt.remedy else []
    if os.path.basename(resolved) == LIST and resolved == _list_file():
        ways.append("set HOME or XDG_CONFIG_HOME to folders of your own (`sudo -H` does)")
    else:
        folder = shlex.quote(os.path.dirname(resolved))
        ways.append(f"if you trust all who can change it: `rune config trust {folder}`")
    return _error("untrusted_path", path, doubt, "; or ".join(ways))


def _error(reason: str, path: str | os.PathLike[str], doubt: Doubt, remedy: str) -> RequestError:
    return RequestError(
        reason,
        f"{os.fspath(path)} is not obeyed: {doubt.why}; {remedy}",
        file=os.fspath(path),
        path=doubt.at,
    )
