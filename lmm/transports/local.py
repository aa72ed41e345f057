"""This machine, through the same shell and bootstrap as any other host."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import ClassVar

from lmm.opening import Opening
from lmm.transports.base import Job
from lmm.transports.process import run_process

# What a login over SSH would have too. The rest of RUNE's own environment, which may hold
# secrets, is none of a plugin's business.
KEPT = ("HOME", "USER", "LOGNAME", "PATH", "SHELL", "LANG", "TZ", "TMPDIR", "XDG_RUNTIME_DIR")


class LocalTransport:
    """Runs scripts as child processes of RUNE."""

    name: ClassVar[str] = "local"
    batch_size: ClassVar[int] = 1

    def run(self, jobs: Sequence[Job]) -> None:
        env = {k: v for k, v in os.environ.items() if k in KEPT or k.startswith("LC_")}
        for job in jobs:
            opening = Opening(job.parts, job.invocation)
            run_process(job, opening.argv, opening, env)

    def close(self) -> None:
        """Nothing is kept between runs."""
