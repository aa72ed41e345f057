"""Accounts on the host: noisy login files, shells that are none, sudo."""

from __future__ import annotations

import os
import secrets
import shutil
from pathlib import Path
from typing import Any

import pytest

from lmm.model import Become, Outcome, SecretRef, Target
from lmm.testing import Account, Sshd

from .stubborn import STUBBORN, all_running, gone, pids

OK = '{"payload":{"result":"success","output_data":{"from":"%s"}}}'
NOISE = (
    "echo 'Welcome to the host!'; printf 'no newline'; echo '{\"a\": 1}'; echo warning >&2; "
    "printf '##rune-' ; head -c 20000 /dev/zero | tr '\\0' n"
)


@pytest.mark.parametrize("transport", ["ssh", "openssh"])
def test_login_noise_does_not_break_a_result(host_factory: Any, sshd: Sshd, transport: str) -> None:
    with Account(bashrc=NOISE) as noisy:
        host = host_factory(sshd.target("noisy", user=noisy.name, transport=transport))
        result = host.run(f"echo '{OK}'; echo log >&2".replace("%s", "x"))
        assert result.output_data == {"from": "x"}, result.error
        assert result.stderr == "log\n"


@pytest.mark.parametrize("transport", ["ssh", "openssh"])
@pytest.mark.parametrize("shell", ["/bin/sh", "/usr/sbin/nologin", "/bin/false"])
def test_login_shells(host_factory: Any, sshd: Sshd, transport: str, shell: str) -> None:
    with Account(shell=shell) as made:
        host = host_factory(sshd.target("x", user=made.name, transport=transport))
        result = host.run(f"echo '{OK}'".replace("%s", "x"))
        if shell == "/bin/sh":
            assert result.output_data == {"from": "x"}
        else:
            assert (result.outcome, result.reason) == (Outcome.UNREACHABLE, "no_shell")


@pytest.mark.parametrize("transport", ["ssh", "openssh"])
@pytest.mark.parametrize("sudo", ["nopasswd", "password", "wrong", "none"])
def test_become(host_factory: Any, sshd: Sshd, scratch: Path, transport: str, sudo: str) -> None:
    password = secrets.token_hex(8)
    rule = {"nopasswd": "nopasswd", "none": None}.get(sudo, "password")
    os.environ["SUDO_PASSWORD"] = "wrong" if sudo == "wrong" else password
    secret = SecretRef("env:SUDO_PASSWORD") if sudo != "none" else None
    with Account(password=password, sudo=rule) as made:
        become = Become("root", secret)
        target = sshd.target("x", user=made.name, transport=transport, become=become)
        host = host_factory(target)
        script = f"[[ -s /dev/stdin ]]; cat >/dev/null; printf '{OK}' \"$(id -un)\""
        result = host.run(script, {"x": "$(id)"})
        if sudo in ("nopasswd", "password"):
            assert result.output_data == {"from": "root"}, result.error
        else:
            assert (result.outcome, result.reason) == (Outcome.UNREACHABLE, "become_failed")
        assert password not in str(result)
        assert os.environ["SUDO_PASSWORD"] not in str(result).replace("wrong password", "")


@pytest.mark.parametrize("transport", ["ssh", "openssh"])
def test_become_leaves_no_process(
    host_factory: Any, sshd: Sshd, scratch: Path, transport: str
) -> None:
    scratch.chmod(0o777)
    with Account(sudo="nopasswd") as made:
        target = sshd.target("x", user=made.name, transport=transport, become=Become("root"))
        host = host_factory(target)
        watcher = host.cancel_when(lambda: all_running(scratch))
        result = host.run(STUBBORN % {"place": scratch}, interpreter=("python3",))
        watcher.join()
        assert result.outcome is Outcome.CANCELLED
        assert gone(pids(scratch), 0.5)


@pytest.mark.needs_root
def test_become_locally(host_factory: Any) -> None:
    assert shutil.which("sudo")
    target = Target("local", transport="local", become=Become("nobody"))
    result = host_factory(target).run(f"printf '{OK}' \"$(id -un)\"")
    assert result.output_data == {"from": "nobody"}, result.error
