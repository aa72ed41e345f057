"""ssh_config holds for RUNE as it does for ssh: `ssh -G` is asked the same questions."""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmm.errors import RequestError
from lmm.model import SshSettings, Target
from lmm.ssh.config import resolve
from lmm.ssh.configfile import Config, load
from lmm.ssh.configlines import parse_line, split_words
from lmm.ssh.settings import DEFAULT_IDENTITIES
from tests.unit.mediation.conftest import Write


def ask_ssh(file: str, host: str, user: str | None, port: int | None) -> dict[str, list[str]]:
    """Return what `ssh -G` prints: keyword -> values."""
    argv = ["ssh", "-F", file, "-G"]
    argv += ["-l", user] if user else []
    argv += ["-p", str(port)] if port else []
    done = subprocess.run([*argv, host], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr
    answers: dict[str, list[str]] = {}
    for line in done.stdout.splitlines():
        keyword, _, value = line.partition(" ")
        answers.setdefault(keyword, []).append(value)
    return answers


CONFIGS = {
    "empty": "",
    "plain": """
Host a
  HostName a.example
  User ops
  Port 2222
Host b c
  User other
""",
    "first one counts": """
User first
Host *
  User second
  Port 1
Host a
  Port 2
""",
    "patterns": """
Host web?
  Port 1
Host web*,!web1
  Port 2
Host !web12 web*
  Port 3
Host web12 !web*
  Port 4
Host [a]
  Port 5
""",
    "spelling": """
\tHOST a   b
\t  port=2200
  User = "two words"
HostName   A.Example   # a comment
IdentityFile '{dir}/one key'
IdentityFile {dir}/other\\ key
ConnectTimeout 1m30s
  # comment
Host 'b'
  IdentitiesOnly true
\r
""",
    "final pass": """
Host a
  HostName real-%h.example
Match host real-a.example
  User seen
Match originalhost a
  Port 77
Host real-a.example
  HashKnownHosts yes
Match final host real-*
  HostKeyAlias late
Match canonical
  IdentitiesOnly yes
""",
    "match": """
Match user root host a
  Port 1
Match user ops
  Port 2
Match !user ops host *,!b
  Port 3
Match localuser nobody-at-all
  Port 4
Match all
  HashKnownHosts yes
Match host=c,d
  HostKeyAlias d
Match originalhost A,B
  IdentitiesOnly yes
""",
    "lists": """
IdentityFile ~/.ssh/one
CertificateFile {dir}/one-cert.pub
Host a
  IdentityFile ~/.ssh/two
  IdentityFile ~/.ssh/one
  CertificateFile {dir}/two-cert.pub
Host b
  IdentityFile none
""",
    "hosts files": """
Host a
  UserKnownHostsFile ~/x "{dir}/y z" {dir}/%%
  GlobalKnownHostsFile {dir}/g1 {dir}/g2
Host b
  UserKnownHostsFile none
  GlobalKnownHostsFile none
Host c
  UserKnownHostsFile /dev/null
""",
    "policies": """
Host a
  StrictHostKeyChecking accept-new
Host b
  StrictHostKeyChecking no
Host c
  StrictHostKeyChecking yes
""",
    "proxies": """
Host one two three
  ProxyJump none
Host a
  ProxyJump ops@one:22,two # through both
  ProxyCommand not this
Host b
  ProxyCommand nc -X 5 %h %p # no comment here
  ProxyJump not-this
Host c
  ProxyJump none
Host *
  ProxyJump three
""",
    "no jump": """
ProxyJump none
ProxyCommand nc %h %p
""",
    "no command": """
ProxyCommand none
ProxyJump b
""",
    "agents": """
Host a
  IdentityAgent none
Host b
  IdentityAgent {dir}/agent.sock
Host c
  IdentityAgent SSH_AUTH_SOCK
""",
    "include": """
Include {dir}/missing {dir}/conf.d/*.conf
Host a
  Include {dir}/nested
  Port 3
Host b
  Include {dir}/nested
User last
""",
}
INCLUDED = {
    "conf.d/10-first.conf": "Host a\n  User from-first\n",
    "conf.d/20-second.conf": "User from-second\nHost b\n  Port 22\n  Include {dir}/deeper\n",
    "conf.d/ignored": "Port 9\n",
    "deeper": "HostKeyAlias Deep\n",
    "nested": "HashKnownHosts yes\nHost b\n  IdentitiesOnly yes\nHost *\n  HostKeyAlias nested\n",
}
QUESTIONS: list[tuple[str, str | None, int | None]] = [
    ("a", None, None),
    ("b", None, None),
    ("c", None, None),
    ("A", None, None),
    ("web1", None, None),
    ("web12", None, None),
    ("a", "ops", 2022),
    ("[a]", None, None),
]


@pytest.mark.parametrize("text", CONFIGS.values(), ids=CONFIGS.keys())
def test_says_what_ssh_says(write: Write, tmp_path: Path, text: str) -> None:
    for name, content in INCLUDED.items():
        write(content, name)
    file = write(text)
    for host, user, port in QUESTIONS:
        ssh = ask_ssh(file, host, user, port)
        found = load(file).lookup(host, user)
        config = resolve(
            Target(name="t", host=host, user=user, port=port, ssh=SshSettings(config_file=file))
        )
        # ssh -G repeats these unexpanded, or not at all
        lists = {
            keyword: [line.value for line in found.lists.get(keyword, [])]
            for keyword in ("identityfile", "certificatefile")
        }
        if not found.lists.get("identityfile"):
            assert config.identities_are_defaults
            assert set(DEFAULT_IDENTITIES) <= set(ssh.pop("identityfile"))
            del lists["identityfile"]
        timeout = ssh["connecttimeout"][0]
        policy = ssh["stricthostkeychecking"][0]
        expected = {
            "hostname": ssh["hostname"],
            "user": ssh["user"],
            "port": ssh["port"],
            "connecttimeout": [{"none": "10"}.get(timeout, timeout)],
            "policy": ["accept-new" if policy == "accept-new" else "strict"],
            "hostkeyalias": ssh.get("hostkeyalias", []),
            "userknownhostsfile": ssh["userknownhostsfile"][0].replace("none", "").split(),
            "globalknownhostsfile": ssh["globalknownhostsfile"][0].replace("none", "").split(),
            "hashknownhosts": ssh["hashknownhosts"],
            "identitiesonly": ssh["identitiesonly"],
            "proxyjump": ssh.get("proxyjump", []),
            "proxycommand": ssh.get("proxycommand", []),
            "agent": [] if ssh.get("identityagent") == ["none"] else ["some"],
            **{keyword: ssh.get(keyword, []) for keyword in lists},
        }
        jumps = found.value("proxyjump") or "none"
        raw_command = found.value("proxycommand") or "none"
        assert {
            "hostname": [config.hostname],
            "user": [config.user],
            "port": [str(config.port)],
            "connecttimeout": [f"{config.connect_timeout_s:g}"],
            "policy": [config.host_key_policy],
            "hostkeyalias": [config.host_key_alias] if config.host_key_alias else [],
            "userknownhostsfile": " ".join(config.user_known_hosts).split(),
            "globalknownhostsfile": " ".join(config.global_known_hosts).split(),
            "hashknownhosts": ["yes" if config.hash_known_hosts else "no"],
            "identitiesonly": ["yes" if config.identities_only else "no"],
            "proxyjump": [jumps] if config.proxy_jump else [],
            "proxycommand": [raw_command] if config.proxy_command else [],
            "agent": [] if found.value("identityagent") == "none" else ["some"],
            **lists,
        } == expected, (host, user, port)


# -- parsing -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        ("a  b\tc", ["a", "b", "c"]),
        ("\"a b\" 'c d'", ["a b", "c d"]),
        ('a"b c"d', ["ab cd"]),
        ("a # b", ["a"]),
        ("a#b", ["a#b"]),
        ("'#'", ["#"]),
        ("a\\ b \\\\ \\' \\\" \\x", ["a b", "\\", "'", '"', "\\x"]),
        ('"a\\ b\\"c"', ['a\\ b"c']),
        ("''", [""]),
        ("'a", None),
        ("a\\", ["a\\"]),
    ],
)
def test_words_are_split_as_ssh_splits_them(text: str, words: list[str] | None) -> None:
    assert split_words(text) == words


@settings(max_examples=200)
@given(st.text(alphabet="ab #=\"'\\%,!*\t\r\f\x00ä", max_size=30))
def test_no_line_raises_anything_but_a_request_error(text: str) -> None:
    with contextlib.suppress(RequestError):
        line = parse_line(text, "file", 7, True)
        assert line is None or line.place == "file:7"


def test_files_are_read_again_only_when_they_change(write: Write, tmp_path: Path) -> None:
    included = write("Port 1\n", "conf.d/one.conf")
    file = write("Include {dir}/conf.d/*\nInclude {dir}/later\n")

    def ask() -> tuple[Config, str | None]:
        config = load(file)
        return config, config.lookup("h").value("port")

    first = ask()
    assert first[1] == "1"
    assert ask()[0] is first[0]
    Path(included).write_text("Port 22222\n", encoding="utf-8")
    assert ask()[1] == "22222"
    write("Port 3\n", "conf.d/a-new-one.conf")
    assert ask()[1] == "3"
    write("Port 4\n", "config")
    assert ask()[1] == "4"


def test_others_may_not_change_the_users_file(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write("Port 7\n")
    monkeypatch.setattr("lmm.ssh.configfile.USER_FILE", file)
    monkeypatch.setattr("lmm.ssh.configfile._cache", {})
    assert load().lookup("h").value("port") == "7"
    os.chmod(file, 0o666)
    os.utime(file, ns=(1, 1))
    with pytest.raises(RequestError, match="others may change this file"):
        load()
