"""Shell completion: what it knows, and that it never complains."""

from __future__ import annotations

import json
import shutil
from typing import Any

import pytest

from lmm.register import choices


def complete(rune: Any, line: str, **env: str) -> list[str]:
    """Return the candidates for the last word of ``line``."""
    words = line.split(" '")[0].split(" ") + line.split(" '")[1:]
    done = rune(
        env={
            "_RUNE_COMPLETE": "bash_complete",
            "COMP_WORDS": line,
            "COMP_CWORD": str(len(words) - 1),
            **env,
        }
    )
    assert (done.code, done.stderr) == (0, "")
    return [one.partition(",")[2] for one in done.text.splitlines() if one]


@pytest.mark.parametrize(
    ("line", "some"),
    [
        ("rune ", ["run", "action", "doctor"]),
        ("rune target ", ["list", "show", "ping"]),
        ("rune run --conc", ["--concurrency"]),
        ("rune run t.", ["t.broken", "t.garbage", "t.typed", "t.wipe"]),
        ("rune action show t.t", ["t.typed"]),
        ("rune run noop -t we", ["web", "web1", "web2"]),
        ("rune run noop -t @no", []),
        ("rune run t.typed -p g", ["gpu_index="]),
        ("rune run noop -o j", ["json"]),
        ("rune run noop --transport ", list(choices())),
        ("rune plugin check t-", ["t-broken", "t-garbage", "t-typed", "t-wipe"]),
        ("rune completion z", ["zsh"]),
    ],
)
def test_what_can_be_completed(fleet: Any, line: str, some: list[str]) -> None:
    found = complete(fleet, line)
    assert set(some) <= set(found)
    if some:
        start = line.rpartition(" ")[2]
        assert all(one.startswith(start) for one in found)
    else:
        assert found == []


def test_the_last_word_of_an_expression(fleet: Any) -> None:
    found = complete(fleet, "rune run noop -t 'web and not d")
    assert found == ["web and not db1"]


def test_flags_on_the_line_count(fleet: Any) -> None:
    fleet.write("other.yaml", "targets: {far1: {}, 'far[2-3]': {}}\n")
    assert complete(fleet, "rune run noop -i other.yaml -t f") == ["far1", "far2", "far3"]


def test_broken_files_give_fewer_candidates_and_no_complaint(fleet: Any) -> None:
    fleet.write("rune.yaml", "zzz: [\n")
    fleet.write("plugins/bad/plugin.json", "{")
    fleet.write("plugins/odd/plugin.json", "[]")
    assert complete(fleet, "rune run noop -t we") == []
    fleet.write("rune.yaml", "zzz: 1\n")
    assert "t.typed" in complete(fleet, "rune run t.")
    fleet.write("inventory.yaml", "targets: [\n")
    assert complete(fleet, "rune run noop -t we") == []


def test_only_what_a_completion_needs_is_imported(fleet: Any) -> None:
    probe = (
        "import os, sys\nfrom lom.cli.app import run\nrun([])\n"
        "import json; print(json.dumps(sorted(sys.modules)), file=sys.stderr)\n"
    )
    env = "_RUNE_COMPLETE=bash_complete COMP_WORDS='rune run noop -t w' COMP_CWORD=4"
    program = fleet.write("probe.py", probe)
    done = fleet.shell(
        f"{env} $(head -2 $(which rune) | sed -n 's/exec \\(.*\\) -m.*/\\1/p') {program}"
    )
    heavy = {"pydantic", "paramiko", "boto3", "rich", "jsonschema", "jsonschema_rs", "tenacity"}
    assert not heavy & set(json.loads(done.stderr))


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_scripts(fleet: Any, shell: str) -> None:
    done = fleet("completion", shell)
    assert done.code == 0
    assert f"_RUNE_COMPLETE={shell}_complete" in done.text
    assert fleet("completion", env={"SHELL": f"/usr/bin/{shell}"}).text == done.text


def test_bash_uses_the_script(fleet: Any) -> None:
    script = (
        'eval "$(rune completion bash)"; COMP_WORDS=(rune run t.ty); COMP_CWORD=2;'
        ' _rune_completion rune; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    assert shutil.which("bash")
    assert fleet.shell(script).text == "t.typed\n"
