"""The options that concern the ledger."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import click

from lom.cli.common import completing

_F = TypeVar("_F", bound=Callable[..., int])


def state_dir_option(command: _F) -> _F:
    """Give a command ``--state-dir``."""
    return click.option(
        "--state-dir",
        metavar="FOLDER",
        shell_complete=completing("folder"),
        help="Folder of the ledger.  [default: ~/.local/state/rune; env RUNE_STATE_DIR]",
    )(command)


def ledger_options(command: _F) -> _F:
    """Give a command that makes runs ``--state-dir`` and ``--no-ledger``."""
    return state_dir_option(
        click.option(
            "--no-ledger",
            "ledger",
            flag_value=False,
            default=None,
            type=bool,
            help="Keep no record of this run.",
        )(command)
    )
