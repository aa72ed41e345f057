"""The check of tests/conftest.py that every test leaves nothing behind, seen from outside."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parents[2]

CASES = {
    "process": "subprocess.Popen(['sleep', '60'])",
    "zombie": "KEPT.append(subprocess.Popen(['true']))",
    "daemon": "subprocess.run('setsid sleep 60 >/dev/null 2>&1 &', shell=True)",
    "thread": "threading.Thread(target=STOP.wait, daemon=True).start()",
    "socket": "KEPT.append(socket.socket())",
    "pipe": "KEPT.append(os.pipe())",
    "file": "tempfile.mkstemp()",
    "plugin_directory": "os.mkdir(os.environ['XDG_RUNTIME_DIR'] + '/.rune-x')",
    "session": "SSHD.run('sleep 60 >/dev/null 2>&1 &')",
    "escaped_session": "SSHD.run('setsid sleep 60 >/dev/null 2>&1 &')",
}

HEAD = """
import os, socket, subprocess, tempfile, threading
import pytest
KEPT = []
STOP = threading.Event()

class SSHD:
    @staticmethod
    def run(command):
        s = SSHD.server
        where = ["-i", str(s.identity_file), "-o", f"UserKnownHostsFile={s.known_hosts}"]
        where += ["-F", str(s.ssh_config), "-p", str(s.port), f"{s.user}@127.0.0.1"]
        subprocess.run(["ssh", *where, command], check=True)

@pytest.fixture(autouse=True)
def _server(sshd):
    SSHD.server = sshd
"""


def test_exactly_the_tests_that_leak_fail(tmp_path: Path) -> None:
    """One pytest run over a leaking test for each case and two that tidy up."""
    conftest = (TESTS / "conftest.py").read_text(encoding="utf-8")
    patience = "PATIENCE_S = 5.0"
    assert patience in conftest
    (tmp_path / "conftest.py").write_text(conftest.replace(patience, "PATIENCE_S = 0.2"))
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    tests = [f"def test_{name}():\n    {code}\n" for name, code in CASES.items()]
    tests += ["def test_clean():\n    subprocess.run(['true'])\n    SSHD.run('true')\n"]
    tests += ["def test_late():\n    SSHD.run('sleep 0.1 >/dev/null 2>&1 &')\n"]
    (tmp_path / "test_leaks.py").write_text(HEAD + "\n".join(tests))
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    environment |= {"PYTHONPATH": str(TESTS.parent), "PYTHONDONTWRITEBYTECODE": "1"}
    argv = [sys.executable, "-m", "pytest", "-rA", f"--basetemp={tmp_path}/base"]
    done = subprocess.run(
        [*argv, "-p", "no:randomly", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    said = re.findall(
        r"^ERROR test_leaks.py::test_(\w+) - Failed: the test left", done.stdout, re.M
    )
    assert sorted(said) == sorted(CASES), done.stdout
    assert f"{len(CASES) + 2} passed, {len(CASES)} errors" in done.stdout
