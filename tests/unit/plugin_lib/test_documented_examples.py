"""The plugins in docs/plugin-lib.md run as they stand there and answer alike."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from lmm.envelope import EVENT_PREFIX
from lom.registry.files import bundled_plugins
from tests.support.tools import need

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "plugin-lib.md"
EXAMPLES = dict(re.findall(r"```(\w+)\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL))
RUN = {
    "bash": ("main.sh", [], ["bash", "./main.sh"]),
    "python": ("main.py", [], ["python3", "main.py"]),
    "perl": ("main.pl", [], ["perl", "./main.pl"]),
    "js": ("main.js", [], ["node", "main.js"]),
    "c": (
        "main.c",
        ["gcc", "-std=c99", "-Wall", "-Werror", "-o", "plugin", "main.c"],
        ["./plugin"],
    ),
    "go": ("main.go", ["go", "build", "-o", "plugin", "main.go", "rune.go"], ["./plugin"]),
}


@pytest.mark.parametrize("name", RUN)
def test_an_example(tmp_path: Path, name: str) -> None:
    file, build, argv = RUN[name]
    need((build or argv)[0])
    for library in (bundled_plugins() / "lib").iterdir():
        if library.is_file():
            shutil.copy(library, tmp_path)
    head = "package main\n" if name == "go" else ""
    (tmp_path / file).write_text(head + EXAMPLES[name], encoding="utf-8")
    env = {**os.environ, "GOCACHE": str(tmp_path / "cache"), "GO111MODULE": "off"}

    def run(words: list[str], given: Any = None) -> subprocess.CompletedProcess[bytes]:
        data = json.dumps(given).encode()
        return subprocess.run(words, input=data, cwd=tmp_path, env=env, capture_output=True)

    if build:
        made = run(build)
        assert made.returncode == 0, made.stderr.decode()
    disks = [{"name": "sdä"}]
    done = run(argv, {"payload": {"input_parameters": {"disks": disks}, "context": {}}})
    output = json.loads(done.stdout)["payload"]["output_data"]
    assert output["name"] == "sdä"
    assert [one["name"] for one in output["metrics"]] == ["busbw"]
    lines = done.stderr.splitlines()
    kinds = [json.loads(line.removeprefix(EVENT_PREFIX))["kind"] for line in lines]
    assert kinds == ["progress", "metric"]
    if name != "js":  # there a missing name is "none"
        failed = run(argv, {"payload": {"input_parameters": {}, "context": {}}})
        assert failed.returncode == json.loads(failed.stdout)["error"]["code"] == 1
