"""What a process that runs RUNE for others makes of what its caller left it."""

from __future__ import annotations

import subprocess
import sys

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
