"""Without a home, and in folders that one may not look into."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lmm.testing import Account
from tests.support.errors import error_of, reason

from .conftest import ROOT, Done, Rune
from .office import Person

pytestmark = pytest.mark.needs_root


def test_nobody_needs_a_home(tmp_path: Path) -> None:
    """As in a container with a uid of its own, and no HOME."""
    nobody = Person(Path("/"), "", 54321, tmp_path)
    state = tmp_path / "state"
    state.mkdir()
    os.chown(state, 54321, 54321)

    def call(*arguments: str) -> tuple[int, str]:
        done = subprocess.run(
            [*nobody._rights(), sys.executable, "-m", "lom.cli", *arguments],
            cwd="/",
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": str(ROOT),
                "PYTHONDONTWRITEBYTECODE": "1",
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )
        return done.returncode, done.stdout + done.stderr

    code, text = call("run", "noop")
    assert (code, "HOME is not set and uid 54321 has no entry" in text) == (2, True), text
    code, text = call("run", "noop", "--state-dir", str(state))
    assert code == 0, text
    for wanted, command in (
        (0, ["action", "list"]),
        (0, ["target", "list"]),
        (0, ["config", "show"]),
        (2, ["config", "trust", "/"]),
        (2, ["plugin", "install", "x"]),
        (2, ["runs", "list"]),
        (2, ["run", "noop", "--plugin-path", "~no-such-user/x"]),
        (2, ["run", "noop", "--secret", "a=file:~no-such-user/x", "--state-dir", str(state)]),
    ):
        code, text = call(*command)
        assert code == wanted, text
        assert "unexpected" not in text
    assert call("doctor", "-t", "local")[0] == 1


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["run", "noop", "--no-ledger"], None),
        (["action", "list"], None),
        (["target", "list"], None),
        (["runs", "list", "--state-dir", "."], "ledger_unavailable"),
        (["runs", "list", "--state-dir", "/etc/passwd"], "ledger_unavailable"),
        (["action", "list", "--plugin-path", "."], "config_invalid"),
        (["action", "list", "--plugin-path", "rune.yaml"], "config_invalid"),
    ],
)
def test_where_one_may_not_look_there_is_nothing(
    rune: Rune, account: Account, arguments: list[str], why: str | None
) -> None:
    """As after `cd /root; sudo -u soc rune …`; but what is named, or one's own, must be there."""
    rune.write("rune.yaml", "output: nonsense\n")
    closed(rune.folder, account)
    done = unprivileged(rune.folder, *arguments)
    assert done.code == (2 if why else 0)
    if why:
        assert reason(done) == why


def test_ones_own_settings_are_not_passed_over(
    rune: Rune, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed(rune.write("config/rune/config.yaml", "output: json\n").parent, account)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(rune.folder / "config"))
    done = unprivileged(rune.folder, "action", "list")
    assert done.code == 2
    assert f"may not look into {rune.folder}/config/rune" in error_of(done)["message"]


def closed(folder: Path, account: Account) -> None:
    folder.chmod(0o700)
    os.chown(folder, account.uid, account.uid)


def unprivileged(folder: Path, *arguments: str) -> Done:
    """Run ``rune`` in a folder as root without the privilege to look everywhere."""
    less = "-dac_override,-dac_read_search"
    setpriv = ["setpriv", f"--bounding-set={less}", f"--inh-caps={less}"]
    done = subprocess.run(
        [*setpriv, sys.executable, "-m", "lom.cli", *arguments, "-o", "json"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
    )
    return Done(done.returncode, done.stdout, done.stderr.decode())
