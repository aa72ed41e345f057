"""This machine, through the same shell and bootstrap as any other host."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import ClassVar

from lmm.opening import Opening
from lmm.ownership import first_doubt
from lmm.ssh.home import home
from lmm.transports.base import Job
from lmm.transports.process import run_process

# What a login over SSH would have too. The rest of RUNE's own environment, which may hold
# secrets, is none of a plugin's business.
KEPT = ("HOME", "USER", "LOGNAME", "PATH", "SHELL", "LANG", "TZ")
# Where programs put what nobody else may exchange. sudo may have kept another user's.
PLACES = ("TMPDIR", "XDG_RUNTIME_DIR")


class LocalTransport:
    """Runs scripts as child processes of RUNE."""

    name: ClassVar[str] = "local"
    batch_size: ClassVar[int] = 1

    def run(self, jobs: Sequence[Job]) -> None:
        env = {k: v for k, v in os.environ.items() if k in KEPT or k.startswith("LC_")}
        env |= own_places()
        for job in jobs:
            opening = Opening(job.parts, job.invocation)
            run_process(job, opening.argv, opening, env, cwd=_start())

    def close(self) -> None:
        """Nothing is kept between runs."""


def own_places() -> dict[str, str]:
    """Return TMPDIR and XDG_RUNTIME_DIR where nobody else can exchange what lies there."""
    found = {name: os.environ[name] for name in PLACES if name in os.environ}
    return {name: at for name, at in found.items() if not first_doubt(at, inside=True)}


def _start() -> str:
    """Return where a login of the user starts, which is not the current folder: interpreters
    take code from there."""
    folder = home()
    return folder if os.path.isabs(folder) and os.access(folder, os.X_OK) else "/"
