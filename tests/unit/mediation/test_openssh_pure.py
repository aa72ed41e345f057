"""The command line of ssh, and what its messages mean: tables, and a real ssh's own words."""

from __future__ import annotations

import base64
import shlex
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lmm.errors import RequestError, Unreachable, code_table
from lmm.model import SecretRef, SshSettings, Target
from lmm.ssh.config import resolve
from lmm.ssh.home import home
from lmm.ssh.known_hosts import KnownHosts
from lmm.ssh.openssh import classify, lost_reason, ssh_argv
from lmm.testing import Sshd, TcpProxy, refused_port, silent_port


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


# -- messages ----------------------------------------------------------------------------------

AT = "@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@"
KEX = "kex_exchange_identification: "
THROUGH = f"{KEX}Connection closed by remote host\nConnection closed by UNKNOWN port 65535"
CHANGED = f"""{AT}
@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @
{AT}
IT IS POSSIBLE THAT SOMEONE IS DOING SOMETHING NASTY!
The fingerprint for the ED25519 key sent by the remote host is
SHA256:I9biTNPvKOs6IzLZMqgv/04pUvzw/2AcCO5/cy73kJs.
Offending RSA key in /home/ops/.ssh/known_hosts:1
Host key for [h]:2222 has changed and you have requested strict checking.
Host key verification failed."""
REVOKED = f"""{AT}
@       WARNING: REVOKED HOST KEY DETECTED!               @
{AT}
The ED25519 host key for h is marked as revoked.
Host key verification failed."""
UNPROTECTED = f"""{AT}
@         WARNING: UNPROTECTED PRIVATE KEY FILE!          @
{AT}
Permissions 0644 for '/k' are too open.
Load key "/k": bad permissions
o@h: Permission denied (publickey)."""

MESSAGES = [
    ("host_key_unknown", "No ED25519 host key is known for [h]:2 and you have requested strict"),
    ("host_key_unknown", "Host key verification failed."),
    ("host_key_unknown", "The authenticity of host 'h (1.2.3.4)' can't be established."),
    ("host_key_unknown", "Certificate invalid: expired\nHost key verification failed."),
    ("host_key_changed", CHANGED),
    ("host_key_changed", f"{AT}\n@ WARNING: POSSIBLE DNS SPOOFING DETECTED!  @\n{AT}"),
    ("host_key_changed", "RSA host key for h has changed and you have requested strict checking."),
    ("host_key_revoked", REVOKED),
    ("host_key_revoked", "Host key ED25519 SHA256:x revoked by file /etc/krl"),
    ("key_exchange_failed", "Unable to negotiate with 1.2.3.4 port 22: no matching cipher found."),
    ("key_exchange_failed", "no matching host key type found. Their offer: ssh-rsa,ssh-dss"),
    ("key_exchange_failed", "Protocol major versions differ: 2 vs. 1"),
    ("key_exchange_failed", "kex_exchange_identification: banner line contains invalid characters"),
    ("key_exchange_failed", "Bad server host key: Invalid key length"),
    (
        "key_exchange_failed",
        "ssh_dispatch_run_fatal: Connection to 1.2.3.4 port 22: incorrect signature",
    ),
    ("banner_timeout", "Connection timed out during banner exchange"),
    ("banner_timeout", "Connection to 1.2.3.4 port 22 timed out"),
    ("connect_timeout", "ssh: connect to host h port 22: Connection timed out"),
    ("connect_timeout", "ssh: connect to host h port 22: Operation timed out"),
    ("connection_refused", "ssh: connect to host h port 22: Connection refused"),
    ("connection_refused", "ssh: connect to address ::1 port 22: Connection refused"),
    ("no_route", "ssh: connect to host h port 22: No route to host"),
    ("no_route", "ssh: connect to host h port 22: Network is unreachable"),
    ("no_route", "ssh: connect to host h port 22: Host is down"),
    ("no_route", "ssh: connect to host h port 22: Permission denied"),
    ("dns_failure", "ssh: Could not resolve hostname h: Name or service not known"),
    ("dns_failure", "ssh: Could not resolve hostname h: nodename nor servname provided"),
    ("dns_failure", "ssh: Could not resolve hostname h: No address associated with hostname"),
    (
        "temporary_dns_failure",
        "ssh: Could not resolve hostname h: Temporary failure in name resolution",
    ),
    ("key_unusable", UNPROTECTED),
    ("key_unusable", 'Load key "/k": invalid format\no@h: Permission denied (publickey).'),
    ("authentication_failed", "o@h: Permission denied (publickey,password)."),
    ("authentication_failed", "Permission denied, please try again."),
    (
        "authentication_failed",
        "Received disconnect from 1.2.3.4:2: Too many authentication failures\nDisconnected from",
    ),
    ("authentication_failed", "Password change required but no TTY available."),
    (
        "authentication_failed",
        "System is booting up. See pam_nologin(8)\nConnection closed by 1.2.3.4 port 22",
    ),
    (
        "connection_reset",
        "Warning: Permanently added 'h' (ED25519)\nConnection closed by 1.2.3.4 port 22",
    ),
    ("channel_denied", "channel 0: open failed: administratively prohibited: open failed"),
    ("channel_denied", "channel 0: open failed: connect failed: open failed"),
    ("channel_denied", "mux_client_request_session: session request failed: Session open refused"),
    ("channel_denied", "exec request failed on channel 0"),
    (
        "connection_reset",
        f"{KEX}read: Connection reset by peer\nConnection reset by 1.2.3.4 port 22",
    ),
    (
        "connection_reset",
        f"{KEX}Connection closed by remote host\nConnection closed by 1.2.3.4 port 22",
    ),
    ("connection_reset", "ssh_exchange_identification: Connection closed by remote host"),
    ("connection_reset", "Connection closed by 1.2.3.4 port 22"),
    ("connection_reset", "Connection to h closed by remote host."),
    ("connection_reset", "Received disconnect from 1.2.3.4 port 22:11: bye"),
    ("connection_reset", "client_loop: send disconnect: Broken pipe"),
    ("connection_reset", "Timeout, server h not responding."),
    ("proxy_failed", THROUGH),
    ("proxy_failed", f"ssh: connect to host jump port 22: Connection refused\n{THROUGH}"),
    ("proxy_failed", f"ssh: Could not resolve hostname jump: Name or service not known\n{THROUGH}"),
    (
        "proxy_failed",
        f"channel 0: open failed: connect failed: x\nstdio forwarding failed\n{THROUGH}",
    ),
    ("proxy_failed", f"/bin/bash: line 1: nc: command not found\n{THROUGH}"),
    (
        "proxy_failed",
        "Connection timed out during banner exchange\nConnection to UNKNOWN port 65535 timed",
    ),
    ("authentication_failed", f"o@jump: Permission denied (publickey).\n{THROUGH}"),
    ("host_key_unknown", f"No RSA host key is known for jump and you have\n{THROUGH}"),
    ("connection_reset", f"Connection reset by 1.2.3.4 port 22\n{THROUGH}"),
    ("ssh_client_failed", "command-line: line 0: Bad configuration option: foobar"),
    ("ssh_client_failed", "/home/ops/.ssh/config: line 3: Bad configuration option: x"),
    ("ssh_client_failed", "Bad owner or permissions on /home/ops/.ssh/config"),
    ("ssh_client_failed", "jumphost loop via bastion"),
    ("ssh_client_failed", ""),
]


@pytest.mark.parametrize(("reason", "text"), MESSAGES)
def test_every_message_of_ssh_has_its_reason(reason: str, text: str) -> None:
    noise = 'Warning: Permanently added "h" (ED25519)\r\n'
    if not text.startswith("Connection closed by"):  # then it would be why the login was refused
        noise += "Welcome to \x1b[1mthe\x1b[0m host\r\n"
    error = classify(noise + text.replace("\n", "\r\n") + "\r\n" if text else "", 255)
    assert isinstance(error, Unreachable)
    assert (error.reason, error.message) == (reason, error.message)
    assert error.reason in code_table()
    assert error.message
    assert "\n" not in error.message
    assert "\x1b" not in error.data["ssh_output"]
    assert "@@" not in error.message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "ssh ended with status 255 without a message"),
        (THROUGH, "the jump host or proxy command hung up"),
        ("ssh: connect to host h port 22: No route to host\r\n", None),
        (
            f"ssh: connect to host j port 1: Connection refused\n{THROUGH}",
            "ssh: connect to host j port 1: Connection refused",
        ),
        ("x\n/k: line 3: Bad configuration option: y", "/k: line 3: Bad configuration option: y"),
    ],
)
def test_the_message_is_the_line_that_tells(text: str, message: str | None) -> None:
    assert classify(text, 255).message == (message or text.strip())


@pytest.mark.parametrize("text", [CHANGED, f"{CHANGED}\n{THROUGH}"])
def test_a_changed_key_is_told_with_place_and_fingerprint(text: str) -> None:
    message = classify(text, 255).message
    assert "Offending RSA key in /home/ops/.ssh/known_hosts:1" in message
    assert "SHA256:I9biTNPvKOs6IzLZMqgv/04pUvzw/2AcCO5/cy73kJs" in message
    assert "ssh-keygen -R" in message


def test_an_unknown_key_is_told_with_a_remedy() -> None:
    assert "host_key_policy: accept-new" in classify("Host key verification failed.", 255).message


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", ""),
        ("the plugin's own words\nPermission denied (publickey).\n", ""),
        (
            "log\nclient_loop: send disconnect: Broken pipe\r\n",
            "client_loop: send disconnect: Broken pipe",
        ),
        ("Connection to h closed by remote host.\r\n", "Connection to h closed by remote host."),
        ("Timeout, server h not responding.\r\n", "Timeout, server h not responding."),
        (
            "Read from remote host h: Connection reset by peer\r\nlater\n",
            "Read from remote host h: Connection reset by peer",
        ),
    ],
)
def test_a_lost_connection_is_told_in_sshs_own_words_alone(text: str, why: str) -> None:
    assert lost_reason(text) == why


# -- a real ssh and a real sshd ----------------------------------------------------------------


def made_of(address: str, port: int) -> Callable[[Target], Target]:
    return lambda target: replace(target, host=address, port=port)


def with_settings(**settings: Any) -> Callable[[Target], Target]:
    return lambda target: replace(target, ssh=replace(target.ssh, **settings))


def attempt(target: Target) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ssh_argv(target, resolve(target), shell_command="echo here"),
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )


def reason_of(target: Target) -> str | None:
    done = attempt(target)
    if done.returncode == 0:
        assert done.stdout == "here\n"
        return None
    return classify(done.stderr, done.returncode).reason


@pytest.fixture
def known(tmp_path: Path, sshd: Sshd) -> Callable[[str], Callable[[Target], Target]]:
    """Trust other keys: in the text H stands for the host's name, K for its key, O for another."""
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "other")], check=True
    )
    other = (tmp_path / "other.pub").read_text("ascii").rsplit(" ", 1)[0]

    def write(text: str) -> Callable[[Target], Target]:
        path = tmp_path / "known"
        words = {"H": f"[127.0.0.1]:{sshd.port}", "K": sshd.host_key, "O": other}
        lines = [
            " ".join(words.get(word, word) for word in line.split()) for line in text.split(";")
        ]
        path.write_text("\n".join(lines) + "\n", "ascii")
        return with_settings(known_hosts=(str(path),))

    return write


@pytest.mark.parametrize(
    ("text", "policy", "reason"),
    [
        ("H K", "strict", None),
        ("* O;H K", "strict", None),
        ("other K", "strict", "host_key_unknown"),
        ("other K", "accept-new", None),
        ("H O", "strict", "host_key_changed"),
        ("H O", "accept-new", "host_key_changed"),
        ("@revoked * K;H K", "strict", "host_key_revoked"),
        ("@revoked * K", "accept-new", "host_key_revoked"),
        ("@cert-authority * O", "strict", "host_key_unknown"),
    ],
)
def test_ssh_and_rune_judge_host_keys_alike(
    sshd: Sshd,
    known: Callable[[str], Callable[[Target], Target]],
    text: str,
    policy: str,
    reason: str | None,
) -> None:
    wired = with_settings(host_key_policy=policy)(known(text)(sshd.target("h")))
    config = resolve(wired)
    key_type, _, blob = sshd.host_key.partition(" ")
    verdict = None
    try:
        hosts = KnownHosts.load(config.known_hosts)
        hosts.check(config.key_host, config.key_port, key_type, base64.b64decode(blob))
    except Unreachable as error:
        verdict = error.reason
    assert reason_of(wired) == reason
    accepted_new = verdict == "host_key_unknown" and policy == "accept-new"
    assert (None if accepted_new else verdict) == reason


def test_real_failures_to_connect(sshd: Sshd, tmp_path: Path) -> None:
    wired = with_settings(connect_timeout_s=1.0, host_key_policy="accept-new")(sshd.target("h"))
    assert reason_of(wired) is None
    assert reason_of(replace(wired, host="name.invalid")) in (
        "dns_failure",
        "temporary_dns_failure",
    )
    with refused_port() as port:
        assert reason_of(made_of("127.0.0.1", port)(wired)) == "connection_refused"
        through = with_settings(proxy_jump=f"127.0.0.1:{port}")(wired)
        assert reason_of(through) == "proxy_failed"
    with silent_port() as port:
        silent = made_of("127.0.0.1", port)(wired)
        assert reason_of(silent) in ("banner_timeout", "connect_timeout")
    bad = tmp_path / "config"
    bad.write_text("Ciphers nonsense\n", "ascii")
    assert reason_of(with_settings(config_file=str(bad))(wired)) == "ssh_client_failed"


def test_real_failures_to_log_in(sshd: Sshd, tmp_path: Path) -> None:
    wired = sshd.target("h")
    assert reason_of(replace(wired, user="no-such-user-here")) == "authentication_failed"
    broken = tmp_path / "broken"
    broken.write_text("no key at all\n", "ascii")
    broken.chmod(0o600)
    assert reason_of(with_settings(identity_files=(str(broken),))(wired)) == "key_unusable"
    open_to_all = tmp_path / "open"
    open_to_all.write_bytes(sshd.identity_file.read_bytes())
    open_to_all.chmod(0o644)
    assert reason_of(with_settings(identity_files=(str(open_to_all),))(wired)) == "key_unusable"
    for algorithms in ("Ciphers", "KexAlgorithms", "HostKeyAlgorithms"):
        weak = {"Ciphers": "3des-cbc", "KexAlgorithms": "diffie-hellman-group1-sha1"}
        options = {algorithms: weak.get(algorithms, "ssh-rsa")}
        assert reason_of(with_settings(options=options)(wired)) == "key_exchange_failed"


def test_a_server_without_sessions_is_told_apart() -> None:
    with Sshd(max_sessions=0) as server:
        assert reason_of(server.target("h")) == "channel_denied"


def test_jump_hosts_of_the_inventory_work_with_its_keys_alone() -> None:
    with Sshd(addresses=[f"127.0.0.{number}" for number in (1, 2, 3)]) as server:
        one, two = (f"{server.user}@127.0.0.{number}:{server.port}" for number in (2, 3))
        for jumps in (one, f"{one},{two}"):
            assert reason_of(server.target("h", settings={"proxy_jump": jumps})) is None
        lost = server.target("h", settings={"proxy_jump": one.replace(server.user, "nobody-here")})
        assert reason_of(lost) == "authentication_failed"


@pytest.mark.parametrize(("cut_down", "reset"), [(0, False), (0, True), (100, False)])
def test_a_connection_cut_before_the_login_may_be_tried_again(
    sshd: Sshd, cut_down: int, reset: bool
) -> None:
    with TcpProxy("127.0.0.1", sshd.port, cut_down=cut_down, reset=reset) as proxy:
        done = attempt(made_of("127.0.0.1", proxy.port)(sshd.target("h")))
    error = classify(done.stderr, done.returncode)
    assert (error.reason, error.retryable) == ("connection_reset", True)
    assert error.data.get("phase") == ("greeting" if cut_down == 0 else None)
