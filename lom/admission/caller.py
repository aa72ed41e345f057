"""Who asks for a run: the OS user, or an identity that such a user may speak for."""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Mapping
from typing import NamedTuple

from lmm.errors import RequestError
from lom.names import shown

IDENTITY_VARIABLE = "RUNE_IDENTITY"
_UNSET_LOGIN_UID = 2**32 - 1  # proc(5), /proc/pid/loginuid
_LONGEST = 256


class Caller(NamedTuple):
    """Who asks. ``user`` and ``groups`` are what rules see.

    ``identity`` is what the environment claims; it became ``user`` only if ``trusted``.
    ``login_uid`` is the user who once logged in, which sudo and su do not change. ``bound`` is
    whether the OS user runs RUNE for others.
    """

    user: str
    groups: frozenset[str]
    os_user: str
    uid: int
    login_uid: int | None = None
    identity: str | None = None
    trusted: bool = False
    bound: bool = False

    @property
    def asker(self) -> str | None:
        """Whose the runs are that it begins; None: those of the OS user itself."""
        return self.user if self.bound or self.user != self.os_user else None


def current_caller(environ: Mapping[str, str], identities: Mapping[str, str]) -> Caller:
    """Return who a process of this user with this environment acts for.

    ``identities`` names, by OS user, the variable that is believed. Raises RequestError
    (``invalid_request``) for an identity that is no name.
    """
    uid = os.getuid()
    os_user = user_name(uid)
    variable = identities.get(os_user)
    identity = environ.get(variable or IDENTITY_VARIABLE) or None
    if identity is not None and (len(identity) > _LONGEST or not identity.isprintable()):
        raise RequestError(
            "invalid_request",
            f"{variable or IDENTITY_VARIABLE} is {shown(identity)}, which is no name",
            field=variable or IDENTITY_VARIABLE,
        )
    trusted = variable is not None and identity is not None
    return Caller(
        user=identity if trusted and identity else os_user,
        groups=_groups_of(identity) if trusted and identity else _own_groups(),
        os_user=os_user,
        uid=uid,
        login_uid=_login_uid(),
        identity=identity,
        trusted=trusted,
        bound=variable is not None,
    )


def owner(uid: int, claimed: str, identities: Mapping[str, str]) -> tuple[str, frozenset[str]]:
    """Return who wrote what the OS user ``uid`` owns, and that one's groups.

    Whom it ``claimed`` to be is believed as in ``current_caller``.
    """
    os_user = user_name(uid)
    user = claimed if os_user in identities else os_user
    return user, _groups_of(user)


def user_name(uid: int) -> str:
    """Return the name of an OS user, ``#UID`` for one without."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"#{uid}"


def _own_groups() -> frozenset[str]:
    return frozenset(map(_group_name, {os.getgid(), *os.getgroups()}))


def _groups_of(identity: str) -> frozenset[str]:
    """Return the groups of an identity that is also a user of this machine, else none."""
    try:
        entry = pwd.getpwnam(identity)
    except KeyError:
        return frozenset()
    return frozenset(map(_group_name, os.getgrouplist(identity, entry.pw_gid)))


def _group_name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return f"#{gid}"


def _login_uid() -> int | None:
    try:
        with open("/proc/self/loginuid", encoding="ascii") as stream:
            uid = int(stream.read())
    except (OSError, ValueError):
        return None
    return None if uid == _UNSET_LOGIN_UID else uid
