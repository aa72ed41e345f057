"""Runs a plugin's script as a host would: alone in a private directory, with the BPCS message on
stdin, the scalars in the environment, and only the given commands on PATH."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from lmm.envelope import build_message, encode_message, environment, read_answer
from lmm.errors import PluginFailed
from lmm.model import Invocation, Script, Target
from lom.planning.params import resolve_parameters
from lom.registry.files import bundled_plugins
from lom.registry.manifest import Plugin, load_plugin

TIMEOUT_S = 60


@dataclass(frozen=True)
class Answer:
    """What a plugin came to; one of ``output_data`` and ``error`` is None."""

    exit_code: int
    output_data: Mapping[str, Any] | None
    error: Mapping[str, Any] | None
    stdout: bytes
    stderr: str


class Bench:
    """Runs the bundled plugins; a compiled one is built first."""

    def __init__(self, built: Path) -> None:
        self._built = built

    @cache  # noqa: B019  (one bench for the session)
    def plugin(self, name: str) -> Plugin:
        folder = bundled_plugins() / name
        if (folder / "Makefile").exists():
            copy = self._built / name
            shutil.copytree(folder, copy, dirs_exist_ok=True)
            subprocess.run(["make", "-s", "-B", "-C", str(copy)], check=True, capture_output=True)
            folder = copy
        return load_plugin(folder, "bundled")

    def run(
        self,
        name: str,
        parameters: Mapping[str, Any],
        place: Path,
        *,
        env: Mapping[str, str] | None = None,
        commands: Mapping[str, Path] | None = None,
        without: Sequence[str] = (),
    ) -> Answer:
        """Run the plugin's first capability; its working directory is ``place/work``."""
        plugin = self.plugin(name)
        capability = plugin.capabilities[0]
        work, private, path = place / "work", place / "private", place / "path"
        for folder in (work, private, path):
            folder.mkdir(mode=0o700, exist_ok=True)
        script = private / plugin.entrypoint.name
        for name_there, source in plugin.files.items():
            shutil.copy(source, private / name_there)
        for command, source in (commands or {}).items():
            (path / command).unlink(missing_ok=True)
            (path / command).symlink_to(source)
        search = f"{path}:{_without(place / 'host', without) if without else os.environ['PATH']}"
        message = build_message(
            action=capability.action,
            target="test",
            run_id="run-1",
            input_parameters=resolve_parameters(capability.input_schema, document=parameters),
            timeout_s=capability.timeout_s,
            trace_id="4bf92f3577b34da6a3ce929d0e0e4736",
        )
        variables = {key: os.fsdecode(value) for key, value in environment(message, frozenset())}
        base = {"PATH": search, "HOME": os.environ["HOME"], "RUNE_INVOCATION": "0123"}
        process = subprocess.Popen(
            [*plugin.interpreter, str(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**base, **variables, **(env or {})},
            cwd=work,
            start_new_session=True,
        )
        try:
            stdout, stderr = process.communicate(encode_message(message), timeout=TIMEOUT_S)
        finally:  # what it left behind, as the host's bootstrap does
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        invocation = Invocation(
            run_id="run-1",
            target=Target("test", transport="local"),
            action=capability.action,
            plugin=name,
            script=Script(script.name, b""),
            message=message,
            output_schema=capability.output_schema,
        )
        text = stderr.decode(errors="replace")
        try:
            output_data = read_answer(stdout, invocation, process.returncode)
        except PluginFailed as failure:
            if failure.reason == "plugin_crashed":
                raise AssertionError(f"{failure.message}: {text}") from None
            return Answer(process.returncode, None, failure.data["details"], stdout, text)
        return Answer(process.returncode, output_data, None, stdout, text)


def _without(folder: Path, names: Sequence[str]) -> str:
    """Return a folder that stands for PATH but lacks some commands."""
    folder.mkdir(exist_ok=True)
    for place in reversed(os.environ["PATH"].split(os.pathsep)):
        with contextlib.suppress(OSError):
            for entry in os.scandir(place):
                if entry.name not in names:
                    link = folder / entry.name
                    link.unlink(missing_ok=True)
                    link.symlink_to(entry.path)
    return str(folder)


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("built"))


@pytest.fixture(scope="session")
def helpers() -> Path:
    return bundled_plugins() / "lib" / "json.sh"


def case_files() -> list[Path]:
    return sorted(bundled_plugins().glob("*/cases/*.json"))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make a test of each case file: adding a file adds a test."""
    if "case_file" in metafunc.fixturenames:
        files = case_files()
        names = [f"{file.parent.parent.name}/{file.stem}" for file in files]
        metafunc.parametrize("case_file", files, ids=names)
