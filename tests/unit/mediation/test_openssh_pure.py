"""The command line of ssh is made of a target and its settings."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest

from lmm.errors import RequestError
from lmm.model import SecretRef, SshSettings, Target
from lmm.ssh.config import resolve
from lmm.ssh.home import home
from lmm.ssh.openssh import ssh_argv


def argv(target: Target, **paths: str) -> list[str]:
    return ssh_argv(target, resolve(target), shell_command="bash -s 'x y'", **paths)


def target(**fields: Any) -> Target:
    names = {"host", "port", "user", "name"}
    own = {key: value for key, value in fields.items() if key in names}
    rest = {key: value for key, value in fields.items() if key not in names}
    return Target(**{"name": "web1", **own}, ssh=SshSettings(**{"config_file": "none", **rest}))


def option(words: list[str], name: str) -> str:
    """Return the value that ssh takes: the first one."""
    return next(w.partition("=")[2] for w in words if w.startswith(f"-o{name}="))


# -- the command line --------------------------------------------------------------------------


def test_a_plain_target_leaves_everything_else_to_ssh() -> None:
    assert argv(target(config_file=None)) == [
        "ssh",
        "-T",
        "-oBatchMode=yes",
        "-oNumberOfPasswordPrompts=1",
        "-oStrictHostKeyChecking=yes",
        "-oUpdateHostKeys=no",
        "-oClearAllForwardings=yes",
        "-oPermitLocalCommand=no",
        "-oRemoteCommand=none",
        "-oControlMaster=no",
        "-oControlPath=none",
        "-oControlPersist=no",
        "-oConnectTimeout=10",
        "-oServerAliveInterval=15",
        "-oServerAliveCountMax=3",
        "-oLogLevel=INFO",
        "-oForwardAgent=no",
        "-oForwardX11=no",
        "--",
        "web1",
        "bash -s 'x y'",
    ]


@pytest.mark.parametrize(
    ("fields", "name", "value"),
    [
        ({"host_key_policy": "accept-new"}, "StrictHostKeyChecking", "accept-new"),
        ({"connect_timeout_s": 0.2}, "ConnectTimeout", "1"),
        ({"connect_timeout_s": 7.6}, "ConnectTimeout", "8"),
        ({"keepalive_s": 0}, "ServerAliveInterval", "0"),
        ({"use_agent": False}, "IdentityAgent", "none"),
        ({"known_hosts": ("/a b", "/c%d")}, "UserKnownHostsFile", '"/a b" /c%%d'),
        ({"known_hosts": ("~/k\"'\\",)}, "UserKnownHostsFile", '"{home}/k\\"\'\\\\"'),
        ({"proxy_jump": "none"}, "ProxyCommand", "none"),
        ({"password": SecretRef("env:PW")}, "BatchMode", "no"),
        ({"passphrase": SecretRef("env:PW")}, "BatchMode", "no"),
        ({"passphrase": SecretRef("env:PW")}, "PasswordAuthentication", "no"),
        ({"options": {"Compression": "yes"}}, "Compression", "yes"),
        ({"options": {"ConnectTimeout": "3"}}, "ConnectTimeout", "3"),
        ({"options": {"LogLevel": "DEBUG"}}, "LogLevel", "DEBUG"),
    ],
)
def test_a_setting_becomes_an_option(fields: dict[str, Any], name: str, value: str) -> None:
    assert option(argv(target(**fields)), name) == value.replace("{home}", home())


def test_port_user_and_config_file_are_handed_over() -> None:
    words = argv(target(port=2222, user="ops", host="10.0.0.1"))
    assert words[words.index("-p") + 1] == "2222"
    assert words[words.index("-l") + 1] == "ops"
    assert words[words.index("-F") + 1] == "none"
    assert words[-3:] == ["--", "10.0.0.1", "bash -s 'x y'"]


def test_key_files_of_the_inventory_are_the_only_ones_offered(tmp_path: Path) -> None:
    key, certificate = tmp_path / "a 100% key", tmp_path / "cert"
    key.touch()
    certificate.touch()
    words = argv(target(identity_files=(str(key),), certificate_file=str(certificate)))
    assert option(words, "IdentityFile") == f'"{tmp_path}/a 100%% key"'
    assert option(words, "IdentitiesOnly") == "yes"
    assert option(words, "CertificateFile") == str(certificate)


@pytest.mark.parametrize(("persist_s", "value"), [(600.0, "600"), (90.4, "90"), (0.2, "1")])
def test_a_kept_connection_has_a_socket_and_a_bounded_life(persist_s: float, value: str) -> None:
    words = argv(target(persist_s=persist_s), control_path="/run/x %/0123")
    assert option(words, "ControlMaster") == "yes"
    assert option(words, "ControlPath") == '"/run/x %%/0123"'
    assert option(words, "ControlPersist") == value  # 0 would be for ever


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"BatchMode": "no"}, "use ssh.password"),
        ({"stricthostkeychecking": "no"}, "use ssh.host_key_policy"),
        ({"UserKnownHostsFile": "/dev/null"}, "use ssh.known_hosts"),
        ({"ControlPath": "/x"}, "ControlPath is set by RUNE itself"),
        ({"RemoteCommand": "x"}, "set by RUNE itself"),
        ({"X Y": "z"}, "no option of ssh"),
        ({"-oX": "z"}, "no option of ssh"),
        ({"Compression": "yes\nProxyCommand x"}, "no option of ssh"),
        ({"": "z"}, "no option of ssh"),
    ],
)
def test_options_that_would_break_a_run_are_refused(options: dict[str, str], words: str) -> None:
    with pytest.raises(RequestError, match=words) as caught:
        argv(target(options=options))
    assert caught.value.data["field"] == f"ssh.options.{next(iter(options))}"


@pytest.mark.parametrize("host", ["-oProxyCommand=touch /tmp/x", "a b", "a;b", "u@h", "ssh://h"])
def test_a_host_can_be_no_option_and_no_other_address(host: str) -> None:
    with pytest.raises(RequestError, match="cannot be the name of a host"):
        argv(target(host=host))


def test_no_secret_is_on_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PW", "hunter2")
    words = argv(target(password=SecretRef("env:PW"), passphrase=SecretRef("env:PW")))
    assert "hunter2" not in " ".join(words)


def test_jump_hosts_of_the_inventory_get_its_settings_level_by_level(tmp_path: Path) -> None:
    key, known = tmp_path / "100%", tmp_path / "known hosts"
    key.touch()
    words = argv(
        target(
            proxy_jump="ops@one:2200,two",
            identity_files=(str(key),),
            known_hosts=(str(known),),
            password=SecretRef("env:PW"),
        )
    )
    outer = shlex.split(option(words, "ProxyCommand"))
    assert outer[-4:] == ["-W", "[%h]:%p", "--", "two"]
    # what two's ssh gets to see, after this ssh has expanded the tokens
    seen = [word.replace("%%", "%") for word in outer]
    assert option(seen, "BatchMode") == "yes"
    assert option(seen, "IdentityFile") == f"{tmp_path}/100%%"
    assert f'"{known}"' in option(seen, "UserKnownHostsFile")
    inner = shlex.split(option(seen, "ProxyCommand"))
    assert inner[-4:] == ["-W", "[%h]:%p", "--", "one"]
    assert inner[inner.index("-p") + 1] == "2200"
    assert inner[inner.index("-l") + 1] == "ops"
    again = [word.replace("%%", "%") for word in inner]
    assert option(again, "IdentityFile") == f"{tmp_path}/100%%"


def test_what_jump_hosts_say_is_kept_for_a_shared_connection() -> None:
    words = argv(target(proxy_jump="one"), proxy_log="/run/100%/log")
    command = shlex.split(option(words, "ProxyCommand"))
    assert command[:4] == ["/bin/sh", "-c", 'exec "$@" 2>"$0"', "/run/100%%/log"]
    assert command[4:6] == ["ssh", "-T"]


def test_jump_hosts_of_ssh_config_keep_to_it(tmp_path: Path) -> None:
    key, config = tmp_path / "key", tmp_path / "config"
    key.touch()
    config.write_text("Host web1\n  ProxyJump ops@one:2200\n", "ascii")
    words = argv(
        target(config_file=str(config), identity_files=(str(key),), known_hosts=(str(key),))
    )
    hop = shlex.split(option(words, "ProxyCommand"))
    assert option(hop, "BatchMode") == "yes"
    assert hop[hop.index("-F") + 1] == str(config)
    assert hop[hop.index("-p") + 1 : hop.index("-p") + 4] == ["2200", "-l", "ops"]
    assert not [word for word in hop if word.startswith(("-oIdentity", "-oUserKnownHosts"))]
