"""Every command once, from the installed wheel: another user, no checkout, nothing to compile with.

The package's folder is read-only and holds bytecode. A new command fails here until it is tried.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from lom.authoring.templates import LANGUAGES
from tests.packaging.conftest import Stranger

TREE = """
import click
from lom.cli.app import rune

def walk(command, path):
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            walk(command.get_command(context, name), [*path, name])
    else:
        print(" ".join(path))

walk(rune, [])
"""
# What each command is tried with, and its exit status; in this order, in one home. {run} is a run.
COMMANDS = {
    "run": ("noop -p answer=42", 0),
    "action list": ("", 0),
    "action show": ("noop", 0),
    "plugin new": ("t-new --lang python", 0),
    "plugin check": ("t-new", 0),
    "plugin test": ("t-new --only orphans", 0),
    "plugin run-local": ("t-new -p path=/etc", 0),
    "plugin install": ("plugins/t-new", 0),
    "plugin lock": ("", 0),
    "plugin verify": ("", 0),
    "plugin list": ("", 0),
    "plugin remove": ("t-new", 0),
    "target list": ("", 0),
    "target show": ("local", 0),
    "target ping": ("", 0),
    "target cache show": ("", 0),
    "target cache clear": ("", 0),
    "target disconnect": ("", 0),
    "runs list": ("", 0),
    "runs show": ("{run}", 0),
    "runs events": ("{run}", 0),
    "runs rerun": ("{run}", 0),
    "runs resume": ("{run}", 2),
    "runs compare": ("{run}", 2),
    "runs cancel": ("{run}", 2),
    "baseline save": ("b {run}", 2),
    "baseline list": ("", 0),
    "baseline show": ("b", 2),
    "baseline remove": ("b", 2),
    "fleet report": ("{run}", 2),
    "runs prune": ("--older-than 9999d", 0),
    "approve": ("", 2),
    "audit show": ("audit.jsonl", 2),
    "audit verify": ("audit.jsonl", 2),
    "config show": ("", 0),
    "config trust": ("--list", 0),
    "doctor": ("", None),  # what this machine lacks is its affair
    "completion": ("bash", 0),
}


def said(done: subprocess.CompletedProcess[str]) -> str:
    printed = done.stdout[-2000:] + done.stderr[-2000:]
    return f"{done.args[-4:]} ended with {done.returncode}: {printed}"


def test_every_command_does_what_it_does(stranger: Stranger) -> None:
    tree = stranger.run("python", "-c", TREE)
    assert set(tree.stdout.splitlines()) == set(COMMANDS), said(tree)
    run_id = "none"
    for command, (arguments, status) in COMMANDS.items():
        words = [*command.split(), *arguments.format(run=run_id).split()]
        done = stranger.run("rune", *words, *(() if command == "completion" else ("-o", "json")))
        assert "Traceback" not in done.stderr, said(done)
        assert done.returncode == status or (status is None and done.returncode < 70), said(done)
        document = {} if command == "completion" else json.loads(done.stdout)
        if command == "run":
            assert document["results"][0]["output_data"] == {"answer": 42}
            run_id = document["run_id"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_new_plugin_in_each_language(stranger: Stranger, language: str) -> None:
    done = stranger.run("rune", "plugin", "new", f"t-{language}", "--lang", language)
    assert done.returncode == 0, said(done)
    made = stranger.home / "plugins" / f"t-{language}"
    assert {path.name for path in made.iterdir()} >= {"plugin.json", "cases", "README.md"}
    compiled = LANGUAGES[language].compiler
    assert ("not found on this machine" in done.stdout + done.stderr) == bool(compiled)


@pytest.mark.parametrize("action", ["noop", "host.info"])
def test_bundled_plugins(stranger: Stranger, action: str) -> None:
    done = stranger.run("rune", "run", action, "-o", "json")
    assert done.returncode == 0, said(done)
    assert json.loads(done.stdout)["summary"]["ok"] == 1
    broken = json.loads(stranger.run("rune", "plugin", "list", "-o", "json").stdout)
    assert not broken.get("broken"), broken


@pytest.mark.parametrize("module", ["lom.cli", "lmm.testing.aws", "lmm.testing.demo"])
def test_entry_points_of_modules(stranger: Stranger, module: str) -> None:
    argv = ["--help"] if module != "lmm.testing.demo" else []
    code = ["-m", module] if argv else ["-c", f"import {module}"]
    done = stranger.run("python", *code, *argv)
    assert done.returncode == 0, said(done)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(stranger: Stranger, shell: str) -> None:
    done = stranger.run("rune", "completion", shell)
    assert (done.returncode, "_RUNE_COMPLETE" in done.stdout) == (0, True), said(done)


def test_nothing_was_written_where_rune_lies(stranger: Stranger) -> None:
    """And nothing can be: the environment stands for one that root made."""
    library = stranger.python.parent.parent
    before = sorted(str(path) for path in library.rglob("*"))
    stranger.run("rune", "run", "noop")
    assert sorted(str(path) for path in library.rglob("*")) == before
    if stranger.prefix:
        tried = stranger.run("python", "-c", f"open({str(library / 'x')!r}, 'w')")
        assert "Permission denied" in tried.stderr
        assert not Path(library, "x").exists()
