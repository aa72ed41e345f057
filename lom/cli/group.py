"""Command groups that import a command only when it is asked for."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from lom.cli.interrupts import Interrupts
from lom.names import did_you_mean

if TYPE_CHECKING:
    from lom.cli.bound import Gate


class Entry(NamedTuple):
    """What a command line was started with; the ``gate`` is there for a bound account alone."""

    interrupts: Interrupts
    gate: Gate | None = None


class Group(click.Group):
    """A group whose commands are named as ``module:attribute``, and that suggests near names."""

    def __init__(
        self, *args: Any, commands_at: Mapping[str, str] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.commands_at = commands_at or {}

    def list_commands(self, ctx: click.Context) -> list[str]:
        names, gate = [*self.commands_at, *self.commands], _gate(ctx)
        return [name for name in names if gate.has(ctx, name)] if gate else names

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        place = self.commands_at.get(cmd_name)
        command = self.commands.get(cmd_name)
        if place is not None:
            module, _, attribute = place.partition(":")
            command = getattr(importlib.import_module(module), attribute)
            assert isinstance(command, click.Command)
        gate = _gate(ctx)
        return gate.let_in(ctx, cmd_name, command) if gate and command else command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        command = self.get_command(ctx, name)
        if command is None and not ctx.resilient_parsing:
            known = self.list_commands(ctx)
            ctx.fail(
                f"No such command {name!r}{did_you_mean(name, known) or '; known are '}"
                f"{'' if did_you_mean(name, known) else ', '.join(known)}"
            )
        return (name if command else None), command, args[1:]


def _gate(ctx: click.Context) -> Gate | None:
    entry = ctx.find_object(Entry)
    return entry.gate if entry else None
