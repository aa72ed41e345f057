"""The openssh transport with a real ssh and a real sshd: secrets, shared connections, timeouts."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lmm.mediator import mediate
from lmm.model import Outcome, Result, SecretRef, Target
from lmm.scope import Scope
from lmm.testing import Account, Sshd, processes, refused_port, silent_port
from lmm.transports import disconnect
from lmm.transports.openssh import OpensshTransport
from tests.support.invocations import invocation

PASSWORD = f"pass word'\"$(x) ü {secrets.token_hex(8)}"  # nobody else's, for those who look
LOGIN = "Accepted publickey for "
DONE = b'echo \'{"payload":{"result":"success","output_data":{}}}\'\n'

Run = Callable[..., Result]


@pytest.fixture
def transport() -> Iterator[OpensshTransport]:
    made = OpensshTransport()
    yield made
    made.close()
    disconnect()


@pytest.fixture
def run(transport: OpensshTransport) -> Run:
    """Run a script on a target and return its result."""

    def carry(target: Target, script: bytes = DONE, scope: Scope | None = None) -> Result:
        results: list[Result] = []
        mediate(
            transport,
            [invocation(target, script)],
            scope=scope or Scope(),
            on_event=lambda target, kind, data: None,
            on_result=results.append,
        )
        (result,) = results
        return result

    return carry


@pytest.fixture
def with_password(monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    monkeypatch.setenv("RUNE_TEST_PASSWORD", PASSWORD)
    with Account(password=PASSWORD) as account:
        yield account


def by_password(sshd: Sshd, account: Account, **settings: Any) -> Target:
    secret = {"identity_files": (), "password": SecretRef("env:RUNE_TEST_PASSWORD")}
    return sshd.target("h", user=account.name, settings={**secret, **settings})


@pytest.mark.needs_root
def test_a_password_logs_in_and_is_seen_nowhere(
    sshd: Sshd, with_password: Account, run: Run
) -> None:
    place = with_password.home
    looking = b"touch %s/here; until [[ -e %s/seen ]]; do sleep 0.05; done\n" % (
        (os.fsencode(place),) * 2
    )
    found: list[str] = []

    def look() -> None:
        for _ in range(400):
            if (place / "here").exists():
                break
            threading.Event().wait(0.05)
        for pid in processes.all_pids():
            for name in ("cmdline", "environ"):
                try:
                    data = Path(f"/proc/{pid}/{name}").read_bytes()
                except OSError:
                    continue
                if PASSWORD.encode() in data and pid != os.getpid():
                    found.append(processes.describe(pid))
        for file in Path(tempfile.gettempdir()).rglob("*"):
            if file.is_file() and PASSWORD.encode() in file.read_bytes():
                found.append(str(file))
        (place / "seen").touch()

    watcher = threading.Thread(target=look)
    watcher.start()
    result = run(by_password(sshd, with_password), looking + DONE)
    watcher.join()
    assert result.ok, result.error
    assert found == []


@pytest.mark.needs_root
def test_what_ssh_executes_is_in_no_folder_of_another(
    sshd: Sshd, with_password: Account, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir(mode=0o700)
    os.chown(theirs, 65534, 65534)
    monkeypatch.setenv("TMPDIR", str(theirs))
    before = theirs.stat().st_mtime_ns
    result = run(by_password(sshd, with_password))
    assert result.ok, result.error
    assert theirs.stat().st_mtime_ns == before  # there was nothing in between, either


@pytest.mark.needs_root
def test_a_wrong_password_is_tried_once(
    sshd: Sshd, with_password: Account, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNE_TEST_PASSWORD", "wrong")
    before = sshd.log.count(f"Failed password for {with_password.name}")
    result = run(by_password(sshd, with_password))
    assert (result.outcome, result.reason) == (Outcome.UNREACHABLE, "authentication_failed")
    assert sshd.log.count(f"Failed password for {with_password.name}") - before == 1
    assert "wrong" not in str(result)


@pytest.mark.parametrize("value", [None, "two\nlines", "x" * 2000])
def test_a_secret_that_cannot_be_given_is_told(
    sshd: Sshd, run: Run, monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    monkeypatch.delenv("RUNE_TEST_PASSWORD", raising=False)
    if value:
        monkeypatch.setenv("RUNE_TEST_PASSWORD", value)
    result = run(sshd.target("h", settings={"password": SecretRef("env:RUNE_TEST_PASSWORD")}))
    assert result.reason == "secret_unavailable"
    assert value is None or value not in str(result)


@pytest.mark.needs_root
@pytest.mark.parametrize(
    ("way", "expected"),
    [
        ("ProxyJump {hop}:{port}", "authentication_failed"),
        # not of RUNE's making: this ssh may ask, and inherits where the answers come from
        ("ProxyCommand ssh -F {config} -p {port} -W %h:%p {hop}", "proxy_failed"),
    ],
)
def test_a_jump_host_never_gets_the_password_of_the_target(
    sshd: Sshd, with_password: Account, run: Run, tmp_path: Path, way: str, expected: str
) -> None:
    config = tmp_path / "config"
    hop = f"{with_password.name}@localhost"
    config.write_text(
        f"Host 127.0.0.1\n  {way.format(hop=hop, port=sshd.port, config=config)}\n"
        f"Host *\n  IdentityFile none\n  IdentityAgent none\n  StrictHostKeyChecking yes\n"
        f"  UserKnownHostsFile {sshd.known_hosts}\n",
        encoding="utf-8",
    )
    accepted = f"Accepted password for {with_password.name}"
    before = sshd.log.count(accepted)
    # with the password the jump host would let anybody in: it is the same account
    result = run(by_password(sshd, with_password, config_file=str(config)))
    assert (result.outcome, result.reason) == (Outcome.UNREACHABLE, expected), str(result.error)
    assert sshd.log.count(accepted) == before


def test_a_jump_host_that_fails_is_told_by_name(sshd: Sshd, run: Run) -> None:
    with refused_port() as port:
        result = run(sshd.target("h", settings={"proxy_jump": f"localhost:{port}"}))
    assert (result.outcome, result.reason) == (Outcome.UNREACHABLE, "proxy_failed")
    assert f"connect to host localhost port {port}: Connection refused" in result.message


def test_a_connection_through_a_jump_host_is_kept_too(sshd: Sshd, run: Run) -> None:
    before = sshd.log.count(LOGIN)
    target = sshd.target("h", settings={"proxy_jump": f"{sshd.user}@localhost:{sshd.port}"})
    assert run(target).ok
    assert run(target).ok
    assert sshd.log.count(LOGIN) - before == 2


@pytest.mark.parametrize(("phrase", "expected"), [("open sesame", None), ("wrong", "key_unusable")])
def test_a_key_with_a_passphrase(
    sshd: Sshd,
    run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    phrase: str,
    expected: str | None,
) -> None:
    key = tmp_path / "key"
    key.write_bytes(sshd.identity_file.read_bytes())
    key.chmod(0o600)
    change = ["ssh-keygen", "-q", "-p", "-P", "", "-N", "open sesame", "-f", str(key)]
    subprocess.run(change, check=True, capture_output=True)
    monkeypatch.setenv("RUNE_TEST_PHRASE", phrase)
    secret = {"identity_files": (str(key),), "passphrase": SecretRef("env:RUNE_TEST_PHRASE")}
    result = run(sshd.target("h", settings=secret))
    if expected is None:
        assert result.ok, result.error
    else:
        assert result.reason in ("authentication_failed", expected)


def test_accept_new_remembers_the_key(sshd: Sshd, run: Run, tmp_path: Path) -> None:
    known = tmp_path / "known"
    target = sshd.target(
        "h", settings={"known_hosts": (str(known),), "host_key_policy": "accept-new"}
    )
    assert run(target).ok
    assert sshd.host_key in known.read_text("ascii")


def test_without_ssh_the_error_names_it(
    sshd: Sshd, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    result = run(sshd.target("h"))
    assert result.reason == "local_dependency_missing"
    assert "ssh is not installed" in result.message


def test_a_server_that_stops_after_its_banner_is_given_up(sshd: Sshd, run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        served: list[socket.socket] = []

        def serve() -> None:
            served.append(listener.accept()[0])
            served[0].sendall(b"SSH-2.0-OpenSSH_9.2\r\n")

        thread = threading.Thread(target=serve)
        thread.start()
        short = {"connect_timeout_s": 1.0, "banner_timeout_s": 0.2, "auth_timeout_s": 0.2}
        target = sshd.target("h", settings=short)
        result = run(replace(target, port=listener.getsockname()[1]))
        thread.join()
        served[0].close()
    assert (result.outcome, result.reason) == (Outcome.UNREACHABLE, "auth_timeout")


def test_cancel_does_not_wait_for_a_host_that_is_dead(sshd: Sshd, run: Run) -> None:
    scope = Scope()
    timer = threading.Timer(0.3, scope.cancel)
    with silent_port() as port:
        timer.start()
        result = run(replace(sshd.target("h"), port=port), scope=scope)
    timer.join()
    assert (result.outcome, result.reason) == (Outcome.CANCELLED, "cancelled")
    assert result.duration_s < sshd.target("h").ssh.banner_timeout_s
