"""The command line, ``rune``: reads arguments, asks the orchestrator, prints what came.

Options, help texts, signals and exit codes belong here. How things look is in ``lom.render``;
what may run and where is decided by the orchestrator. Nothing heavy may be imported on the way
to ``rune --help``: no module here imports more than click at its top.
"""

from __future__ import annotations

import atexit
import gc
import os
import sys
import threading
from collections.abc import Sequence
from typing import NoReturn

COMPLETE_VARIABLE = "_RUNE_COMPLETE"  # the shell's completion script asks through it


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit with one of the codes of ``lom.exit_codes``."""
    # A start-up makes many objects that all stay: looking for garbage less often saves 15 % CPU.
    gc.set_threshold(10_000, 20, 20)
    from lom.cli.interrupts import hold

    hold()
    from lom.cli.app import run

    if arguments is None:
        _leave(run(sys.argv[1:]))
    sys.exit(run(list(arguments)))


def _leave(code: int) -> NoReturn:
    """End the process without taking its modules apart, which would be 15 ms of CPU."""
    if all(thread.daemon for thread in threading.enumerate()[1:]):
        try:
            atexit._run_exitfuncs()
            for stream in (sys.stdout, sys.stderr):
                if stream is not None:
                    stream.flush()
        except (OSError, ValueError):
            sys.exit(code)
        os._exit(code)
    sys.exit(code)
