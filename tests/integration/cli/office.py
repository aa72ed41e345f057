"""People of one machine who share a folder, plugins, rules and approvals."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmm.testing import Account
from tests.support.documents import check_document
from tests.support.errors import reason

from .conftest import ROOT, Done, Rune, success

ADMIN = pwd.getpwuid(0).pw_name
RULES = f"""\
policy:
  rules:
    - name: wipe-needs-two
      risks: destructive
      approval: {{approvers: [{ADMIN}], valid_for: 8h}}
      effect: allow
approvals: approvals
"""
INVENTORY = "targets: {web1: {transport: local}, web2: {transport: local}}\n"
SCHEMA = {
    "type": "object",
    "properties": {"disk": {"type": "string"}, "token": {"type": "string", "writeOnly": True}},
    "additionalProperties": False,
}
WIPE = ("run", "t.wipe", "-t", "web1", "-p", "disk=sdb", "-o", "json")


@dataclass(frozen=True)
class Person:
    """A user of the operating system who starts ``rune`` in a folder that all can read."""

    folder: Path
    name: str
    uid: int
    home: Path

    def start(self, *arguments: str, **env: str) -> subprocess.Popen[bytes]:
        own = {"HOME": str(self.home), "TMPDIR": "/tmp", "XDG_RUNTIME_DIR": "/tmp"}
        return subprocess.Popen(
            [*self._rights(), sys.executable, "-m", "lom.cli", *arguments],
            cwd=self.folder,
            env={**os.environ, **own, "PYTHONPATH": str(ROOT), **env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def __call__(self, *arguments: str, **env: str) -> Done:
        with self.start(*arguments, **env) as process:
            out, err = process.communicate(timeout=60)
        check_document(arguments, out)
        return Done(process.returncode, out, err.decode())

    def writes(self, path: Path, text: str) -> None:
        """Write a file as this user, who alone may write it."""
        script = 'umask 022; rm -f "$1"; cat > "$1"'
        command = [*self._rights(), "sh", "-c", script, "sh", str(path)]
        subprocess.run(command, input=text.encode(), check=True, timeout=60)

    @property
    def audit(self) -> list[dict[str, Any]]:
        text = (self.home / ".local/state/rune/audit.jsonl").read_text()
        return [json.loads(line) for line in text.splitlines()]

    def _rights(self) -> list[str]:
        """Return what starts a program with this user's rights, who may besides read all files.

        Python itself may be where only root can read.
        """
        if self.uid == 0:
            return []
        ids = [f"--reuid={self.uid}", f"--regid={self.uid}", "--clear-groups"]
        bounding = int(_status("CapBnd"), 16)
        reading = "dac_read_search" if bounding & 1 << 2 else "dac_override"
        return ["setpriv", *ids, f"--inh-caps=+{reading}", f"--ambient-caps=+{reading}"]


def _status(name: str) -> str:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(line.split()[1] for line in lines if line.startswith(f"{name}:"))


@dataclass(frozen=True)
class Office:
    """A shared folder with plugins, rules and a folder of approvals; ``ann`` asks."""

    folder: Path
    ann: Person
    admin: Person
    stranger: Person

    @property
    def approvals(self) -> Path:
        return self.folder / "approvals"

    def write(self, name: str, text: str) -> Path:
        return Rune(self.folder).write(name, text)

    def ask(self, *command: str, **env: str) -> str:
        """Ask for a run as ann, and return its id."""
        done = self.ann(*(command or WIPE), **env)
        assert (done.code, reason(done)) == (3, "approval_required"), done.stderr
        return str(data(done)["run_id"])

    def answer(self, run_id: str) -> Path:
        """Return the one answer to a request."""
        [found] = self.approvals.glob(f"{run_id}.*.answer.json")
        return found


@contextmanager
def open_office(account: Account) -> Iterator[Office]:
    """Make a folder in which ``account`` is ann."""
    folder = Path(tempfile.mkdtemp(prefix="rune-office-", dir="/tmp"))
    folder.chmod(0o755)
    try:
        rune = Rune(folder)
        rune.write("inventory.yaml", INVENTORY)
        rune.write("rune.yaml", RULES)
        rune.plugin("t.wipe", success({"wiped": True}), risk="destructive", input_schema=SCHEMA)
        (folder / "approvals").mkdir()
        (folder / "approvals").chmod(0o1777)
        people = [("ann", account.name, account.uid), ("admin", ADMIN, 0)]
        people.append(("stranger", "nobody", pwd.getpwnam("nobody").pw_uid))
        homes = {}
        for word, name, uid in people:
            home = folder / "homes" / word
            home.mkdir(parents=True)
            os.chown(home, uid, -1)
            homes[word] = Person(folder, name, uid, home)
        yield Office(folder, **homes)
    finally:
        shutil.rmtree(folder)


def data(done: Done) -> dict[str, Any]:
    found: dict[str, Any] = done.document["error_data"]["error"]["data"]
    return found
