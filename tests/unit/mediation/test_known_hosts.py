"""known_hosts is read as OpenSSH reads it: ssh-keygen is asked the same questions."""

from __future__ import annotations

import re
import string
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from lmm.errors import Unreachable
from lmm.ssh.hostfile import HostFile, load_file
from lmm.ssh.known_hosts import KnownHosts, fingerprint, host_name
from lmm.ssh.patterns import match_list, match_pattern
from tests.support.host_keys import ED1, ED2, K1, K2, K3, R1, RSA1, numbers, numbers_by_keygen

HASHED = "|1|F1E1KeoE/eEWhi10WpGv4OdiO6Y=|3988QV0VE8wmZL7suNrYQLITLCg="  # 192.168.1.61, sshd(8)

LINES = [
    "# a comment",
    "",
    "   # an indented comment",
    f"plain {K1}",
    f"  indented\t{K1} a comment",
    f"Upper.Example {K1}",
    f"one,two,[three]:2222 {K2} joe@host",
    f"[plain]:2222 {K2}",
    f"*.example,!bad.example {K1}",
    f"!bad.example,*.example {R1}",
    f"web?.net {K1}",
    f"10.0.0.*,!10.0.0.9 {K1}",
    f"[*.lab]:* {K1}",
    f"@revoked * {K3}",
    f"@cert-authority *.example {K2}",
    f"@cert-authority\t[ca.net]:2222\t{K2}",
    f"@unknown plain {K1}",
    f"@revoked @revoked plain {K1}",
    f"@ plain {K1}",
    "@revoked",
    "plain",
    "plain ",
    "plain # no key",
    "plain ssh-ed25519",
    "plain ssh-ed25519 # no key",
    "plain ssh-ed25519 AAAA",
    "plain ssh-ed25519 !!!!",
    f"plain ssh-rsa {K1.split()[1]}",
    f"plain ssh-what {K1.split()[1]}",
    f"plain 2048 65537 1234 {K1}",
    f"plain {K1[:-4]}",
    f"plain {K2}\r",
    f"plain  {K2.replace(' ', '   ')}",
    f"::1,[::1]:2222,fe80::1%eth0 {K1}",
    f"{HASHED} {K1}",
    f"@revoked {HASHED} {K2}",
    f"{HASHED},plain {K1}",
    f"|1|AAAA|AAAA {K1}",
    f"|1|| {K1}",
    f"|2|F1E1KeoE/eEWhi10WpGv4OdiO6Y=|3988QV0VE8wmZL7suNrYQLITLCg= {K1}",
    f"| {K1}",
    f"{'x' * 1100},plain {K1}",
    f"plain,{'x' * 1100} {K1}",
    f",, {K1}",
    f"umlaut-ä {K1}",
    f"last.line.without.newline {K1}",
]
NAMES = [
    ("plain", 22),
    ("PLAIN", 22),
    ("plain", 2222),
    ("plain", 2223),
    ("indented", 22),
    ("upper.example", 22),
    ("one", 22),
    ("three", 22),
    ("three", 2222),
    ("good.example", 22),
    ("bad.example", 22),
    ("web1.net", 22),
    ("web12.net", 22),
    ("10.0.0.8", 22),
    ("10.0.0.9", 22),
    ("a.lab", 2222),
    ("a.lab", 22),
    ("ca.net", 2222),
    ("::1", 22),
    ("::1", 2222),
    ("fe80::1%eth0", 22),
    ("192.168.1.61", 22),
    ("umlaut-ä", 22),
    ("last.line.without.newline", 22),
    ("nowhere", 22),
]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "known_hosts"
    path.write_bytes("\n".join(LINES).encode())
    return path


@pytest.mark.parametrize(("host", "port"), NAMES)
def test_finds_the_lines_that_ssh_keygen_finds(file: Path, host: str, port: int) -> None:
    # ssh lower-cases the host before it looks it up, ssh-keygen leaves that to its caller
    assert numbers(file, host, port) == numbers_by_keygen(file, host_name(host, port).lower())


@pytest.mark.parametrize(("host", "port"), NAMES)
def test_reads_what_ssh_keygen_hashed(tmp_path: Path, host: str, port: int) -> None:
    path = tmp_path / "known_hosts"
    path.write_text(f"{host_name(host, port).lower()} {K1}\nother {K2}\n", encoding="utf-8")
    subprocess.run(["ssh-keygen", "-H", "-f", str(path)], check=True, capture_output=True)
    assert "other" not in path.read_text(encoding="utf-8")
    known = KnownHosts.load([path])
    assert known.lookup(host, port).keys == (("ssh-ed25519", ED1),)
    known.check(host, port, "ssh-ed25519", ED1)


hosts_field = st.text(alphabet="ab.*?!,|1[]:", min_size=1, max_size=12)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    fields=st.lists(hosts_field, min_size=1, max_size=30),
    host=st.text("ab.", min_size=1, max_size=5),
)
def test_agrees_with_ssh_keygen_on_any_names(tmp_path: Path, fields: list[str], host: str) -> None:
    path = tmp_path / "generated"
    path.write_text("".join(f"{field} {K1}\n" for field in fields), encoding="utf-8")
    assert numbers(path, host, 22) == numbers_by_keygen(path, host)


@settings(max_examples=200)
@given(data=st.binary(max_size=200), host=st.text(max_size=8), port=st.integers(1, 65535))
@example(data=b"@revoked", host="", port=22)
@example(data=b"|1|a|b|c x y", host="\ud800", port=22)
def test_no_line_raises(data: bytes, host: str, port: int) -> None:
    file = HostFile("name", data + b"\n" + data.replace(b" ", b" ssh-ed25519 "))
    KnownHosts(("name",), (file,)).lookup(host, port)


@settings(max_examples=200)
@given(subject=st.text("ab\n", max_size=8), pattern=st.text("ab*?", max_size=8))
def test_patterns_are_those_of_a_regular_expression(subject: str, pattern: str) -> None:
    expression = pattern.replace("?", "(?s:.)").replace("*", "(?s:.*)")
    assert match_pattern(subject, pattern) == bool(re.fullmatch(expression, subject))


@pytest.mark.parametrize(
    ("patterns", "fits"),
    [
        ("a", True),
        ("b,a", True),
        ("!a", False),
        ("!b", False),
        ("!b,a", True),
        ("*,!a", False),
        ("!a,*", False),
        ("", False),
        ("*" * 2000, False),
        ("[a]", False),
    ],
)
def test_a_list_needs_one_that_fits_and_no_negated_one(patterns: str, fits: bool) -> None:
    assert match_list("a", patterns) is fits


def known_hosts(*contents: str) -> Callable[[Path], KnownHosts]:
    def load(directory: Path) -> KnownHosts:
        paths = []
        for number, content in enumerate(contents, 1):
            paths.append(directory / f"file{number}")
            paths[-1].write_text(content, encoding="utf-8")
        return KnownHosts.load([*paths, directory / "missing"])

    return load


# All checked against ssh 9.2 and a real sshd.
@pytest.mark.parametrize(
    ("files", "port", "verdict"),
    [
        (known_hosts(f"h {K1}\n"), 22, None),
        (known_hosts("", f"h {K1}\n"), 22, None),
        (known_hosts(f"h {R1}\nh {K2}\nh {K1}\n"), 22, None),
        (known_hosts(f"h {K2}\n", f"h {K1}\n"), 22, None),
        (known_hosts(f"h {K1}\n"), 2222, None),
        (known_hosts(""), 22, "host_key_unknown"),
        (known_hosts(f"other {K1}\n"), 22, "host_key_unknown"),
        (known_hosts(f"[h]:2222 {K1}\n"), 22, "host_key_unknown"),
        (known_hosts(f"h {K2}\n"), 2222, "host_key_unknown"),
        (known_hosts(f"@cert-authority * {K2}\n"), 22, "host_key_unknown"),
        (known_hosts(f"h {K2}\n"), 22, "host_key_changed"),
        (known_hosts(f"h {R1}\n"), 22, "host_key_changed"),
        (known_hosts(f"[h]:2222 {K2}\nh {K1}\n"), 2222, "host_key_changed"),
        (known_hosts(f"h {K1}\n", f"@revoked * {K1}\n"), 22, "host_key_revoked"),
        (known_hosts(f"@revoked h {K1}\n"), 22, "host_key_revoked"),
        (known_hosts(f"@revoked h {K1}\n"), 2222, "host_key_revoked"),
        (known_hosts(f"@revoked h {K2}\n"), 22, "host_key_unknown"),
    ],
)
def test_judges_a_key_as_openssh_does(
    tmp_path: Path, files: Callable[[Path], KnownHosts], port: int, verdict: str | None
) -> None:
    known = files(tmp_path)
    if verdict is None:
        known.check("h", port, "ssh-ed25519", ED1)
        return
    with pytest.raises(Unreachable) as caught:
        known.check("h", port, "ssh-ed25519", ED1)
    assert caught.value.reason == verdict
    assert fingerprint(ED1) in caught.value.message
    assert caught.value.data["key_fingerprint"] == fingerprint(ED1)
    assert not caught.value.retryable


def test_the_fingerprint_is_that_of_ssh_keygen(tmp_path: Path) -> None:
    path = tmp_path / "key.pub"
    path.write_text(R1, encoding="utf-8")
    done = subprocess.run(
        ["ssh-keygen", "-lf", str(path)], capture_output=True, text=True, check=True
    )
    assert fingerprint(RSA1) == done.stdout.split()[1]


@pytest.mark.parametrize("before", ["", f"[h]:2222 {K2}\n"], ids=["unknown", "changed"])
def test_the_command_in_the_message_makes_the_key_trusted(tmp_path: Path, before: str) -> None:
    path = tmp_path / "it's here" / "known_hosts"
    path.parent.mkdir()
    path.write_text(before, encoding="utf-8")
    with pytest.raises(Unreachable) as caught:
        KnownHosts.load([path]).check("h", 2222, "ssh-ed25519", ED1)
    command = caught.value.data["trust_command"]
    assert caught.value.message.endswith(command)
    subprocess.run(["sh", "-c", command], check=True, capture_output=True)
    KnownHosts.load([path]).check("h", 2222, "ssh-ed25519", ED1)


def test_a_changed_key_names_the_line_that_conflicts(tmp_path: Path) -> None:
    known = known_hosts("", f"# first\nh {K2}\n")(tmp_path)
    with pytest.raises(Unreachable) as caught:
        known.check("h", 22, "ssh-ed25519", ED1)
    assert caught.value.data["file"] == str(tmp_path / "file2")
    assert caught.value.data["line"] == 2
    assert f"{tmp_path / 'file2'}:2 has ssh-ed25519 {fingerprint(ED2)}" in caught.value.message


def test_a_certificate_authority_points_to_the_openssh_transport(tmp_path: Path) -> None:
    known = known_hosts(f"@cert-authority * {K2}\n")(tmp_path)
    assert known.lookup("h").has_cert_authority
    with pytest.raises(Unreachable, match=r"file1:1 .*transport: openssh"):
        known.check("h", 22, "ssh-ed25519", ED1)


@pytest.mark.parametrize(
    ("content", "port", "types"),
    [
        ("", 22, ()),
        (f"h {R1}\nh {K1}\nh {K2}\n@revoked h {K3}\n", 22, ("ssh-rsa", "ssh-ed25519")),
        (f"[h]:2222 {R1}\nh {K1}\n", 2222, ("ssh-rsa",)),
        (f"h {K1}\n", 2222, ("ssh-ed25519",)),
    ],
)
def test_asks_first_for_the_types_it_knows(
    tmp_path: Path, content: str, port: int, types: tuple[str, ...]
) -> None:
    assert known_hosts(content)(tmp_path).preferred_types("h", port) == types


def test_a_file_is_parsed_once_until_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "known_hosts"
    path.write_text(f"h {K1}\n", encoding="utf-8")
    first = load_file(str(path))
    assert load_file(str(path)) is first
    path.write_text(f"h {K2}\n# longer\n", encoding="utf-8")
    assert KnownHosts.load([path]).lookup("h").keys == (("ssh-ed25519", ED2),)
    path.unlink()
    assert KnownHosts.load([path]).lookup("h").keys == ()
    assert KnownHosts.load([tmp_path]).lookup("h").keys == ()


def test_a_large_file_answers_for_every_host(tmp_path: Path) -> None:
    path = tmp_path / "known_hosts"
    letters = string.ascii_lowercase
    names = [f"{a}{b}{c}" for a in letters for b in letters for c in letters[:7]]
    path.write_text("".join(f"{name},{name}.net {K1}\n" for name in names), encoding="utf-8")
    for name in names:
        KnownHosts.load([path]).check(name, 22, "ssh-ed25519", ED1)


def test_known_hosts_that_cannot_be_read_for_want_of_descriptors(tmp_path: Path) -> None:
    """They are not taken for empty: a host whose key has changed would count as unknown."""
    path = tmp_path / "known_hosts"
    path.write_text("")
    code = (
        "import resource, sys\n"
        "from lmm.ssh.known_hosts import KnownHosts\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))\n"
        "try:\n    KnownHosts.load([sys.argv[1]])\n"
        "except OSError as error:\n    print(error.strerror)\n"
    )
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], cwd=root, capture_output=True, text=True
    )
    assert done.stdout == "Too many open files\n"
