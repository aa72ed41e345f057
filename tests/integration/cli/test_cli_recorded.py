"""What `rune` prints is what was recorded, byte by byte: documents, tables, errors, exit codes.

A transcript in ``recorded/`` is a list of commands, each with what it printed. After a change that
is meant, ``RUNE_RECORD=1 pytest tests/integration/cli/test_cli_recorded.py`` writes them anew; the
diff belongs to the change.
"""

from __future__ import annotations

import os
import re
import shlex
import socket
from pathlib import Path
from pwd import getpwuid

import pytest

from lom import __version__

from .conftest import Done, Rune

RECORD = "RUNE_RECORD" in os.environ
RECORDED = Path(__file__).parent / "recorded"
POLICY = """\
approvals: approvals
policy:
  rules:
    - {name: nothing-denied, actions: t.denied, effect: deny}
    - {name: two-wipe, actions: t.wipe, targets: db1, approval: {approvers: [alice]}, effect: allow}
"""
SLOW = """\
echo 'half way' >&2
echo '##rune {"kind": "metric", "name": "speed", "value": 1.5, "unit": "s", "better": "lower"}' >&2
"""

# What differs from run to run, and what stands for it.
_VARYING = (
    (r"\d{8}T\d{6}Z-[0-9a-f]{8}", "RUN"),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "TIME"),
    (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "TIME"),
    (r"[A-Z][a-z]{2} \d{4}-\d\d-\d\d \d\d:\d\d [^\s\"]+", "NOW"),
    (r'("(?:duration|elapsed|waited)_s": ?)\d[\d.e-]*', r"\1SECONDS"),
    (r'("pid": ?)\d+|(?<=,HOST,)\d+', r"\1PID"),
    (r"""(last hash is |"plan_hash": ?")[0-9a-f]{64}""", r"\1HASH"),
    (r"\b\d+(\.\d+)? (s|ms)\b", "SECONDS"),
    (r"""((?:trace|span)_id"?: ?["']?)[0-9a-f]{16,32}""", r"\1ID"),
    (r"(?<=,)0\.\d{3,6}(?=,)", "SECONDS"),  # a duration in CSV
    (r"(?<=\S)   +", "  "),  # the widths of columns follow from durations
    (r"duration_s: [\d.e-]+", "duration_s: SECONDS"),
    (r"\b(files|bytes)=\d+", r"\1=COUNT"),  # what the host keeps is of all runs of the account
)


def neutral(text: str, folder: Path) -> str:
    """Return what was printed without what no two runs have in common."""
    text = text.replace(str(folder), "FOLDER").replace(f"{__version__}", "VERSION")
    for word, name in ((socket.gethostname(), "HOST"), (getpwuid(os.getuid()).pw_name, "USER")):
        text = re.sub(rf"\b{re.escape(word)}\b", name, text)
    for pattern, word in _VARYING:
        text = re.sub(pattern, word, text)
    return text


def shown(line: str, folder: Path, done: Done) -> str:
    """Return what a transcript has of a line that was carried out."""
    parts = [f"$ {line}\n"]
    for name, printed in (("stdout", done.text), ("stderr", done.stderr)):
        if text := neutral(printed, folder):
            parts.append(f"--- {name}\n{text}" + ("" if text.endswith("\n") else "\\\n"))
    return "".join([*parts, f"--- exit {done.code}\n"])


@pytest.mark.parametrize("transcript", sorted(RECORDED.glob("*.txt")), ids=lambda one: one.stem)
def test_a_transcript(fleet: Rune, transcript: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("RUNE_", "AWS_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("RUNE_STATE_DIR", str(fleet.folder / "state"))
    monkeypatch.setenv("HOME", str(fleet.folder / "home"))
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("USER", "tester")
    monkeypatch.setenv("LOGNAME", "tester")
    fleet.plugin("t.slow", SLOW + fleet.folder.joinpath("plugins/t-typed/main.sh").read_text())
    fleet.plugin("t.denied", "true\n")
    fleet.folder.joinpath("approvals").mkdir()
    fleet.folder.joinpath("approvals").chmod(0o3770)
    fleet.write("rune.yaml", POLICY)
    fleet.write("bad/inventory.yaml", "targets:\n  a: {transprot: ssh}\n")
    fleet.write("twice/inventory.yaml", "targets:\n  a: {}\n  a: {}\n")
    fleet.write("bad.yaml", "gpu_index: 12\n")
    recorded = transcript.read_text("utf-8")
    lines = re.findall(r"(?m)^\$ (rune .*)$", recorded)
    now = "\n".join(shown(line, fleet.folder, fleet(*shlex.split(line)[1:])) for line in lines)
    if RECORD:
        transcript.write_text(now, "utf-8")
    assert now.split("\n\n$ ") == recorded.split("\n\n$ ")
