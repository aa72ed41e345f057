"""The plugin in docs/writing-a-plugin.md works as it stands there."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

from lmm.contract import validator_for
from lom.authoring.cases import load_cases
from lom.authoring.kit import KIT, checks_of
from lom.authoring.review import review
from lom.authoring.trials import Trials
from lom.registry.manifest import load_plugin
from lom.registry.places import default_registry

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "writing-a-plugin.md"
FILE = re.compile(r"<!-- file: (\S+) -->\n```\w+\n(.*?)```", re.DOTALL)


def test_the_example_works(tmp_path: Path) -> None:
    plugins = tmp_path / "plugins"
    files = dict(FILE.findall(DOCUMENT.read_text(encoding="utf-8")))
    for name, text in files.items():
        (plugins / name).parent.mkdir(parents=True, exist_ok=True)
        (plugins / name).write_text(text, encoding="utf-8")
    assert set(files) == {
        "disk-free/main.sh",
        "disk-free/plugin.json",
        "disk-free/cases/root.json",
    }
    assert len(files["disk-free/main.sh"].splitlines()) == 5
    plugin = load_plugin(plugins / "disk-free", "project")
    findings = [one.run() for one in checks_of(Trials(plugin), load_cases(plugin))]
    assert not [one for one in (*review(plugin), *findings) if one.status == "failed"]
    assert "disk.free" in default_registry(cwd=tmp_path).actions()

    def run(path: str) -> tuple[int, dict[str, dict[str, object]]]:
        done = subprocess.run(
            [*plugin.interpreter, str(plugin.entrypoint)],
            env={"PATH": os.environ["PATH"], "RUNE_PARAM_PATH": path},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=60,
        )
        return done.returncode, json.loads(done.stdout)

    status, answer = run("/")
    assert status == 0
    schema = plugin.capabilities[0].output_schema
    assert validator_for(schema).violations(answer["payload"]["output_data"]) == []
    status, answer = run("/no/such/path")
    assert (status, answer["error"]["code"]) == (2, 2)


def test_every_check_of_the_kit_is_explained() -> None:
    table = DOCUMENT.read_text(encoding="utf-8").partition("## The conformance kit")[2]
    assert re.findall(r"^\| `([a-z-]+)` \|", table, re.MULTILINE)[: len(KIT)] == list(KIT)
