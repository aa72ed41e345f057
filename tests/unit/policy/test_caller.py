"""Who asks: the OS user, unless the policy lets that user speak for others."""

from __future__ import annotations

import grp
import os
import pwd

import pytest

from lmm.errors import RequestError
from lom.admission.caller import current_caller

ME = pwd.getpwuid(os.getuid()).pw_name


def test_the_os_user_with_the_groups_of_the_process() -> None:
    caller = current_caller({}, {})
    assert (caller.user, caller.os_user, caller.uid) == (ME, ME, os.getuid())
    assert grp.getgrgid(os.getgid()).gr_name in caller.groups
    assert (caller.identity, caller.trusted, caller.bound) == (None, False, False)


@pytest.mark.parametrize(
    ("environ", "identities"),
    [
        ({"RUNE_IDENTITY": "boss"}, {}),
        ({"RUNE_IDENTITY": "boss"}, {"somebody-else": "RUNE_IDENTITY"}),
        ({"RUNE_IDENTITY": "boss", "USER": "boss", "LOGNAME": "boss", "SUDO_USER": "boss"}, {}),
    ],
)
def test_a_claim_is_noted_and_not_believed(
    environ: dict[str, str], identities: dict[str, str]
) -> None:
    caller = current_caller(environ, identities)
    assert (caller.user, caller.identity, caller.trusted) == (ME, "boss", False)


def test_a_trusted_users_process_speaks_for_others_by_the_named_variable_only() -> None:
    identities = {ME: "SUDO_USER"}
    caller = current_caller({"SUDO_USER": "nobody", "RUNE_IDENTITY": "boss"}, identities)
    assert (caller.user, caller.os_user, caller.trusted) == ("nobody", ME, True)
    assert caller.bound
    assert caller.groups == {grp.getgrgid(pwd.getpwnam("nobody").pw_gid).gr_name}
    assert current_caller({"SUDO_USER": "no-such-user"}, identities).groups == frozenset()
    silent = current_caller({"RUNE_IDENTITY": "boss", "SUDO_USER": ""}, identities)
    assert (silent.user, silent.identity, silent.trusted) == (ME, None, False)
    assert silent.bound


@pytest.mark.parametrize("identity", ["a\nb", "x" * 257, "\x1b[31m"])
def test_an_identity_is_a_name(identity: str) -> None:
    with pytest.raises(RequestError, match=r"RUNE_IDENTITY is .* which is no name"):
        current_caller({"RUNE_IDENTITY": identity}, {})
