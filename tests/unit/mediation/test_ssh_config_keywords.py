"""A line that ssh does not know moves no setting to other hosts: the real ssh is asked as well."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from lmm.errors import RequestError
from lmm.model import SshSettings, Target
from lmm.ssh.config import MOST_HOPS, HostConfig, resolve
from lmm.ssh.keywords import KEYWORDS

# Of OpenSSH 9.5 and later: the ssh of this machine may be older.
NEWER = {
    "channeltimeout",
    "obscurekeystroketiming",
    "refuseconnection",
    "tag",
    "versionaddendum",
    "warnweakcrypto",
}


def ssh_says(file: Path, host: str = "h") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["ssh", "-F", str(file), "-G", host],
        capture_output=True,
        text=True,
        errors="replace",
        stdin=subprocess.DEVNULL,
    )


def found(file: Path, host: str = "h") -> HostConfig:
    return resolve(Target("t", host, transport="ssh", ssh=SshSettings(config_file=str(file))))


def refusal(file: Path, host: str = "h") -> RequestError:
    with pytest.raises(RequestError) as caught:
        found(file, host)
    assert caught.value.reason == "config_invalid"
    assert str(file) in caught.value.message
    return caught.value


def test_ssh_knows_every_keyword_of_the_list(tmp_path: Path) -> None:
    file = tmp_path / "config"
    unknown = set()
    for keyword in KEYWORDS:
        file.write_text(f"Host elsewhere\n{keyword} yes\n")
        if "Bad configuration option" in ssh_says(file).stderr:
            unknown.add(keyword)
    debians = {word for word in KEYWORDS if word.startswith("gssapi")}
    debians |= {"protocolkeepalives", "setuptimeout", "useblacklistedkeys"}
    assert unknown <= NEWER | debians


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("User mine\nHots special\n  User theirs\n", "hots"),
        ("User mine\nHost a\n  Hostnmae b\n", "hostnmae"),
        ("User mine\n\fHost special\n  User theirs\n", "\fhost"),
        ("Match all\nMacth host a\n  User theirs\n", "macth"),
        ("IgnoreUnknown Foo*\nBar 1\n", "bar"),
        ("Foo 1\nIgnoreUnknown Foo\n", "foo"),
        ("Host other\n  IgnoreUnknown Foo\nHost h\n  Foo 1\n", "foo"),
        ("Host h\n  IgnoreUnknown Foo\nHost other\n  Foo 1\n  Baz 1\n", "baz"),
        ("-- a heading --\n", "--"),
    ],
)
def test_what_ssh_refuses_is_refused(tmp_path: Path, text: str, named: str) -> None:
    file = tmp_path / "config"
    file.write_text(text)
    assert "Bad configuration option" in ssh_says(file).stderr
    error = refusal(file)
    assert error.data["field"] == named
    assert error.data["line"] in range(1, 6)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "Port 22 33\n",
            "User a b\n",
            "Match foo bar\n  Port 7\n",
            "Match hots h\n  User theirs\n",
        ),
        *(
            "HostName\n",
            'HostName ""\n',
            "ProxyJump \n",
            "Host other\n  User =\n",
            "ProxyCommand\n",
        ),
        *("StrictHostKeyChecking maybe\n", "Host other\n  IdentitiesOnly 1\n"),
        *("Include\n", "IgnoreUnknown Foo bar\n"),
    ],
)
def test_values_and_conditions_that_ssh_refuses_are_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "config"
    file.write_text(text)
    assert ssh_says(file).returncode != 0
    refusal(file)


def test_the_message_says_what_was_meant(tmp_path: Path) -> None:
    file = tmp_path / "config"
    file.write_text("Hots a\n")
    assert refusal(file).message == (
        f"{file}:1: hots: ssh knows no such keyword, and no IgnoreUnknown before it names it;"
        " did you mean host?"
    )


@pytest.mark.parametrize(
    "text",
    [
        "IgnoreUnknown Foo,b?r\nFoo 1\nBAR 2\nUser me\n",
        "Host h\n  IgnoreUnknown Foo\nHost other\n  Foo 1\nHost *\n  User me\n",
        "# a comment\rHost other\r\n\r\nUser me\r\n",
    ],
)
def test_what_ssh_passes_over_is_passed_over(tmp_path: Path, text: str) -> None:
    file = tmp_path / "config"
    file.write_bytes(text.encode())
    done = ssh_says(file)
    assert done.returncode == 0, done.stderr
    assert "user me" in done.stdout
    assert found(file).user == "me"


def test_an_included_file_is_read_as_strictly(tmp_path: Path) -> None:
    (tmp_path / "more").write_text("Hots special\n  User theirs\n")
    file = tmp_path / "config"
    file.write_text(f"Host other\n  Include {tmp_path}/more\nHost *\n  User me\n")
    assert "Bad configuration option" in ssh_says(file).stderr
    with pytest.raises(RequestError, match="more:1: hots"):
        found(file)


@pytest.mark.parametrize("place", ["Include {}", "Host other\n Include {}", "Include {}*"])
def test_others_may_not_change_what_is_included(tmp_path: Path, place: str) -> None:
    file, included = tmp_path / "config", tmp_path / "more"
    included.write_text("Port 7\n")
    file.write_text(place.format(included))
    assert found(file, "other").port == 7
    included.chmod(0o666)
    os.utime(included, ns=(1, 1))
    with pytest.raises(RequestError, match=f"{included}: others may change this file"):
        found(file)
    assert "Bad owner or permissions" in ssh_says(file).stderr


def test_an_included_fifo_is_not_waited_for(tmp_path: Path) -> None:
    file = tmp_path / "config"
    os.mkfifo(tmp_path / "more")
    file.write_text(f"Include {tmp_path}/more\nPort 7\n")
    assert found(file).port == 7


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\xef\xbb\xbfHost special\n  User theirs\n", "byte order mark"),
        ("Host special\n  User theirs\n".encode("utf-16"), "UTF-16"),
        ("Host special\n  User theirs\n".encode("utf-16-be"), "UTF-16"),
        (b"User me\0\n", "binary"),
    ],
)
def test_a_file_in_another_encoding_is_refused(tmp_path: Path, data: bytes, words: str) -> None:
    file = tmp_path / "config"
    file.write_bytes(data)
    assert words in refusal(file).message


@pytest.mark.parametrize(
    "text",
    [
        "Host *.dc1\n  ProxyJump bastion.%h\n",
        "Host *.dc1\n  ProxyJump b%n\n",
        "Host *.dc1\n  HostName %h.dc1\n  ProxyJump up.%h\n",
        "".join(f"Host {n}.dc1\n  ProxyJump {n + 1}.dc1\n" for n in range(1, 2000)),
    ],
)
def test_a_way_that_never_ends_is_refused_by_file_and_line(tmp_path: Path, text: str) -> None:
    file = tmp_path / "config"
    file.write_text(text)
    message = refusal(file, "1.dc1").message
    assert f"has more than {MOST_HOPS} jump hosts" in message
    assert len(message) < 400


def test_a_list_of_jump_hosts_has_an_end(tmp_path: Path) -> None:
    file = tmp_path / "config"
    file.write_text(f"ProxyJump {','.join(f'j{n}' for n in range(MOST_HOPS + 1))}\n")
    with pytest.raises(RequestError, match="17 jump hosts are too many"):
        found(file)


@pytest.mark.parametrize("value", ["ssh", "domain", "22", "022"])
def test_a_port_may_be_the_name_of_a_service(tmp_path: Path, value: str) -> None:
    file = tmp_path / "config"
    file.write_text(f"Port {value}\n")
    assert f"port {found(file).port}\n" in ssh_says(file).stdout
