"""What `rune` prints is what was recorded, byte by byte: documents, tables, errors, exit codes.

A transcript in ``recorded/`` is a list of commands, each with what it printed. After a change that
is meant, ``RUNE_RECORD=1 pytest tests/integration/cli/test_cli_recorded.py`` writes them anew; the
diff belongs to the change.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import socket
from pathlib import Path
from pwd import getpwuid

import pytest

from lom import __version__

from .conftest import Rune

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

# Carries out each list of arguments in a fork of one process, which has loaded all of RUNE.
CARRY_OUT = """\
import gc, importlib, json, os, pkgutil, sys
import lmm, lom
for package in (lmm, lom):
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if not {"testing", "plugins", "pytest_plugin", "__main__"} & set(module.name.split(".")):
            importlib.import_module(module.name)
gc.freeze()
codes = []
for number, arguments in enumerate(json.loads(sys.argv[1])):
    os.mkdir(str(number))
    if not (child := os.fork()):
        for descriptor, name in ((1, "stdout"), (2, "stderr")):
            os.dup2(os.open(f"{number}/{name}", os.O_WRONLY | os.O_CREAT), descriptor)
        code = lom.cli.app.run(arguments)
        sys.stdout.flush(), sys.stderr.flush(), os._exit(code)
    codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
print(json.dumps(codes))
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
)


def neutral(text: str, folder: Path) -> str:
    """Return what was printed without what no two runs have in common."""
    text = text.replace(str(folder), "FOLDER").replace(f"{__version__}", "VERSION")
    for word, name in ((socket.gethostname(), "HOST"), (getpwuid(os.getuid()).pw_name, "USER")):
        text = re.sub(rf"\b{re.escape(word)}\b", name, text)
    for pattern, word in _VARYING:
        text = re.sub(pattern, word, text)
    return text


def shown(line: str, folder: Path, code: int) -> str:
    """Return what a transcript has of a line that was carried out."""
    parts = [f"$ {line}\n"]
    for name in ("stdout", "stderr"):
        if text := neutral((folder / name).read_text("utf-8"), folder.parent):
            parts.append(f"--- {name}\n{text}" + ("" if text.endswith("\n") else "\\\n"))
    return "".join([*parts, f"--- exit {code}\n"])


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
    given = json.dumps([shlex.split(line)[1:] for line in lines])
    codes = json.loads(fleet.python(CARRY_OUT, given).text)
    now = "\n".join(
        shown(line, fleet.folder / str(number), code)
        for number, (line, code) in enumerate(zip(lines, codes, strict=True))
    )
    if RECORD:
        transcript.write_text(now, "utf-8")
    assert now == recorded
