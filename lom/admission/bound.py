"""The account that runs RUNE for others, as ``identities`` in the machine's own policy says.

Whoever reaches such an account, by sudo or through a service, is bound by the policy: they give
data, and everything that is executed, read or written lies where the account itself has it.
"""

from __future__ import annotations

import os
import pwd
import re
import signal
from collections.abc import Mapping
from typing import NamedTuple

from lmm.errors import PolicyDenied, RequestError
from lom.admission.caller import Caller, current_caller, user_name
from lom.admission.cgroups import foreign_group
from lom.documents.places import home
from lom.settings.files import system_file
from lom.settings.load import load_settings, system_safeguards
from lom.settings.values import Settings

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SECRETS = re.compile(r"RUNE_SECRET_[A-Za-z0-9_]+")  # means nothing but to who names it
PLACES = ("inventory", "plugin_path", "state_dir")
_LOOKS = ("LANG", "LANGUAGE", "TERM", "COLUMNS", "LINES", "NO_COLOR", "RUNE_OUTPUT")
_WORD = re.compile(r"[A-Za-z0-9_.@:-]*")  # no path: a locale or a terminal can be a file


class Bound(NamedTuple):
    """This process's OS user, whom the policy believes ``variable`` about who asks."""

    account: str
    variable: str
    home: str

    @property
    def caller(self) -> Caller:
        """Who asks. Raises RequestError (``invalid_request``) for an identity that is no name."""
        return current_caller(os.environ, {self.account: self.variable})


def bound_account() -> Bound | None:
    """Return this account if it runs RUNE for others, None for everybody else.

    Raises RequestError (``config_invalid``) where the machine's policy does not let one tell.
    """
    file = system_file(None)  # faults elsewhere in it are told by what they concern
    if file is None:
        return None
    identities = file.data.get("identities", {})
    if not isinstance(identities, Mapping):
        system_safeguards()  # says what is wrong with it
        return None
    account = user_name(os.getuid())
    if identities and account.startswith("#"):  # a directory service may be away
        raise RequestError(
            "config_invalid",
            f"the user with id {os.getuid()} has no name on this machine: nobody can tell whether"
            f" {file.file} binds it; see `getent passwd {os.getuid()}`",
            field="$.identities",
            file=file.file,
        )
    if account not in identities:
        return None
    return Bound(account, str(identities[account]), _home())


def settle(account: Bound | None) -> None:
    """Make this process what a login of its account would be: environment, home, folder and umask.

    Of the environment stay who asks, what only looks, and ``RUNE_SECRET_…``. A terminal cannot stop
    the process: it may hold a lock that the runs of all callers wait for. ``RUNE_ASKER`` keeps the
    connections that outlive the process apart by who asks: they have the limits of its caller.
    Raises PolicyDenied (``command_refused``) where others could freeze it; that is not recorded, as
    it takes a lock.
    """
    if account and (why := foreign_group()):
        raise PolicyDenied(
            "command_refused",
            f"the account {account.account} runs RUNE for others, whom a process of it could keep"
            f" waiting that somebody freezes: {why}; start it from a login by ssh or at a console"
            " (no desktop, no `systemd-run --user`), or let a service ask",
            user=account.caller.user,
        )
    own_home = _home()
    kept = {
        name: value
        for name, value in os.environ.items()
        if ((name in _LOOKS or name.startswith("LC_")) and _WORD.fullmatch(value))
        or SECRETS.fullmatch(name)
        or (account and name == account.variable)
    }
    name = user_name(os.getuid())
    own = {"HOME": own_home, "USER": name, "LOGNAME": name, "SHELL": "/bin/sh", "PATH": PATH}
    if account:
        own["RUNE_ASKER"] = os.environ.get(account.variable, "")
    os.environ.clear()
    os.environ.update({**kept, **own})
    try:
        os.chdir(own_home)
    except OSError:
        os.chdir("/")
    os.umask(0o022)
    for stop in (signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU):
        signal.signal(stop, signal.SIG_IGN)


def refuse_command(account: Bound, command: str, why: str) -> PolicyDenied:
    """Return the error for a command that the account has not, after recording it."""
    from pathlib import Path

    from lom.admission.admit import refuse

    try:
        settings = load_settings({}, os.environ, Path.cwd(), home())
    except RequestError:  # in the account's own files: the machine's policy has a log as well
        settings = Settings()
    return refuse(settings, account.caller, command, why)


def chosen_place(account: Bound, settings: Settings) -> str | None:
    """Return which of the places in the settings is not the account's own, None if all are."""
    from pathlib import Path

    folder = Path(account.home)
    own = load_settings({}, {}, folder, folder)
    return next((key for key in PLACES if getattr(settings, key) != getattr(own, key)), None)


def _home() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_dir or "/"
    except KeyError:
        return "/"
