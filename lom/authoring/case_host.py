"""A host as a case wants it, made of this machine: its commands, environment and files.

A plugin still goes the whole way there, through the same shell and bootstrap as anywhere.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from lmm.errors import RequestError
from lmm.opening import Opening
from lmm.temporary import private_folder
from lmm.transports.base import Job
from lmm.transports.local import own_places
from lmm.transports.process import run_process
from lom.authoring.cases import Case, filled

# Without LANG, LC_* and TZ: what an answer looks like must not depend on who tries a plugin.
_KEPT = ("HOME", "USER", "LOGNAME", "SHELL")


@dataclass(frozen=True, slots=True)
class Stage:
    """The working directory and the environment of the logins on such a host.

    ``before`` are words before the interpreter's that give a plugin its own PATH: what RUNE does on
    the host must not meet the stand-ins.
    """

    work: Path
    env: Mapping[str, str]
    places: Mapping[str, str]
    before: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StagedTransport:
    """Runs scripts as ``local`` does, on a stage."""

    stage: Stage
    name: ClassVar[str] = "local"
    batch_size: ClassVar[int] = 1

    def run(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            opening = Opening(job.parts, job.invocation)
            work = str(self.stage.work)
            run_process(job, opening.argv, opening, self.stage.env, cwd=work)

    def close(self) -> None:
        """Nothing is kept between runs."""


@contextlib.contextmanager
def staged(case: Case | None) -> Iterator[Stage]:
    """Make the host that a case wants, for None a plain one; it is gone afterwards.

    Raises RequestError: ``invalid_request`` for stand-ins and files that cannot be put up,
    ``local_io_error`` where nothing takes temporary files.
    """
    with private_folder("rune-try-") as folder:
        place = folder.resolve()
        work, commands = place / "work", place / "commands"
        work.mkdir()
        commands.mkdir()
        env = {key: os.environ[key] for key in _KEPT if key in os.environ} | own_places()
        env["PATH"] = search = os.environ.get("PATH", os.defpath)
        places = {"{cwd}": str(work), "{cases}": str(case.folder) if case else ""}
        if case is not None:
            if case.without:
                search = str(_host_without(place / "host", case.without))
            for command, file in case.commands.items():
                _link(commands, command, case.folder / file)
            for file, text in case.files.items():
                _write(work, file, text)
            env |= filled(case.env, places)
        arranged = case is not None and (case.commands or case.without)
        before = ("env", f"PATH={commands}:{search}") if arranged else ()
        yield Stage(work, env, places, before)


def _link(folder: Path, command: str, source: Path) -> None:
    if not os.access(source, os.X_OK) or Path(command).name != command:
        raise RequestError(
            "invalid_request", f"the stand-in {source} for {command!r} is no program to be run"
        )
    (folder / command).symlink_to(source)


def _write(work: Path, name: str, text: str) -> None:
    file = work / name
    if not file.resolve().is_relative_to(work):
        raise RequestError("invalid_request", f"the file {name!r} is not in the working directory")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


def _host_without(folder: Path, names: Sequence[str]) -> Path:
    """Make a folder that stands for PATH but lacks some commands."""
    folder.mkdir()
    for place in os.environ.get("PATH", os.defpath).split(os.pathsep):
        with contextlib.suppress(OSError):
            for entry in os.scandir(place or "."):
                link = folder / entry.name
                if entry.name not in names and not link.is_symlink():
                    link.symlink_to(os.path.abspath(entry.path))
    return folder
