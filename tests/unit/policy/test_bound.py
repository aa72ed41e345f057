"""What a process that runs RUNE for others makes of what its caller left it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SETTLED = """\
import os, signal
from lom.admission.bound import settle
settle(None)
for stop in (signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU):
    os.kill(os.getpid(), stop)
print(f"{os.umask(0):03o} {os.getcwd()} {sorted(os.environ)}")
"""


def test_it_is_what_a_login_makes_it_and_no_terminal_stops_it() -> None:
    """sudo unites the caller's umask with its own; a stopped process would keep its locks."""
    done = subprocess.run(
        [sys.executable, "-c", SETTLED],
        env={"HOME": "/tmp", "CALLERS": "own", "LC_ALL": "C"},
        umask=0o777,
        stdout=subprocess.PIPE,
        timeout=60,
        check=True,
    )
    home = done.stdout.decode().split()[1]
    assert home != "/tmp"
    names = ["HOME", "LC_ALL", "LOGNAME", "PATH", "SHELL", "USER"]
    assert done.stdout.decode() == f"022 {home} {names}\n"


IN_A_GROUP = """\
set -e
mount -t cgroup2 none "$1"
group=$1/rune-test-$$
mkdir -p "$group/own"
trap 'rmdir "$group/own" "$group"' EXIT
chown "$2" "$group$3"
shift 3
sh -c 'echo $$ >"$0/own/cgroup.procs"; exec "$@"' "$group" "$@"
"""
ENTERED = """\
from lmm.errors import PolicyDenied
from lom.admission.bound import Bound, settle
try:
    settle(Bound("rune", "SUDO_USER", "/"))
    print("ok")
except PolicyDenied as error:
    print(error.reason, error.message)
"""


@pytest.mark.needs_root
@pytest.mark.parametrize("what", ["", "/cgroup.procs", "/own/cgroup.freeze"])
def test_it_does_not_start_where_others_could_freeze_it(tmp_path: Path, what: str) -> None:
    """They would while it holds a lock that all wait for; the group above its own is enough."""
    said = []
    for owner in ("0", "65534"):
        script = ["unshare", "--mount", "sh", "-c", IN_A_GROUP, "sh", str(tmp_path), owner, what]
        command = [*script, sys.executable, "-c", ENTERED]
        said.append(subprocess.run(command, capture_output=True, text=True, timeout=60))
    assert said[0].stdout == "ok\n", said[0]
    assert said[1].stdout.startswith("command_refused the account rune runs RUNE for"), said[1]
    assert "rune-test-" in said[1].stdout
    assert "belongs to nobody" in said[1].stdout
