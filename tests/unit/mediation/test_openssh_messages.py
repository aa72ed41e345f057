"""What the messages of ssh mean: a table, and a real ssh's own words."""

from __future__ import annotations

import base64
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lmm.errors import Unreachable, code_table
from lmm.model import Target
from lmm.ssh.config import resolve
from lmm.ssh.known_hosts import KnownHosts
from lmm.ssh.openssh import classify, lost_reason, ssh_argv
from lmm.testing import Sshd, TcpProxy, refused_port, silent_port

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
