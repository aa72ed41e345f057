"""Runs the plugin of folder ``conform`` in each language, with its library beside it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from lmm.contract import spec_validator
from lmm.envelope import EVENT_PREFIX, build_message, encode_message, loads_strict
from lom.registry.files import bundled_plugins
from tests.support.tools import need

TIMEOUT_S = 60
CONFORM = Path(__file__).parent / "conform"
HOST = ("cat", "date")  # what the POSIX library may start


@dataclass(frozen=True)
class Language:
    """How a plugin in one language is run; ``path`` is what it finds on PATH, None for all."""

    name: str
    library: str
    plugin: str
    argv: tuple[str, ...] = ()
    build: tuple[str, ...] = ()
    path: tuple[str, ...] | None = None
    shell: bool = False

    @property
    def tool(self) -> str:
        return (self.argv or self.build)[0]


C = ("gcc", "-std=c99", "-Wall", "-Wextra", "-Werror", "-o", "plugin", "conform.c")
LANGUAGES = [
    Language("bash", "rune.sh", "conform.bash", ("bash",), path=(), shell=True),
    Language("bash+jq", "rune.sh", "conform.bash", ("bash",), path=("jq",), shell=True),
    Language("bash+python3", "rune.sh", "conform.bash", ("bash",), path=("python3",), shell=True),
    Language(
        *("bash-euo", "rune.sh", "conform.bash", ("bash", "-euo", "pipefail")), path=(), shell=True
    ),
    Language("dash-eu", "rune_posix.sh", "conform.sh", ("dash", "-eu"), path=HOST, shell=True),
    Language("dash", "rune_posix.sh", "conform.sh", ("dash",), path=HOST, shell=True),
    Language("posix", "rune_posix.sh", "conform.sh", ("bash", "--posix"), path=HOST, shell=True),
    Language("busybox", "rune_posix.sh", "conform.sh", ("busybox", "ash"), path=HOST, shell=True),
    Language("python3", "rune.py", "conform.py", ("python3",)),
    Language("perl", "Rune.pm", "conform.pl", ("perl",)),
    Language("node", "rune.js", "conform.js", ("node",)),
    Language("c", "rune.h", "conform.c", build=C),
    Language(
        *("go", "rune.go", "conform.go"),
        build=("go", "build", "-o", "plugin", "conform.go", "rune.go"),
    ),
]


@dataclass(frozen=True)
class Answer:
    """A checked answer, its exit status, and the checked events it wrote on stderr."""

    status: int
    output_data: Any
    error: Any
    events: Sequence[Mapping[str, Any]]
    stderr: str


class Workshop:
    """Builds the plugin once for each language and runs it."""

    def __init__(self, top: Path) -> None:
        self._top = top

    @cache  # noqa: B019  (one workshop for the session)
    def folder(self, language: Language) -> Path:
        folder = self._top / language.name
        folder.mkdir()
        shutil.copy(bundled_plugins() / "lib" / language.library, folder)
        shutil.copy(CONFORM / language.plugin, folder)
        (folder / "path").mkdir()
        for command in language.path or ():
            found = shutil.which(command) or "/bin/false"  # it is there, and of no use
            (folder / "path" / command).symlink_to(found)
        if language.build:
            env = {**os.environ, "GOCACHE": str(folder / "cache"), "GO111MODULE": "off"}
            done = subprocess.run(
                language.build, cwd=folder, env=env, capture_output=True, text=True
            )
            assert done.returncode == 0, done.stderr
            assert done.stderr == ""
        return folder

    def run(
        self, language: Language, parameters: Mapping[str, Any], *, stdin: bytes | None = None
    ) -> Answer:
        folder = self.folder(language)
        message = build_message(
            action="conform.check",
            target="wéb1",
            run_id="run-1",
            input_parameters=parameters,
            timeout_s=30.5,
            trace_id="4bf92f3577b34da6a3ce929d0e0e4736",
        )
        program = shutil.which(language.tool) if language.argv else None
        argv = [program, *language.argv[1:]] if program else []
        script = folder / (language.plugin if argv else "plugin")
        path = os.environ["PATH"] if language.path is None else str(folder / "path")
        done = subprocess.run(
            [*argv, str(script)],
            input=encode_message(message) if stdin is None else stdin,
            capture_output=True,
            cwd=folder,
            env={"PATH": path, "HOME": os.environ["HOME"], "PYTHONDONTWRITEBYTECODE": "1"},
            timeout=TIMEOUT_S,
        )
        answer = loads_strict(done.stdout)
        assert spec_validator("bpcs_output_v2").violations(answer) == []
        lines = done.stderr.splitlines(keepends=True)
        events = [
            loads_strict(line[len(EVENT_PREFIX) :])
            for line in lines
            if line.startswith(EVENT_PREFIX)
        ]
        for event in events:
            assert spec_validator("bpcs_event_v2").violations(event) == []
        logged = b"".join(line for line in lines if not line.startswith(EVENT_PREFIX))
        output_data = answer.get("payload", {}).get("output_data")
        assert (done.returncode == 0) == (output_data is not None)
        return Answer(
            done.returncode, output_data, answer.get("error"), events, logged.decode("utf-8")
        )


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return Workshop(tmp_path_factory.mktemp("plugin-lib"))


@pytest.fixture(params=LANGUAGES, ids=lambda language: language.name)
def language(request: pytest.FixtureRequest) -> Language:
    chosen: Language = request.param
    need(chosen.tool)
    return chosen
