"""Who can change what stands at a path: its owner, who may write it, and the same of all above it.

A path is the user's own when nobody but the user and root can change what stands there. Then
nothing can change between this look and the use, either.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shlex
import stat
from collections.abc import Iterator
from typing import NamedTuple

_MOST_LINKS = 40

Step = tuple[str, os.stat_result]


class Doubt(NamedTuple):
    """What lets others decide what stands at a path: where, in words, and what ends it."""

    at: str
    why: str
    remedy: str | None


def first_doubt(path: str | os.PathLike[str], *, inside: bool = False) -> Doubt | None:
    """Return what lets others decide what stands at a path, None if it is the user's own.

    ``inside`` is for a folder in which the user makes something: there a shared one with the
    sticky bit will do. One that is not there will not: others could make it.
    """
    if not inside:
        return next(doubts(steps_to(path)), None)
    try:
        steps = list(_walk(_absolute(path)))
    except OSError as error:
        return Doubt(os.fspath(path), f"{os.fspath(path)}: {error.strerror}", None)
    return next(doubts(steps, inside=True), None)


def make_private(folder: str | os.PathLike[str]) -> None:
    """Make a folder, and those above it that are missing, for the user alone. Raises OSError.

    A umask of 002 would let a group in that may be another user's, too.
    """
    folder = os.path.abspath(folder)
    if os.path.isdir(folder):
        return
    make_private(os.path.dirname(folder))
    try:
        os.mkdir(folder, 0o700)
    except FileExistsError:
        if not os.path.isdir(folder):
            raise


def steps_to(path: str | os.PathLike[str]) -> list[Step]:
    """Return all that decides what stands at a path: the folders from / on, links, itself last.

    It ends with what leads there if nothing stands there: it may come a moment later.
    """
    steps: list[Step] = []
    with contextlib.suppress(OSError):
        for step in _walk(_absolute(path)):
            steps.append(step)
    return steps


def _absolute(path: str | os.PathLike[str]) -> str:
    return os.fspath(path if os.path.isabs(path) else os.path.join(os.getcwd(), path))


def _walk(path: str) -> Iterator[Step]:
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


def doubts(steps: list[Step], *, inside: bool = False) -> Iterator[Doubt]:
    """Yield what lets others decide what stands where the steps lead (see ``first_doubt``)."""
    own = {0, os.geteuid()}
    # Where a user namespace shows root as nobody, / belongs to nobody; who owns / owns all anyway.
    above = {*own, steps[0][1].st_uid} if steps else own
    shared = False  # whether others may add names beside this one
    for number, (at, found) in enumerate(steps):
        last = number == len(steps) - 1 and not inside
        if found.st_uid not in (own if last else above):
            yield Doubt(at, f"{at} belongs to {_user(found.st_uid)}", None)
        # Who owns a folder can move the user's files out of it, or give them a second name: so to
        # be the user's own is no proof of who put a file here. Folders need their owner's rights.
        if shared and not stat.S_ISDIR(found.st_mode):
            yield Doubt(at, f"{at} may have been put there by others than its owner", None)
        if stat.S_ISLNK(found.st_mode):
            continue
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
