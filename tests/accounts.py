"""Running our own Python as another user."""

from __future__ import annotations

from pathlib import Path

from lmm.testing import Account


def as_user(account: Account) -> list[str]:
    """Return what to put before a command, so that it has the account's rights.

    It may besides read all files: Python itself may be where only root can read.
    """
    ids = [f"--reuid={account.uid}", f"--regid={account.uid}", "--clear-groups"]
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    bounding = int(status.partition("CapBnd:")[2].split()[0], 16)
    reading = "dac_read_search" if bounding & 1 << 2 else "dac_override"
    return ["setpriv", *ids, f"--inh-caps=+{reading}", f"--ambient-caps=+{reading}"]
