"""An account that people reach only by sudo for ``rune``, under a policy of the machine.

The machine stays as it is: ``/etc`` is a copy in a mount namespace of its own.
"""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmm.testing import Account

from .conftest import ROOT, Done

# Ends, and the namespace with it, when its stdin does.
HOLD = """\
set -e
mount --bind "$1/etc" /etc
opened=$1/opened
while read -r closed aside path; do  # what others could not reach
    mount --bind "$path" "$aside"
done < "$opened"
while read -r closed aside path; do
    [ -e "$closed/.open" ] || mount -t tmpfs -o mode=755 tmpfs "$closed"
    mkdir -p "$closed/.open" "$path"
    mount --bind "$aside" "$path"
done < "$opened"
echo ready
exec cat
"""

PROGRAM = """\
#!{python}
import sys
sys.path.insert(0, {root!r})
from lom.cli import main
main()
"""

# Starts one command line after the other in one process, and tells how each ended.
TABLE = """\
#!{python}
import json, os, sys
sys.path.insert(0, {root!r})
from lom.cli.app import run
lines, told = json.load(sys.stdin), os.dup(1)
os.dup2(2, 1)
codes = [run(line) for line in lines]
os.write(told, json.dumps(codes).encode())
"""

POLICY = """\
default: deny
inventory: inventory.yaml
plugin_lock: plugins.lock.json
audit: {{log: {folder}/log/audit.jsonl, required: true}}
approvals: {folder}/approvals
identities: {{{account}: SUDO_USER}}
rules:
  - name: two-for-facts
    actions: host.info
    approval: {{approvers: {bob}}}
    effect: allow
  - {{name: free, actions: noop, effect: allow}}
"""
INVENTORY = "targets: {web1: {transport: local}, web2: {transport: local}}\n"


@dataclass(frozen=True)
class Service:
    """``account`` runs RUNE for ``alice`` and ``bob``; ``folder`` has what belongs to it."""

    folder: Path
    account: Account
    alice: Account
    bob: Account
    namespace: str

    @property
    def policy(self) -> Path:
        return self.folder / "etc/rune/policy.yaml"

    @property
    def audit(self) -> list[dict[str, Any]]:
        log = self.folder / "log/audit.jsonl"
        return [json.loads(one) for one in log.read_text().splitlines()] if log.exists() else []

    def refused(self) -> list[str]:
        """Return what was refused so far, as the audit log has it."""
        return [one["command"] for one in self.audit if one["event"] == "command.refused"]

    def __call__(
        self,
        person: Account,
        *arguments: str,
        cwd: Path | str = "/",
        env: Mapping[str, str] | None = None,
        stdin: bytes = b"",
        program: str = "rune",
        before: str = ":",
    ) -> Done:
        """Let a person run ``sudo -u ACCOUNT NAME=VALUE… rune ARGUMENTS`` in a folder."""
        given = [f"{name}={value}" for name, value in (env or {}).items()]
        sudo = ["sudo", "-n", "-u", self.account.name, *given, str(self.folder / program)]
        return self.alone(person, *sudo, *arguments, cwd=cwd, stdin=stdin, before=before)

    def alone(
        self,
        person: Account,
        *command: str,
        cwd: Path | str = "/",
        stdin: bytes = b"",
        before: str = ":",
    ) -> Done:
        """Run a command with a person's own rights."""
        script = f'cd "$1" && {before} && shift && exec "$@"'
        gid = pwd.getpwnam(person.name).pw_gid
        rights = [f"--reuid={person.uid}", f"--regid={gid}", "--clear-groups"]
        inside = ["nsenter", f"--mount={self.namespace}", "setpriv", *rights]
        done = subprocess.run(
            [*inside, "sh", "-c", script, "sh", str(cwd), *command],
            env={**os.environ, "HOME": str(person.home), "TMPDIR": "/tmp"},
            input=stdin,
            capture_output=True,
            timeout=90,
        )
        return Done(done.returncode, done.stdout, done.stderr.decode())

    def writes(self, person: Account, path: Path, text: str, mode: int = 0o644) -> Path:
        """Write a file that belongs to a person."""
        path.parent.mkdir(parents=True, exist_ok=True)
        os.chown(path.parent, person.uid, -1)
        path.write_text(text)
        path.chmod(mode)
        os.chown(path, person.uid, -1)
        return path


@contextmanager
def open_service() -> Iterator[Service]:
    """Make the account and two people; remove all of it at the end."""
    with ExitStack() as stack:
        account, alice, bob = (stack.enter_context(Account()) for _ in range(3))
        folder = Path(tempfile.mkdtemp(prefix="rune-service-", dir="/tmp"))
        stack.callback(shutil.rmtree, folder)
        folder.chmod(0o755)
        # Not checked: files of other tests' accounts come and go there.
        subprocess.run(["cp", "-a", "/etc", folder], capture_output=True)
        _furnish(folder, account, alice, bob)
        holder = stack.enter_context(
            subprocess.Popen(
                ["unshare", "--mount", "sh", "-c", HOLD, "sh", str(folder)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
        )
        assert holder.stdin
        assert holder.stdout
        stack.callback(holder.stdin.close)
        assert holder.stdout.readline() == b"ready\n"
        yield Service(folder, account, alice, bob, f"/proc/{holder.pid}/ns/mnt")


def _furnish(folder: Path, account: Account, alice: Account, bob: Account) -> None:
    for name, text in (("rune", PROGRAM), ("table", TABLE)):
        program = folder / name
        program.write_text(text.format(python=sys.executable, root=str(ROOT)))
        program.chmod(0o755)
    for name in ("log", "approvals"):
        (folder / name).mkdir(mode=0o700)
        os.chown(folder / name, account.uid, -1)
    rune = folder / "etc/rune"
    rune.mkdir()
    (rune / "inventory.yaml").write_text(INVENTORY)
    text = POLICY.format(folder=folder, account=account.name, bob=bob.name)
    (rune / "policy.yaml").write_text(text)
    lock = ["plugin", "lock", "--file", str(rune / "plugins.lock.json"), "-q"]
    subprocess.run([folder / "rune", *lock], cwd=folder, check=True, capture_output=True)
    # An administrator who lets people set variables: RUNE believes none of them all the same.
    rules = folder / "etc/sudoers.d/rune-service"
    rules.write_text(
        "".join(
            f"{one.name} ALL=({account.name}) NOPASSWD:SETENV: {folder}/rune, {folder}/table\n"
            for one in (alice, bob)
        )
    )
    rules.chmod(0o440)
    (folder / "opened").write_text("".join(_closed(folder)))


def _closed(folder: Path) -> Iterator[str]:
    """Yield what makes Python and RUNE reachable for all where they lie in a closed folder."""
    for number, path in enumerate(dict.fromkeys((sys.base_prefix, sys.prefix, str(ROOT)))):
        above = [one for one in reversed(Path(path).parents) if not one.stat().st_mode & 0o001]
        if above:
            aside = folder / f"aside{number}"
            aside.mkdir()
            yield f"{above[0]} {aside} {path}\n"
