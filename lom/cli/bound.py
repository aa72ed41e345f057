"""The command line of an account that runs RUNE for others: a short list, and what brings data.

Who reaches such an account may not read or write a file as it, or have it execute what they bring.
So a command or an option that is not in this list is refused, and that is recorded.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import click
from click.core import ParameterSource

from lmm.errors import PolicyDenied, RuneError
from lom.admission.bound import SECRETS, Bound, refuse_command

EVERYWHERE = frozenset({"--output", "--quiet", "--no-color"})
COMMANDS: Mapping[str, str] = {
    "run": "ACTION --target --param --params --secret --timeout --connect-timeout --concurrency"
    " --batch --max-failures --pause-between --confirm-between --deadline --retries --retry-wait"
    " --on-locked --lock-timeout --transport --become --on-disconnect --max-stdout --max-stderr"
    " --idempotency-key --min-version --yes --approved --dry-run",
    "action list": "",
    "action show": "NAME",
    "target list": "--target",
    "target show": "SELECTOR",
    "target ping": "--target --timeout --connect-timeout --concurrency --transport",
    "runs list": "--limit --action --status",
    "runs show": "RUN",
    "runs events": "RUN --follow --from-seq",
    "runs cancel": "RUN",
    "runs rerun": "RUN --only --secret --yes --approved --dry-run",
    "runs resume": "RUN --secret --yes",
    "approve": "RUN --list --deny --expect --yes --dry-run",
}


class _Data(NamedTuple):
    """An option of which only some values are data: what they look like, and what to do."""

    fits: Callable[[str], bool]
    metavar: str
    help: str
    advice: str


_STDIN = _Data(
    lambda value: value == "-",
    "-",
    "Parameters as JSON from stdin; -p wins.",
    "reads stdin alone, as in `--params - < FILE`",
)
_SECRET = _Data(
    lambda value: bool(SECRETS.fullmatch(value.partition("=")[2].removeprefix("env:"))),
    "KEY=env:RUNE_SECRET_NAME",
    "A parameter whose value is secret, by the name of a variable RUNE_SECRET_….",
    "takes KEY=env:RUNE_SECRET_NAME, no other variable and no file",
)
_DATA: Mapping[str, _Data] = {"--params": _STDIN, "--secret": _SECRET}


# What an advice names: commands, options, and variables of RUNE's own.
_NAMED = re.compile(r"`rune ([a-z]+(?: [a-z]+)?)|(?<![\w-])(--[a-z][a-z-]+|-i\b|RUNE_[A-Z_]+)")
_THERE = EVERYWHERE.union({"--help", "RUNE_OUTPUT"}, *map(str.split, COMMANDS.values()))
_NO_ADVICE = ("command_refused", "invalid_usage")  # they name what the caller has written


class Gate:
    """Shows and lets in what exists for a bound account, and refuses the rest."""

    def __init__(self, bound: Bound) -> None:
        self._bound = bound
        self.asker = bound.caller.user

    def root(self, command: click.Group) -> click.Group:
        """Return ``rune`` as its help shows it to this account."""
        root = copy.copy(command)
        lines = (command.help or "").splitlines()
        root.help = "\n".join(line for line in lines if "rune doctor" not in line)
        root.epilog = (
            f"The account {self._bound.account} runs RUNE for others, by the policy of this"
            f" machine: there are these commands alone. You are {self.asker}."
        )
        return root

    def has(self, ctx: click.Context, name: str) -> bool:
        """Whether the command of a group exists, or something below it."""
        path = _path(ctx, name)
        return any(one == path or one.startswith(f"{path} ") for one in COMMANDS)

    def let_in(self, ctx: click.Context, name: str, command: click.Command) -> click.Command:
        """Return a command with the options that exist. Raises PolicyDenied if it does not."""
        path = _path(ctx, name)
        if isinstance(command, click.Group):
            return command  # of which nothing may be there: what is asked of it is told then
        if path not in COMMANDS:
            raise self._refusal(path, f"`rune {path}` is not there")
        allowed = EVERYWHERE.union(COMMANDS[path].split())
        command = copy.copy(command)
        command.params = [self._adapted(one, allowed) for one in command.params]
        return command

    def advice(self, error: RuneError, actions: Sequence[str]) -> list[str]:
        """Return what the caller can do about an error; the rest is for who has the account."""
        possible = [one for one in actions if _is_there(one)]
        said = "" if error.reason in _NO_ADVICE else error.message
        if len(possible) < len(actions) or not _is_there(said):
            possible.append(f"Tell those who look after the account {self._bound.account} of it.")
        return possible

    def _adapted(self, param: click.Parameter, allowed: frozenset[str]) -> click.Parameter:
        name = name_of(param)
        data = _DATA.get(name)
        if name in allowed and data is None:
            return param
        param = copy.copy(param)
        param.is_eager = True  # what is refused is told of before any other fault
        param.callback = self._closed if data is None else self._data_only
        if isinstance(param, click.Option):
            if data is None:
                param.hidden = True
            else:
                param.metavar, param.help = data.metavar, data.help
        return param

    def _closed(self, ctx: click.Context, param: click.Parameter, value: Any) -> Any:
        if param.name is None or ctx.get_parameter_source(param.name) is ParameterSource.DEFAULT:
            return value
        raise self._refused_option(ctx, param, "is not there")

    def _data_only(self, ctx: click.Context, param: click.Parameter, value: Any) -> Any:
        data = _DATA[name_of(param)]
        given = (value,) if isinstance(value, str) else value or ()
        if not all(map(data.fits, given)):
            raise self._refused_option(ctx, param, data.advice)
        return value

    def _refused_option(self, ctx: click.Context, param: click.Parameter, why: str) -> PolicyDenied:
        path, name = _path(ctx), name_of(param)
        return self._refusal(f"{path} {name}", f"{name} of `rune {path}` {why}")

    def _refusal(self, command: str, why: str) -> PolicyDenied:
        words = f"{why}: the account {self._bound.account} runs RUNE for others"
        return refuse_command(self._bound, command, words)


def name_of(param: click.Parameter) -> str:
    """Return an option as it is written, an argument by its name: ``--target``, ``RUN``."""
    if isinstance(param, click.Option):
        return max(param.opts, key=len)
    return (param.name or "").upper()


def _is_there(advice: str) -> bool:
    """Whether a bound account has all commands and options that a text names."""
    for command, other in _NAMED.findall(advice):
        if other not in _THERE and not {command, command.partition(" ")[0]} & COMMANDS.keys():
            return False
    return True


def _path(ctx: click.Context, name: str = "") -> str:
    return f"{ctx.command_path} {name}".removeprefix("rune ").strip()
