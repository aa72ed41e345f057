"""Programs on a machine on which other file systems lie over some folders."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def run_mounted(program: str, mounts: str) -> subprocess.CompletedProcess[str]:
    """Run a Python program in a mount namespace of its own; it mounts what ``sys.argv[1]`` says.

    Root's alone. The program loads what it needs before that: a mount may lie over the checkout.
    """
    return subprocess.run(
        ["unshare", "--mount", sys.executable, "-c", program, mounts],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
