"""The options that every command has, and what commands share to answer."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from lmm.errors import RequestError
from lom.cli.group import Entry
from lom.cli.interrupts import Interrupts
from lom.cli.output import STDERR, STDOUT, write_stderr, write_stdout
from lom.service.settings import settings_in_force, settings_without_files
from lom.settings.values import KEYS, OUTPUTS, Settings

if TYPE_CHECKING:
    from lom import Orchestrator
    from lom.render.table import Screen
    from lom.service.runs import LedgerReader


@dataclass(frozen=True)
class Common:
    """What a command was given by the options that every command has."""

    settings: Settings
    interrupts: Interrupts
    quiet: bool
    config_error: RequestError | None = None
    asker: str | None = None  # whose runs are seen, where this account runs RUNE for others

    @property
    def output(self) -> str:
        return self.settings.output

    @functools.cached_property
    def stdout(self) -> Screen:
        return _screen(STDOUT, self.settings)

    @functools.cached_property
    def stderr(self) -> Screen:
        return _screen(STDERR, self.settings)

    def orchestrator(self) -> Orchestrator:
        """Return an orchestrator for the settings; it loads inventory and plugins when asked."""
        from lmm import descriptors
        from lmm.register import kind_of
        from lom.service.orchestrator import Orchestrator

        each = max(kind_of(name).descriptors for name in ("openssh", "local"))
        descriptors.make_room(self.settings.concurrency, each)
        return Orchestrator(settings=self.settings)

    def ledger(self) -> LedgerReader:
        """Open the ledger that the settings name: what who asks may see of it."""
        from lom.service.runs import open_ledger

        return open_ledger(self.settings, self.asker)

    def emit(
        self,
        document: Mapping[str, Any],
        rows: Iterable[Mapping[str, Any]],
        text: Callable[[Screen], str],
    ) -> None:
        """Print one document: as it is, its ``rows`` as lines or CSV, or ``text`` for people."""
        from lom.render.documents import csv_rows, encode

        if self.output == "table":
            write_stdout(text(self.stdout).encode("utf-8", "backslashreplace"))
        elif self.output == "csv":
            write_stdout(csv_rows(rows))
        elif self.output == "ndjson":
            write_stdout(b"".join(encode(row, "ndjson") for row in rows))
        else:
            write_stdout(encode(document, self.output, pretty=self.stdout.columns is not None))

    def emit_table(
        self,
        document: Mapping[str, Any],
        rows: Sequence[Mapping[str, Any]],
        names: Sequence[str],
        *,
        styled: int | None = None,
    ) -> None:
        """Print one document; for people the named fields of its ``rows``."""
        from lom.render.table import table

        self.emit(document, rows, lambda view: table(names, columns(rows, names), view, styled))

    def tell(self, text: str) -> None:
        """Print a line for people on stderr, unless ``--quiet``."""
        if not self.quiet:
            write_stderr(f"{text}\n")


def _screen(descriptor: int, settings: Settings) -> Screen:
    from lom.render.table import screen

    return screen(descriptor, settings.color, os.environ)


def completing(kind: str) -> Callable[[click.Context, click.Parameter, str], Any]:
    """Return click's ``shell_complete`` for a kind of ``lom.service.candidates``."""

    def complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> Any:
        from lom.cli.completion import candidates

        return candidates(kind, context, incomplete)

    return complete


_OPTIONS = (
    click.option(
        "-i",
        "--inventory",
        multiple=True,
        metavar="PATH",
        shell_complete=completing("file"),
        help="Inventory file, folder or executable; may be repeated.  [env RUNE_INVENTORY]",
    ),
    click.option(
        "-o",
        "--output",
        type=click.Choice(OUTPUTS),
        help="Format of stdout.  [default: table; env RUNE_OUTPUT]",
    ),
    click.option(
        "--plugin-path",
        multiple=True,
        metavar="FOLDER",
        shell_complete=completing("folder"),
        help="Folder of plugins; may be repeated.  [env RUNE_PLUGIN_PATH]",
    ),
    click.option("-q", "--quiet", is_flag=True, help="No progress and no remarks on stderr."),
    click.option("--no-color", is_flag=True, help="No colours.  [env NO_COLOR]"),
    click.option(
        "--debug",
        is_flag=True,
        expose_value=False,
        help="Show the traceback of an error.  [env RUNE_DEBUG]",
    ),
)


def common_options(*, tolerant: bool = False) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Give a command the options that all have; it gets them as a Common.

    Options of the command itself that are named like a setting become part of the settings. A
    ``tolerant`` command starts with a broken configuration, too.
    """

    def decorate(function: Callable[..., int]) -> Callable[..., int]:
        @functools.wraps(function)
        def command(*, quiet: bool, no_color: bool, **given: Any) -> int:
            flags = {key: given.pop(key) for key in KEYS if key in given}
            flags["color"] = "never" if no_color else None
            problem = None
            try:
                settings = settings_in_force(flags)
            except RequestError as error:
                if not tolerant:
                    raise
                problem = error
                settings = settings_without_files(flags)
            entry = click.get_current_context().find_object(Entry)
            assert entry is not None
            asker = entry.gate.asker if entry.gate else None
            return function(Common(settings, entry.interrupts, quiet, problem, asker), **given)

        for option in reversed(_OPTIONS):
            command = option(command)
        return command

    return decorate


def columns(rows: Iterable[Mapping[str, Any]], names: Sequence[str]) -> list[list[str]]:
    """Return the named fields of the rows as text; lists are joined by commas."""

    def text(value: Any) -> str:
        if value is None:
            return ""
        return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)

    return [[text(row.get(name)) for name in names] for row in rows]
