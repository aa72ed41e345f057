"""known_hosts is read as OpenSSH reads it: ssh-keygen is asked the same questions."""

from __future__ import annotations

import base64
import os
import re
import stat
import string
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from lmm.errors import Unreachable
from lmm.ssh.hostfile import HostFile, load_file
from lmm.ssh.known_hosts import KnownHosts, add, fingerprint, host_name
from lmm.ssh.patterns import match_list, match_pattern


def string_field(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


def ed25519(seed: int) -> bytes:
    return string_field(b"ssh-ed25519") + string_field(bytes([seed]) * 32)


def rsa(seed: int) -> bytes:
    modulus = b"\0" + bytes([0x80 | seed]) * 256
    return string_field(b"ssh-rsa") + string_field(b"\x01\x00\x01") + string_field(modulus)


def text(key_type: str, blob: bytes) -> str:
    return f"{key_type} {base64.b64encode(blob).decode()}"


ED1, ED2, ED3 = (ed25519(seed) for seed in (1, 2, 3))
RSA1 = rsa(1)
K1, K2, K3 = (text("ssh-ed25519", blob) for blob in (ED1, ED2, ED3))
R1 = text("ssh-rsa", RSA1)
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


def numbers_by_keygen(file: Path, name: str) -> list[int]:
    """Return the numbers of the lines whose key ssh-keygen finds for the name."""
    done = subprocess.run(
        ["ssh-keygen", "-F", name, "-l", "-f", str(file)],
        capture_output=True,
        env={"LC_ALL": "C"},
    )
    return [int(number) for number in re.findall(rb"(?m)^# Host .* found: line (\d+)", done.stdout)]


def numbers(file: Path, host: str, port: int) -> list[int]:
    return [line.number for line in KnownHosts.load([file]).lookup(host, port).lines]


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


def test_add_creates_what_is_missing_and_keeps_the_rest(tmp_path: Path) -> None:
    path = tmp_path / ".ssh" / "known_hosts"
    add(path, "Host.Example", 22, "ssh-ed25519", ED1)
    add(path, "::1", 2222, "ssh-rsa", RSA1)
    assert path.read_text(encoding="utf-8") == f"host.example {K1}\n[::1]:2222 {R1}\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("before", ["", f"x {K2}\n", f"x {K2}"])
def test_add_ends_a_torn_line_first(tmp_path: Path, before: str) -> None:
    path = tmp_path / "known_hosts"
    path.write_text(before, encoding="utf-8")
    path.chmod(0o644)
    known = KnownHosts.load([path])
    add(path, "h", 22, "ssh-ed25519", ED1)
    known.check("h", 22, "ssh-ed25519", ED1)
    expected = before.rstrip("\n") + "\n" * bool(before) + f"h {K1}\n"
    assert path.read_text(encoding="utf-8") == expected
    assert numbers(path, "h", 22) == [expected.count("\n")]
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_add_can_hash_the_name(tmp_path: Path) -> None:
    path = tmp_path / "known_hosts"
    add(path, "Secret", 2222, "ssh-ed25519", ED1, hash_names=True)
    assert b"ecret" not in path.read_bytes()
    assert numbers_by_keygen(path, "[secret]:2222") == [1]
    assert numbers(path, "secret", 2222) == [1]


@pytest.mark.parametrize(
    ("before", "reason"),
    [(f"h {K2}\n", "host_key_changed"), (f"@revoked * {K1}\n", "host_key_revoked")],
)
def test_add_refuses_what_was_decided_meanwhile(tmp_path: Path, before: str, reason: str) -> None:
    path = tmp_path / "known_hosts"
    path.write_text(before, encoding="utf-8")
    with pytest.raises(Unreachable) as caught:
        add(path, "h", 22, "ssh-ed25519", ED1)
    assert caught.value.reason == reason
    assert path.read_text(encoding="utf-8") == before


def test_add_says_where_it_could_not_write(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(
        Unreachable, match=r"cannot remember the host key of h in .*file/known_hosts"
    ):
        add(tmp_path / "file" / "known_hosts", "h", 22, "ssh-ed25519", ED1)


def test_add_to_dev_null_leaves_it_alone() -> None:
    before = os.stat("/dev/null").st_mode
    add("/dev/null", "h", 22, "ssh-ed25519", ED1)
    assert os.stat("/dev/null").st_mode == before


def test_threads_and_processes_add_side_by_side(tmp_path: Path) -> None:
    path = tmp_path / ".ssh" / "known_hosts"
    code = (
        "import sys\n"
        "from lmm.ssh.known_hosts import add\n"
        "for i in range(20): add(sys.argv[1], f'{sys.argv[2]}{i}', 22, 'ssh-ed25519',"
        " bytes.fromhex(sys.argv[3]))\n"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", code, str(path), prefix, ED1.hex()])
        for prefix in ("p", "q", "same")
    ]

    def work(prefix: str) -> None:
        for number in range(20):
            add(path, f"{prefix}{number}", 22, "ssh-ed25519", ED1)

    threads = [threading.Thread(target=work, args=(prefix,)) for prefix in ("t", "u", "same")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [process.wait() for process in processes] == [0, 0, 0]
    names = [line.split()[0] for line in path.read_text(encoding="utf-8").splitlines()]
    wanted = [f"{prefix}{i}" for prefix in ("p", "q", "t", "u", "same") for i in range(20)]
    assert sorted(names) == sorted(wanted)
    for name in wanted:
        KnownHosts.load([path]).check(name, 22, "ssh-ed25519", ED1)


def test_of_two_keys_that_come_at_once_one_is_accepted(tmp_path: Path) -> None:
    path = tmp_path / "known_hosts"
    verdicts: list[str] = []

    def work(blob: bytes) -> None:
        try:
            add(path, "h", 22, "ssh-ed25519", blob)
            verdicts.append("added")
        except Unreachable as error:
            verdicts.append(error.reason)

    threads = [threading.Thread(target=work, args=(ed25519(seed),)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(verdicts) == ["added"] + ["host_key_changed"] * 5
    assert len(path.read_text(encoding="utf-8").splitlines()) == 1


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
