"""Command groups that import a command only when it is asked for."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import click

from lom.names import did_you_mean


class Group(click.Group):
    """A group whose commands are named as ``module:attribute``, and that suggests near names."""

    def __init__(
        self, *args: Any, commands_at: Mapping[str, str] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.commands_at = commands_at or {}

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*self.commands_at, *self.commands]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        place = self.commands_at.get(cmd_name)
        if place is None:
            return self.commands.get(cmd_name)
        module, _, attribute = place.partition(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

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
