"""A throw-away Unix account, for what only a real account shows: passwords, sudo, login noise."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import subprocess
import time
from pathlib import Path
from typing import Self

from lmm.errors import RequestError
from lmm.testing import processes

SUDOERS = Path("/etc/sudoers.d")
# useradd and userdel lock /etc/passwd; with several at a time the late ones fail at once.
LOCK_ATTEMPTS = 50
TIDY_S = 2.0
# Drawn, as useradd would give the uid of a removed account to the next one, with what that left.
UIDS = range(100_000, 1_000_000)


class Account:
    """A Unix account with an empty profile; use it as a context manager, as root only.

    ``authorized_key`` is a public key line for its ``~/.ssh/authorized_keys`` (an ``Sshd`` lets
    every account in with the server's own key anyway), ``password`` lets it log in by password.
    ``sudo`` is ``None``, ``"nopasswd"`` or ``"password"``; ``bashrc`` becomes its ``~/.bashrc``.
    On exit its processes are killed and the account, its home, its receipts and its sudo rule
    are removed.
    Raises RequestError (``local_dependency_missing``, ``local_io_error``).
    """

    def __init__(
        self,
        *,
        authorized_key: str | None = None,
        password: str | None = None,
        sudo: str | None = None,
        bashrc: str = "",
        shell: str = "/bin/bash",
    ) -> None:
        if sudo not in (None, "nopasswd", "password"):
            raise ValueError(f"sudo is None, 'nopasswd' or 'password', not {sudo!r}")
        self.name = f"rune-{secrets.token_hex(4)}"
        self.home = Path()
        self.uid = -1
        self._authorized_key = authorized_key
        self._password = password
        self._sudo = sudo
        self._bashrc = bashrc
        self._shell = shell

    def __enter__(self) -> Self:
        if os.getuid() != 0:
            raise RequestError("local_dependency_missing", "making a Unix account needs root")
        # "*": no password logs in, yet the account is not locked, which sshd would refuse.
        skeleton = ["--skel", "/nonexistent", "-m", "-s", self._shell, "-p", "*"]
        uid = ["--no-log-init", "-u", str(secrets.choice(UIDS))]
        _run_locked(["useradd", *skeleton, *uid, self.name])
        try:
            entry = pwd.getpwnam(self.name)
            self.home, self.uid = Path(entry.pw_dir), entry.pw_uid
            self._furnish(entry.pw_gid)
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    def pids(self) -> set[int]:
        """Return every live process that runs as this account."""
        own = {pid for pid in processes.all_pids() if processes.owner(pid) == self.uid}
        return {pid for pid in own if processes.is_alive(pid)}

    def remove(self) -> None:
        """Kill the account's processes and remove all of it."""
        (SUDOERS / self.name).unlink(missing_ok=True)
        # What is about to end tidies up first; connections that are kept would not end.
        ending = {pid for pid in self.pids() if "sshd" not in processes.describe(pid)}
        processes.wait_gone(ending, TIDY_S)
        processes.end(self.pids(), 1.0)
        _run_locked(["userdel", "-f", self.name])
        if self.home != Path():
            shutil.rmtree(self.home, ignore_errors=True)
            for place in ("/var/tmp", "/dev/shm"):
                shutil.rmtree(f"{place}/.rune-receipts-{self.uid}", ignore_errors=True)

    def _furnish(self, group: int) -> None:
        ssh = self.home / ".ssh"
        ssh.mkdir(mode=0o700)
        keys = ssh / "authorized_keys"
        keys.write_text(f"{self._authorized_key}\n" if self._authorized_key else "", "ascii")
        keys.chmod(0o600)
        bashrc = self.home / ".bashrc"
        bashrc.write_text(self._bashrc, "utf-8")
        for path in (ssh, keys, bashrc):
            os.chown(path, self.uid, group)
        if self._password is not None:
            _run_locked(["chpasswd"], f"{self.name}:{self._password}\n")
        if self._sudo is not None:
            if not SUDOERS.is_dir() or shutil.which("sudo") is None:
                raise RequestError("local_dependency_missing", "sudo is not installed here")
            tag = "NOPASSWD: " if self._sudo == "nopasswd" else ""
            rule = SUDOERS / self.name
            # What a session of an Sshd starts through sudo must stay findable by its mark.
            rule.write_text(
                f"Defaults:{self.name} !lecture, env_keep += RUNE_TESTING_SSHD\n"
                f"{self.name} ALL=(ALL:ALL) {tag}ALL\n",
                "ascii",
            )
            rule.chmod(0o440)


def _run_locked(argv: list[str], text: str | None = None) -> None:
    for _ in range(LOCK_ATTEMPTS):
        done = subprocess.run(argv, input=text or "", capture_output=True, text=True)
        words = done.stderr.strip()
        if done.returncode == 0:
            return
        if "lock" not in words:
            break
        time.sleep(0.1)
    raise RequestError("local_io_error", f"{argv[0]} failed ({done.returncode}): {words}")
