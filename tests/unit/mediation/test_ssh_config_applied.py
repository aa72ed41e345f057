"""What ssh_config and the inventory come to for a target: settings, jump hosts, refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lmm.errors import RequestError
from lmm.model import SecretRef, SshSettings, Target
from lmm.ssh.config import Jump, needs_openssh, parse_jumps, resolve
from lmm.ssh.home import expand_home
from tests.unit.mediation.conftest import Write


def target(file: str = "none", **fields: Any) -> Target:
    names = {"host", "port", "user", "name"}
    rest = {key: value for key, value in fields.items() if key not in names}
    own = {key: value for key, value in fields.items() if key in names}
    return Target(**{"name": "t", **own}, ssh=SshSettings(config_file=file, **rest))


def test_without_any_file_the_defaults_hold() -> None:
    config = resolve(target(host="Some.Host"))
    assert (config.hostname, config.port, config.connect_timeout_s) == ("some.host", 22, 10.0)
    assert config.user_known_hosts == tuple(
        expand_home(f"~/.ssh/{name}") for name in ("known_hosts", "known_hosts2")
    )
    assert config.host_key_policy == "strict"
    assert (config.proxy_jump, config.proxy_command) == ((), None)
    assert (config.key_host, config.key_port) == ("some.host", 22)


def test_the_inventory_wins_over_the_file(write: Write, tmp_path: Path) -> None:
    mine, theirs = write("", "mine"), write("", "theirs")
    certificate = write("", "mine-cert.pub")
    file = write(
        "Host t\nUser theirs\nPort 1\nConnectTimeout 1\nIdentityFile {dir}/theirs\n"
        "StrictHostKeyChecking no\nUserKnownHostsFile {dir}/theirs\nProxyJump theirs\n"
        "CertificateFile {dir}/theirs\nIdentityAgent {dir}/agent\nHostKeyAlias alias\n"
    )
    config = resolve(
        target(
            file,
            user="mine",
            port=2,
            connect_timeout_s=2.5,
            identity_files=(mine,),
            certificate_file=certificate,
            known_hosts=(mine,),
            host_key_policy="accept-new",
            proxy_jump="none",
            use_agent=False,
            password=SecretRef("env:PW"),
        )
    )
    assert (config.user, config.port, config.connect_timeout_s) == ("mine", 2, 2.5)
    assert config.identity_files == (mine, theirs)
    assert config.identities_only
    assert not config.identities_are_defaults
    assert config.certificate_files == (certificate, theirs)
    assert config.user_known_hosts == (mine,)
    assert config.host_key_policy == "accept-new"
    assert config.proxy_jump == ()
    assert not config.use_agent
    assert config.password == SecretRef("env:PW")
    assert (config.key_host, config.key_port) == ("alias", 22)


def test_only_key_files_that_exist_are_offered(write: Write, tmp_path: Path) -> None:
    write("", "here")
    write("", "in-agent.pub")
    file = write("IdentityFile {dir}/gone\nIdentityFile {dir}/here\nIdentityFile {dir}/in-agent\n")
    wanted = (str(tmp_path / "here"), str(tmp_path / "in-agent"))
    assert resolve(target(file)).identity_files == wanted


def test_tokens_and_variables_stand_in_file_names(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNE_TEST_DIR", str(tmp_path / "100%h"))
    write("", "h.example-n-22-ops-%")
    write("", "100%h/key")
    file = write(
        "Host n\n  HostName h.example\n  User ops\n  IdentityFile {dir}/%h-%n-%p-%r-%%\n"
        "  IdentityFile ${RUNE_TEST_DIR}/key\n  ProxyCommand nc %h %p %r %n %%\n"
        "  UserKnownHostsFile %d/known\n"
    )
    config = resolve(target(file, host="n"))
    assert config.identity_files == (
        str(tmp_path / "h.example-n-22-ops-%"),
        str(tmp_path / "100%h" / "key"),
    )
    assert config.proxy_command == "nc h.example 22 ops n %"
    assert config.user_known_hosts == (expand_home("~/known"),)


@pytest.mark.parametrize(
    ("value", "socket"),
    [
        (None, "/the/default"),
        ("SSH_AUTH_SOCK", "/the/default"),
        ("none", None),
        ("$RUNE_TEST_AGENT", "/another"),
        ("${RUNE_TEST_AGENT}.sock", "/another.sock"),
        ("/mine/%r", "/mine/ops"),
        ("$RUNE_TEST_UNSET", None),
    ],
)
def test_the_agent_is_the_one_that_is_named(
    write: Write, monkeypatch: pytest.MonkeyPatch, value: str | None, socket: str | None
) -> None:
    monkeypatch.setenv("SSH_AUTH_SOCK", "/the/default")
    monkeypatch.setenv("RUNE_TEST_AGENT", "/another")
    monkeypatch.delenv("RUNE_TEST_UNSET", raising=False)
    file = write(f"IdentityAgent {value}\n" if value else "")
    config = resolve(target(file, user="ops"))
    assert config.identity_agent == socket
    assert config.use_agent is (socket is not None)


# -- jump hosts --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "jumps"),
    [
        ("none", ()),
        ("h", (Jump("h"),)),
        ("u@h:22, v@i ,j:1", (Jump("h", "u", 22), Jump("i", "v"), Jump("j", None, 1))),
        ("u@corp@h", (Jump("h", "u@corp"),)),
        ("ssh://u@h:22/", (Jump("h", "u", 22),)),
        ("h:ssh", (Jump("h", None, 22),)),  # as for Port
        ("[::1]:2222,[::1],::1,u@[fe80::1]", None),
    ],
)
def test_jump_hosts_are_read(spec: str, jumps: tuple[Jump, ...] | None) -> None:
    six = (Jump("::1", None, 2222), Jump("::1"), Jump("::1"), Jump("fe80::1", "u"))
    assert parse_jumps(spec) == (six if jumps is None else jumps)


@pytest.mark.parametrize("spec", ["", ",", "h,", "@h", "u@", "h:0", "h:x", "h:99999", "[::1]:"])
def test_a_jump_host_that_is_none_is_refused(spec: str) -> None:
    with pytest.raises(RequestError, match="jump host") as caught:
        parse_jumps(spec)
    assert caught.value.data["field"] == "ssh.proxy_jump"


def chain(file: str, **fields: Any) -> list[tuple[str, int, str]]:
    return [
        (hop.hostname, hop.port, hop.user) for hop in resolve(target(file, **fields)).proxy_jump
    ]


def test_each_hop_is_resolved_by_its_own_settings(write: Write) -> None:
    file = write(
        "Host t\n  ProxyJump outer,me@inner:99\nHost outer\n  HostName 10.0.0.1\n  Port 2200\n"
        "  ProxyJump first\nHost inner\n  User ignored\n  ProxyJump never-asked\n"
        "Host *\n  User ops\n"
    )
    assert chain(file) == [("first", 22, "ops"), ("10.0.0.1", 2200, "ops"), ("inner", 99, "me")]
    hops = resolve(target(file)).proxy_jump
    assert all(hop.proxy_jump == () and hop.proxy_command is None for hop in hops)


def test_a_first_hop_may_have_a_proxy_command(write: Write) -> None:
    file = write("Host t\n  ProxyJump j\nHost j\n  ProxyCommand nc %h %p\n")
    config = resolve(target(file))
    assert config.proxy_command is None
    assert config.proxy_jump[0].proxy_command == "nc j 22"


@pytest.mark.parametrize(
    ("text", "given"),
    [
        ("Host *\n  ProxyJump j\n", None),
        ("Host t\n  ProxyJump t\n", None),
        ("Host a\n  ProxyJump b\nHost b\n  ProxyJump a\n", "a"),
        ("Host j\n  HostName t\n", "j"),
    ],
)
def test_a_way_in_circles_is_refused(write: Write, text: str, given: str | None) -> None:
    file = write(text)
    with pytest.raises(RequestError, match="circles"):
        chain(file, user="u", **({"proxy_jump": f"u@{given}"} if given else {}))


def test_hops_of_the_inventory_take_its_settings_but_never_the_password(write: Write) -> None:
    mine = write("", "mine")
    file = write("UserKnownHostsFile {dir}/theirs\nUser ops\n")
    settings = {
        "identity_files": (mine,),
        "known_hosts": (mine,),
        "host_key_policy": "accept-new",
        "password": SecretRef("env:PW"),
        "passphrase": SecretRef("env:PP"),
    }
    (hop,) = resolve(target(file, user="me", port=9, proxy_jump="j", **settings)).proxy_jump
    assert (hop.hostname, hop.user, hop.port) == ("j", "ops", 22)
    assert hop.identity_files == (mine,)
    assert hop.known_hosts[0] == mine
    assert hop.known_hosts[1].endswith("/theirs")
    assert hop.host_key_policy == "accept-new"
    assert (hop.password, hop.passphrase) == (None, SecretRef("env:PP"))
    through_file = write("ProxyJump j\nHost j\n ProxyJump none\n", "jumps")
    (hop,) = resolve(target(write("Host t\n ProxyJump j\n", "jumps"), **settings)).proxy_jump
    assert through_file
    assert hop.identities_are_defaults
    assert hop.host_key_policy == "strict"
    assert (hop.password, hop.passphrase) == (None, None)


# -- what is wrong -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "Port x",
        "Port 0",
        "Port 65536",
        "Host a\nPort 22\nHost",
        "Match",
        "Match host",
        "Match host a user",
        'User "open',
        "ConnectTimeout 1x",
        "IdentityFile %z",
        "IdentityFile ${RUNE_TEST_UNSET}",
        "HostName %p",
        "ProxyJump a:b:c@",
        "Include {dir}/config",
    ],
)
def test_a_file_that_ssh_refuses_is_refused_by_name(
    write: Write, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.delenv("RUNE_TEST_UNSET", raising=False)
    file = write(text)
    with pytest.raises(RequestError) as caught:
        resolve(target(file))
    assert caught.value.reason == "config_invalid"
    if "ProxyJump" not in text:
        assert file in caught.value.message


def test_a_config_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"no such file \(ssh\.config_file\)"):
        resolve(target(str(tmp_path / "missing")))


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"identity_files": ("/gone",)}, "ssh.identity_files"),
        ({"certificate_file": "/gone"}, "ssh.certificate_file"),
        ({"host_key_policy": "no"}, "ssh.host_key_policy"),
        ({"proxy_jump": "a:b:c@"}, "ssh.proxy_jump"),
    ],
)
def test_a_wrong_setting_of_the_inventory_names_its_field(
    settings: dict[str, Any], field: str
) -> None:
    with pytest.raises(RequestError) as caught:
        resolve(target(**settings))
    assert caught.value.data["field"] == field


@pytest.mark.parametrize(
    "fields",
    [
        {"host": host}
        for host in ["-oProxyCommand=x", "", "a b", "a;b", "$(x)", "`x`", "a\nb", "a'b", "a,b"]
    ]
    + [{"user": user} for user in ["-x", "a;b", "$(x)", "a -b", "a\\", "a\nb", "`x`"]]
    + [{"proxy_jump": jump} for jump in ["-oX=y", "a;b", "$(x)@h"]],
)
def test_names_that_a_shell_or_ssh_would_misread_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(RequestError, match="cannot be the name of"):
        resolve(target(**{"name": "", **fields}))


@pytest.mark.parametrize("user", ["ops", "DOMAIN\\ops", "ops@corp.example", "öps", "a b"])
def test_names_of_users_may_be_odd(user: str) -> None:
    assert resolve(target(user=user)).user == user


# -- what only ssh can do ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", None),
        ("GSSAPIAuthentication no\nPKCS11Provider none\nCanonicalizeHostname no\n", None),
        ("Host other\n  GSSAPIAuthentication yes\n", None),
        ("GSSAPIAuthentication yes\n", "config:1 sets gssapiauthentication yes"),
        ("\nPKCS11Provider /lib/x.so\n", "config:2 sets pkcs11provider /lib/x.so"),
        ("SecurityKeyProvider /lib/x.so\n", "sets securitykeyprovider"),
        ("CanonicalizeHostname always\n", "sets canonicalizehostname"),
        ("RevokedHostKeys /etc/krl\n", "sets revokedhostkeys"),
        ("KexAlgorithms curve25519-sha256\n", "sets kexalgorithms"),
        (
            'Match host t exec "true"\n  Port 9\n',
            "config:1 has a condition that only ssh can judge",
        ),
        ("Match host other exec true\n  Port 9\n", None),
        ("Match localnetwork 10.0.0.0/8\n  Port 9\n", "only ssh can judge: Match localnetwork"),
        ("IdentityFile {dir}/token\n", "token is a key on a FIDO token"),
    ],
)
def test_says_why_the_openssh_transport_is_needed(write: Write, text: str, why: str | None) -> None:
    write("", "token")
    write("sk-ssh-ed25519@openssh.com AAAA\n", "token.pub")
    file = write(text)
    reason = needs_openssh(target(file))
    assert reason is None if why is None else why in (reason or "")
    assert resolve(target(file)).port == 22
