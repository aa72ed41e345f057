"""What a host's login files and sudo do before the shell is there: nothing that is sent may run."""

from __future__ import annotations

import os
import re
import secrets
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lmm.model import Become, Limits, OnDisconnect, Outcome, Result, SecretRef, Target
from lmm.testing import Account, Sshd, loopback, processes
from lmm.transports import disconnect
from tests.scale import repeats

pytestmark = pytest.mark.needs_root
OK = '{"payload":{"result":"success","output_data":{}}}'
BOTH = pytest.mark.parametrize("transport", ["ssh", "openssh"])

# What takes the shell's place, or a part of what is sent, and how that is told. Those in WAITING
# end when stdin does.
AT_ONCE = {
    "read -r -t 1 answer": "has read from RUNE's input",
    "IFS= read -r -N 5 answer": "has read from RUNE's input",
    "head -c 50 >/dev/null": "has read from RUNE's input",
    "read -r one; read -r -t 1 two": "has read from RUNE's input",
    "exec sh": "start another shell",
    "exec bash": "start another shell",
    "echo 'Your password has expired.' >&2; exit 7": ": Your password has expired.",
    "echo 'Choose:'; exit 0": ": Choose:",
}
WAITING = {
    "cat >/dev/null": "has read from RUNE's input",
    "while read -r line; do echo '?'; done": "has read from RUNE's input: ?",
    "exec cat": "has read from RUNE's input",
    "read -r -t 1 a; exec bash -s": "has read from RUNE's input",
    "exec python3 -": "SyntaxError",
    "exec sleep 40": "gave no shell",
}


def told(result: Result) -> tuple[str, str]:
    assert result.reason, result
    return result.reason, result.message


class Login:
    """An account with login files, and a plugin with a parameter that shows if any of it ran.

    Login files tell the cases that are carried at the same time by the address they came to.
    """

    def __init__(self, host: Any, account: Account) -> None:
        self._host = host
        self.account = account
        account.home.chmod(0o777)
        (account.home / ".bashrc").write_text(
            "[[ $SSH_CONNECTION =~ ' '(127[0-9.]+)' ' ]]; . ~/login-${BASH_REMATCH[1]}\n"
        )

    def __call__(
        self, *logins: str, patience_s: float = 40.0, script: str = "", **fields: Any
    ) -> list[Result]:
        """Return what comes of each login file, in their order."""
        host, home = self._host, self.account.home
        ssh = replace(host.target.ssh, auth_timeout_s=patience_s, connect_timeout_s=0.1)
        ssh = replace(ssh, banner_timeout_s=patience_s, persist_s=0)
        invocations = []
        for address, text in zip(loopback(len(logins)), logins, strict=True):
            (home / f"login-{address}").write_text(text + "\n")
            self._plugin(address).unlink(missing_ok=True)
            invocations.append(
                host.invocation(
                    script or f"touch {self._plugin(address)}; echo '{OK}'",
                    {"text": f"\ntouch {home}/parameter\n" * 20},
                    target=replace(host.target, name=address, host=address, ssh=ssh),
                    **fields,
                )
            )
        found = {result.target: result for result in host.carry(*invocations)}
        assert not (home / "parameter").exists()
        return [found[one.target.name] for one in invocations]

    def _plugin(self, address: str) -> Path:
        return self.account.home / f"plugin-{address}"

    def has_run(self, result: Result) -> bool:
        return self._plugin(result.target).exists()


@pytest.fixture
def login(request: pytest.FixtureRequest, host_factory: Any, sshd: Sshd) -> Iterator[Login]:
    sudo = request.getfixturevalue("sudo") if "sudo" in request.fixturenames else None
    transport = request.getfixturevalue("transport")
    os.environ["SUDO_PASSWORD"] = "pass word"
    with Account(sudo=sudo, password="pass word" if sudo == "password" else None) as made:
        become = Become("root", SecretRef("env:SUDO_PASSWORD") if sudo == "password" else None)
        target = sshd.target(
            "x", user=made.name, transport=transport, become=become if sudo else None
        )
        yield Login(host_factory(target), made)


@BOTH
@pytest.mark.parametrize("sudo", [None, "nopasswd"])
def test_what_login_files_take_is_never_run(login: Login, transport: str, sudo: str | None) -> None:
    began = time.monotonic()
    for (bashrc, words), result in zip(
        AT_ONCE.items(), login(*AT_ONCE, limits=Limits(60)), strict=True
    ):
        assert result.outcome is Outcome.UNREACHABLE, (bashrc, result)
        assert words in told(result)[1], (bashrc, result)
        assert not login.has_run(result)
    assert time.monotonic() - began < 30


@BOTH
@pytest.mark.parametrize("sudo", ["password"])
def test_login_files_get_nothing_before_sudo_asks(
    login: Login, transport: str, sudo: str | None
) -> None:
    (result,) = login("read -r -t 1 answer")
    assert result.outcome is Outcome.OK  # it got nothing, and took nothing
    assert login.has_run(result)
    wait = ("read -r answer; touch ~/answered; exit", "exec sh", "cat >>~/taken")
    patience_s = 3.0 if transport == "ssh" else 1.5
    for result in login(*wait, patience_s=patience_s, limits=Limits(60)):
        assert (result.outcome, told(result)[0]) == (Outcome.UNREACHABLE, "become_failed"), result
        assert not login.has_run(result)


@BOTH
def test_login_files_that_wait_are_given_up(login: Login, transport: str) -> None:
    patience_s = 4.0 if transport == "ssh" else 2.0
    for (bashrc, words), result in zip(
        WAITING.items(), login(*WAITING, patience_s=patience_s, limits=Limits(60)), strict=True
    ):
        assert result.outcome is Outcome.UNREACHABLE, (bashrc, result)
        assert words in told(result)[1], (bashrc, result)
        assert not re.search("[0-9a-f]{32}", told(result)[1])  # none of RUNE's own words
        assert not login.has_run(result)


@BOTH
def test_login_files_that_break_all_output_or_processes_are_told(
    login: Login, transport: str
) -> None:
    no_process = ["ulimit -u 1"] if transport == "ssh" else []  # bash tries for 15 s
    result, *others = login("exec 2>&1", *no_process, limits=Limits(60))
    assert result.outcome is Outcome.INVALID_OUTPUT, result
    assert "join its error output to the answer" in told(result)[1]
    for result in others:
        assert (result.outcome, told(result)[0]) == (Outcome.FAILED, "bootstrap_failed"), result
        assert "can start no process: see `ulimit -u` there" in told(result)[1]


# Whatever of the stream it gets, and when: a plugin that runs has run as it was sent.
ASIDE = "exec 9<&0; (sleep 0.0%d; head -c %d <&9 >/dev/null) & exec 9<&-"


@pytest.mark.soak
@BOTH
def test_what_reads_beside_the_shell_makes_nothing_else_run(login: Login, transport: str) -> None:
    for first in range(0, repeats(8), 4):
        logins = [ASIDE % (at % 10, 1 + 997 * at % 9000) for at in range(first, first + 4)]
        for result in login(*logins, limits=Limits(2, grace_s=1)):
            has_run = login.has_run(result)
            assert result.outcome is (Outcome.OK if has_run else Outcome.UNREACHABLE), result


@BOTH
def test_what_the_login_starts_afterwards_gets_nothing(
    host_factory: Any, transport: str, tmp_path: Path
) -> None:
    """A shell that ends early, as the host lacks a command, has read all the same."""
    ran = tmp_path / "ran"
    fall_back = 'sh -c "$SSH_ORIGINAL_COMMAND" || exec bash'
    with Sshd(config=[f"ForceCommand {fall_back}"]) as sshd:
        host = host_factory(replace(sshd.target("x"), transport=transport))
        params = {"folder": f"/etc\ntouch {ran}\n", "more": "x" * 9000}
        for _ in range(3):
            result = host.run(f"echo '{OK}'\n", params, requires=("no-such-command",))
            assert "no-such-command" in told(result)[1]
        disconnect()  # sessions end by that, if not before
        processes.wait_gone(sshd.session_pids(), 5.0)
    assert not ran.exists()


STRANGE = """\
echo 'echo from BASH_ENV; set -eu; shopt -s failglob nullglob' >~/env
export BASH_ENV=~/env ENV=~/env TMOUT=1 GLOBIGNORE='*' SHELLOPTS BASHOPTS
printf() { echo shadowed; }; read() { builtin read -t 1; }
export -f printf read
shopt -s expand_aliases failglob
alias kill=false
set -euo pipefail
"""


def owner(path: Path) -> int:
    try:
        return -1 if "receipts" in path.name else path.stat().st_uid
    except FileNotFoundError:
        return -1


@BOTH
@pytest.mark.parametrize("mode", [None, OnDisconnect.KILL, OnDisconnect.CONTINUE])
def test_the_options_of_a_hosts_shell_change_nothing(
    login: Login, transport: str, mode: OnDisconnect | None
) -> None:
    receipt: dict[str, Any] = {}
    if mode:
        receipt = {"receipt": secrets.token_hex(16), "on_disconnect": mode}
    (done,) = login(STRANGE, script=f"false; echo $undefined; : /none/*; builtin printf '{OK}'")
    assert (done.outcome, done.output_data) == (Outcome.OK, {}), done
    began = time.monotonic()
    (stopped,) = login(STRANGE, script="sleep 30", limits=Limits(1), **receipt)
    assert (stopped.outcome, told(stopped)[0]) == (Outcome.TIMED_OUT, "timed_out")
    assert time.monotonic() - began < 15
    assert not [pid for pid in login.account.pids() if "sleep 30" in processes.describe(pid)]
    until = time.monotonic() + 15
    while left := [
        one for one in Path("/dev/shm").glob(".rune-*") if owner(one) == login.account.uid
    ]:
        assert time.monotonic() < until, left
        time.sleep(0.05)


# -- sudo --------------------------------------------------------------------------------------

RULES = {
    "": "is not in the sudoers file",
    "{user} ALL=(ALL) /bin/true": "is not allowed to execute",
    "Defaults:{user} !lecture, passwd_tries=1\n{user} ALL=(ALL) ALL": "incorrect password attempt",
    "Defaults:{user} requiretty\n{user} ALL=(ALL) ALL": "you must have a tty",
}


@BOTH
def test_what_sudo_says_is_the_reason(host_factory: Any, sshd: Sshd, transport: str) -> None:
    os.environ["SUDO_PASSWORD"] = "pass word"
    with Account(password="pass word", sudo="password") as made:
        rules = Path("/etc/sudoers.d") / made.name
        become = Become("root", SecretRef("env:SUDO_PASSWORD"))
        for rule, words in RULES.items():
            rules.write_text(rule.format(user=made.name) + "\n")
            os.environ["SUDO_PASSWORD"] = "other" if "tries" in rule else "pass word"
            target = sshd.target("x", user=made.name, transport=transport, become=become)
            result = host_factory(target).run(f"echo '{OK}'", limits=Limits(60))
            assert result.outcome is Outcome.UNREACHABLE, result
            reason, message = told(result)
            assert (reason, words in message) == ("become_failed", True), message
            assert not re.search(r"-password:|rune-[0-9a-f]{16}|rune_word", str(result.error))
        target = replace(target, become=Become("nobody-at-all", become.password))
        message = told(host_factory(target).run(f"echo '{OK}'"))[1]
        assert "unknown user" in message


# A sudo that does what is written here, and what RUNE makes of it.
SUDOS = {
    'printf "PIN: " >&2; read x; exit 1': "sudo asks in words of its own: PIN:",
    '{ask}; printf "Verification code: " >&2; read x; exit 1': (
        "sudo asks for more than the password: Verification code:"
    ),
    "{ask}; {ask}; exit 1": "sudo asks for a second factor, or the password again",
    '{ask}; echo "Das hat nicht funktioniert." >&2; {ask}; exit 1': "did not accept the password",
    '{ask}; echo "sudo: Konto abgelaufen" >&2; echo "sudo: Ende" >&2; exit 1': (
        "sudo: Konto abgelaufen"
    ),
    '{ask}; echo "Tut mir leid, das ist nicht erlaubt." >&2; exit 1': "Tut mir leid, das ist nicht",
    'echo "sudo: unable to resolve host h" >&2; {ask}; exit 1': "no shell came of it",
    "{ask}; sleep 60": "no shell came of it",
    "sleep 60": "sudo gave no shell as user8",
}


FAKE = """\
#!/bin/bash
ask() { printf %s "$prompt" >&2; IFS= read -r word; }
while [[ $1 != -p ]]; do shift; done
prompt=$2
case $4 in
"""


@pytest.mark.parametrize("transport", ["local", "ssh", "openssh"])
def test_a_sudo_without_a_shell_is_unreachable(
    host_factory: Any, sshd: Sshd, monkeypatch: pytest.MonkeyPatch, transport: str
) -> None:
    monkeypatch.setenv("SUDO_PASSWORD", "pass word")
    users = {f"user{at}": script for at, script in enumerate(SUDOS)}  # which tell it what to do
    cases = [f"{user}) {script.replace('{ask}', 'ask')} ;;\n" for user, script in users.items()]
    with Account() as made:
        sudo = made.home / "sudo"
        sudo.write_text(FAKE + "".join(cases) + "esac\n")
        sudo.chmod(0o755)
        if transport == "local":
            monkeypatch.setenv("PATH", f"{made.home}:{os.environ['PATH']}")
            target = Target("x", transport="local")
        else:
            (made.home / ".bashrc").write_text("PATH=~:$PATH\n")
            target = sshd.target("x", user=made.name, transport=transport)
        host = host_factory(target)
        host.run("true")  # openssh logs in once for all; that is not what has these seconds
        invocations = []
        for user, script in users.items():
            waits = script.endswith("sleep 60") or "; read x" in script
            become = Become(user, SecretRef("env:SUDO_PASSWORD"))
            invocations.append(
                host.invocation(
                    "true",
                    target=replace(target, name=user, become=become),
                    limits=Limits(6 if waits else 40, grace_s=1),
                )
            )
        results = host.carry(*invocations)
        assert {result.target for result in results} == {*users}
        for result in results:
            script = users[result.target]
            assert result.outcome is Outcome.UNREACHABLE, (script, result)
            assert told(result)[0] == "become_failed", (script, result)
            assert SUDOS[script] in told(result)[1], (script, result)
            assert "pass word" not in str(result)
            assert not re.search(r"rune-[0-9a-f]{16}", str(result.error))
