"""The command line as a real process, in a folder of its own with plugins and an inventory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest

from lmm.testing import Account
from tests.integration.clock import clock as clock
from tests.support.documents import check_document
from tests.support.forks import ROOT as ROOT
from tests.support.forks import Forks
from tests.support.plugins import manifest_of

INVENTORY = """\
targets:
  web1: {transport: local, vars: {rack: r1}}
  web2: {transport: local, vars: {rack: r2}}
  db1: {transport: local}
groups:
  web: {targets: ["web[1-2]"]}
"""


@dataclass(frozen=True)
class Done:
    """An ended process."""

    code: int
    stdout: bytes
    stderr: str

    @property
    def text(self) -> str:
        return self.stdout.decode()

    @property
    def document(self) -> Any:
        """The one JSON document on stdout."""
        return json.loads(self.stdout)


@dataclass(frozen=True)
class Rune:
    """Starts ``rune`` in its folder; commands that are waited for are forks where that will do."""

    folder: Path
    forks: ClassVar[Forks | None] = None

    def start(
        self,
        *arguments: str,
        env: Mapping[str, str] | None = None,
        program: Sequence[str] = ("-m", "lom.cli"),
        **options: Any,
    ) -> subprocess.Popen[bytes]:
        """Start ``rune ARGUMENTS``, or another program, with pipes and a process group."""
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(
            [sys.executable, *program, *arguments],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), **(env or {})},
            start_new_session=True,
            **{**pipes, **options},
        )

    def __call__(
        self,
        *arguments: str,
        env: Mapping[str, str] | None = None,
        stdin: bytes | None = None,
        timeout: float = 60,
        **options: Any,
    ) -> Done:
        """Run ``rune ARGUMENTS`` to its end; a document of -o json has to match its schema."""
        whole = {**os.environ, "PYTHONPATH": str(ROOT), **(env or {})}
        if self.forks and not options and self.forks.suit(whole):
            code, out, err = self.forks.run(arguments, self.folder, whole, stdin, timeout)
            check_document(arguments, out)
            return Done(code, out, err.decode())
        if stdin is not None:
            options["stdin"] = subprocess.PIPE
        with self.start(*arguments, env=env, **options) as process:
            out, err = process.communicate(stdin, timeout=timeout)
        check_document(arguments, out or b"")
        return Done(process.returncode, out or b"", (err or b"").decode())

    def python(self, code: str, *arguments: str) -> Done:
        """Run a Python program that may import ours."""
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=60,
        )
        return Done(done.returncode, done.stdout, done.stderr.decode())

    def shell(self, script: str, **env: str) -> Done:
        """Run a bash script that may call ``rune``."""
        program = self.write("bin/rune", f'#!/bin/sh\nexec {sys.executable} -m lom.cli "$@"\n')
        program.chmod(0o755)
        path = f"{program.parent}:{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), "PATH": path, **env},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=60,
        )
        return Done(done.returncode, done.stdout, done.stderr.decode())

    def write(self, name: str, text: str) -> Path:
        """Write a file into the folder."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def plugin(
        self,
        action: str,
        script: str,
        *,
        risk: str = "read",
        input_schema: Mapping[str, Any] | None = None,
        requires: Sequence[str] = (),
    ) -> Path:
        """Write a bash plugin for one action into ``./plugins`` and return its folder."""
        name = action.replace(".", "-")
        manifest = manifest_of(
            action,
            input_schema=input_schema or {"type": "object"},
            risk=risk,
            requires=list(requires),
        )
        folder = self.folder / "plugins" / name
        self.write(f"plugins/{name}/plugin.json", json.dumps(manifest))
        self.write(f"plugins/{name}/main.sh", script)
        return folder


def success(output_data: Any) -> str:
    """Return a script that answers with ``output_data``."""
    answer = {"payload": {"result": "success", "output_data": output_data}}
    return f"cat <<'END'\n{json.dumps(answer)}\nEND\n"


@pytest.fixture
def rune(tmp_path: Path) -> Rune:
    """``rune`` in an empty folder."""
    return Rune(tmp_path)


@pytest.fixture
def fleet(rune: Rune) -> Rune:
    """``rune`` in a folder with an inventory of three local targets and a few plugins."""
    rune.write("inventory.yaml", INVENTORY)
    gpu_index = {"type": "integer", "minimum": 0, "maximum": 7, "description": "Which GPU."}
    rune.plugin(
        "t.typed",
        success({"seen": True}),
        input_schema={
            "type": "object",
            "properties": {"gpu_index": gpu_index},
            "additionalProperties": False,
        },
    )
    rune.plugin("t.broken", 'echo \'{"error": {"code": 3, "message": "it broke"}}\'; exit 3\n')
    rune.plugin("t.garbage", "echo not json\n")
    rune.plugin("t.wipe", success({"wiped": True}), risk="destructive")
    return rune


@pytest.fixture
def answers() -> Callable[[Any], str]:
    """``success``: the text of a script that answers with the given object."""
    return success


@pytest.fixture(scope="module")
def service() -> Iterator[Any]:
    """An account that people reach only by sudo, under a policy of the machine."""
    from .service import open_service

    with open_service() as made:
        yield made


@pytest.fixture
def office(account: Account) -> Iterator[Any]:
    """People who share a folder where what is destructive needs an approval."""
    from .office import open_office

    with open_office(account) as made:
        yield made
