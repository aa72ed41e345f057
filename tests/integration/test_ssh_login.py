"""Logging in and getting there, on real servers: keys, passwords, factors, agents, jump hosts."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lmm.model import Outcome, SecretRef, Target
from lmm.testing import Account, Sshd
from lmm.transports import disconnect
from tests.support.waiting import until

from .ssh_client import Client, free_port, told, with_ssh


def test_no_credentials(client: Client, target: Target, tmp_path: Path) -> None:
    result = client.one(with_ssh(target, identity_files=()))
    assert told(result) == ("unreachable", "authentication_failed")


def test_password(client: Client, target: Target) -> None:
    os.environ["NODE_PASSWORD"] = "correct horse $(id) '\""
    settings = {"identity_files": (), "password": SecretRef("env:NODE_PASSWORD")}
    with Account(password=os.environ["NODE_PASSWORD"]) as made, Sshd() as server:
        target = server.target("x", user=made.name, transport=target.transport, settings=settings)
        assert client.one(target).outcome is Outcome.OK
        client.pool.close()
        disconnect()  # a connection that stands is not asked for a password
        os.environ["NODE_PASSWORD"] = "wrong-" + os.environ["NODE_PASSWORD"]
        result = client.one(target)
        assert told(result) == ("unreachable", "authentication_failed")
        assert os.environ["NODE_PASSWORD"] not in str(result)
        client.pool.close()


def refused(client: Client, server: Sshd, user: str, transport: str, **settings: Any) -> str:
    """Return what is said of a login that the server refuses."""
    target = server.target("x", user=user, transport=transport, settings=settings)
    result = client.one(target)
    assert told(result) == ("unreachable", "authentication_failed")
    client.pool.close()
    return result.message


def test_an_expired_account_is_told_in_the_hosts_own_words(client: Client, target: Target) -> None:
    with (
        Sshd(config=["UsePAM yes"]) as server,
        Account(authorized_key=server.public_key) as made,
    ):
        subprocess.run(["chage", "-E", "1970-01-02", made.name], check=True)
        message = refused(client, server, made.name, target.transport)
    assert message.endswith("Your account has expired; please contact your system administrator.")


@pytest.mark.parametrize(
    ("methods", "told_by_ssh", "told_by_openssh"),
    [
        ("publickey,password", "asks for password as well; give ssh.password", "ssh.password"),
        (
            "publickey,keyboard-interactive",
            "asks for keyboard-interactive as well; give ssh.password",
            "ssh.password",
        ),
        ("publickey,publickey", "asks for publickey as well; give one more key", "publickey"),
    ],
)
def test_a_missing_factor_is_named(
    client: Client, target: Target, methods: str, told_by_ssh: str, told_by_openssh: str
) -> None:
    lines = [f"AuthenticationMethods {methods}", "KbdInteractiveAuthentication yes", "UsePAM yes"]
    with (
        Sshd(config=lines) as server,
        Account(authorized_key=server.public_key, password="pw") as made,
    ):
        message = refused(client, server, made.name, target.transport)
        assert (told_by_ssh if target.transport == "ssh" else told_by_openssh) in message
        if target.transport == "ssh":
            assert f"accepted {server.identity_file} of {made.name} and" in message
        if "publickey,publickey" not in methods:
            os.environ["NODE_PASSWORD"] = "wrong"
            secret = SecretRef("env:NODE_PASSWORD")
            message = refused(client, server, made.name, target.transport, password=secret)
            assert "ssh.password" in message
            assert "give" not in message


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_key_with_passphrase(
    client: Client, target: Target, sshd: Sshd, tmp_path: Path, kind: str
) -> None:
    key = tmp_path / "key"
    words = ["ssh-keygen", "-q", "-t", kind, "-N", "open sesame", "-f", str(key)]
    subprocess.run(words, check=True)
    secret = tmp_path / "passphrase"
    secret.write_text("open sesame\n")
    public = key.with_suffix(".pub").read_text()
    with Account(authorized_key=public) as made:
        locked = with_ssh(replace(target, user=made.name), identity_files=(str(key),))
        found = told(client.one(locked))
        assert found in (
            ("unreachable", "key_unusable"),
            ("unreachable", "authentication_failed"),
        )
        opened = with_ssh(locked, passphrase=SecretRef(f"file:{secret}"))
        result = client.one(opened)
        assert result.outcome is Outcome.OK, result.error
        secret.write_text("wrong\n")
        client.pool.close()
        disconnect()
        result = client.one(opened)
        assert result.outcome is Outcome.UNREACHABLE or target.transport == "ssh"


def test_certificate(client: Client, target: Target, tmp_path: Path) -> None:
    for name in ("ca", "key"):
        words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / name)]
        subprocess.run(words, check=True)
    sign = ["ssh-keygen", "-q", "-s", str(tmp_path / "ca"), "-I", "me", "-n", "ops,root"]
    subprocess.run([*sign, str(tmp_path / "key.pub")], check=True)
    ca = f"TrustedUserCAKeys {tmp_path / 'ca.pub'}"
    with Sshd(config=[ca, "AuthorizedKeysFile none"]) as server:
        settings = {"identity_files": (str(tmp_path / "key"),)}
        signed = server.target("x", transport=target.transport, settings=settings)
        result = client.one(signed)
        client.pool.close()
    assert result.outcome is Outcome.OK, result.error


def test_agent(client: Client, target: Target, sshd: Sshd) -> None:
    socket_path = Path(os.environ["TMPDIR"]) / "agent"
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", socket_path], stdout=subprocess.DEVNULL)
    try:
        os.environ["SSH_AUTH_SOCK"] = str(socket_path)
        add = ["ssh-add", "-q", str(sshd.identity_file)]
        until(lambda: subprocess.run(add, stderr=subprocess.DEVNULL).returncode == 0)
        keyless = with_ssh(target, identity_files=(), use_agent=True)
        names = [replace(keyless, name=f"node{i}") for i in range(12)]
        results = client.run(*names)
    finally:
        agent.terminate()
        agent.wait()
        socket_path.unlink(missing_ok=True)
    assert [r.outcome for r in results] == [Outcome.OK] * 12


# -- the way there -----------------------------------------------------------------------------


@pytest.mark.parametrize("hops", [1, 2])
def test_jump_hosts(client: Client, target: Target, sshd: Sshd, hops: int, tmp_path: Path) -> None:
    with Sshd(addresses=["127.0.0.2"]) as first, Sshd(addresses=["127.0.0.3"]) as second:
        names = [first, second][:hops]
        config = tmp_path / "config"
        config.write_text(
            "".join(
                f"Host hop{i}\n HostName {server.addresses[0]}\n Port {server.port}\n"
                f" IdentityFile {server.identity_file}\n"
                f" UserKnownHostsFile {server.known_hosts}\n"
                for i, server in enumerate(names)
            )
            + f"Host far\n HostName 127.0.0.1\n Port {sshd.port}\n"
            + f" IdentityFile {sshd.identity_file}\n UserKnownHostsFile {sshd.known_hosts}\n"
            + f" ProxyJump {','.join(f'hop{i}' for i in range(hops))}\n"
        )
        far = Target("far", transport=target.transport)
        far = with_ssh(far, config_file=str(config), use_agent=False)
        results = client.run(far, replace(far, name="far2", host="far"))
        client.pool.close()
        assert [r.outcome for r in results] == [Outcome.OK] * 2, [r.error for r in results]
        assert all("Accepted publickey" in server.log for server in names)


def test_jump_host_that_is_down(client: Client, target: Target) -> None:
    lost = with_ssh(target, proxy_jump=f"127.0.0.1:{free_port()}")
    result = client.one(lost)
    assert result.outcome is Outcome.UNREACHABLE
    assert told(result)[1] in ("proxy_failed", "connection_refused", "host_key_unknown")
