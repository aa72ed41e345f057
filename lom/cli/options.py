"""The options and arguments that several commands have, each written once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from lom.cli.common import completing
from lom.cli.types import Seconds

OUTCOMES = (
    *("ok", "failed", "unreachable", "timed_out"),
    *("invalid_output", "cancelled", "lost", "skipped"),
)

_Command = Callable[..., int]
_Option = Callable[[_Command], _Command]


def target_option(name: str, help_text: str, *, multiple: bool = True) -> _Option:
    """Return ``--target``, given to the command as ``name``."""
    return click.option(
        "-t",
        "--target",
        name,
        multiple=multiple,
        metavar="SELECTOR",
        shell_complete=completing("target"),
        help=help_text,
    )


def param_option(shell_complete: Callable[..., Any] | None = None) -> _Option:
    """Return ``-p``."""
    return click.option(
        "-p",
        "--param",
        "assignments",
        multiple=True,
        metavar="KEY=VALUE",
        shell_complete=shell_complete,
        help="A parameter, typed by the action's input schema; a.b=1 for nested ones.",
    )


params_option = click.option(
    "--params",
    "params_file",
    metavar="FILE|-",
    shell_complete=completing("file"),
    help="Parameters from a JSON (or *.yaml) file, - for JSON on stdin; -p wins.",
)


def secret_option(help_text: str) -> _Option:
    """Return ``--secret``; the help says what it is by reference."""
    return click.option(
        "--secret",
        "secrets",
        multiple=True,
        metavar="KEY=REF",
        help=f"{help_text}, by reference: env:NAME or file:PATH.",
    )


secret_again_option = secret_option("A secret parameter again")
new_secret_option = secret_option("A parameter whose value is secret")


def timeout_option(help_text: str, name: str = "timeout_s") -> _Option:
    """Return ``--timeout``, given to the command as ``name``: by default the setting."""
    return click.option("--timeout", name, type=Seconds(), metavar="S", help=help_text)


def connect_timeout_option(help_text: str) -> _Option:
    """Return ``--connect-timeout``."""
    return click.option(
        "--connect-timeout", "connect_timeout_s", type=Seconds(), metavar="S", help=help_text
    )


concurrency_option = click.option(
    "--concurrency",
    type=click.IntRange(min=1),
    metavar="N",
    help="Targets at the same time.  [default: 64]",
)


def transport_option(help_text: str) -> _Option:
    """Return ``--transport``."""
    return click.option(
        "--transport", metavar="NAME", shell_complete=completing("transport"), help=help_text
    )


approved_option = click.option(
    "--approved",
    metavar="RUN",
    help="Start the run that waits as RUN, once it was approved; all else must be as it was asked.",
)

selectors_argument = click.argument(
    "selectors", nargs=-1, metavar="[SELECTOR]...", shell_complete=completing("target")
)

run_argument = click.argument("run", metavar="RUN", shell_complete=completing("run"))

state_dir_option = click.option(
    "--state-dir",
    metavar="FOLDER",
    shell_complete=completing("folder"),
    help="Folder of the ledger.  [default: ~/.local/state/rune; env RUNE_STATE_DIR]",
)


def ledger_options(command: _Command) -> _Command:
    """Give a command that makes runs ``--state-dir`` and ``--no-ledger``."""
    no_ledger = click.option(
        "--no-ledger",
        "ledger",
        flag_value=False,
        default=None,
        type=bool,
        help="Keep no record of this run.",
    )
    return state_dir_option(no_ledger(command))
