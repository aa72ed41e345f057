"""Keys are added to known_hosts: whole lines, by many at once, and never against a decision."""

from __future__ import annotations

import contextlib
import fcntl
import os
import resource
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lmm import filelock
from lmm.errors import Unreachable
from lmm.ssh.known_hosts import KnownHosts, add
from tests.support.host_keys import ED1, K1, K2, R1, RSA1, ed25519, numbers, numbers_by_keygen


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


def test_add_under_a_limit_on_files_leaves_no_half_line(tmp_path: Path) -> None:
    """It would be another key of that host, or none, and what is not noted is not accepted."""
    path = tmp_path / "known_hosts"
    path.write_text(f"x {K2}\n")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 40, limits[1]))
    try:
        with pytest.raises(Unreachable, match="this process may write no file beyond"):
            add(path, "h", 22, "ssh-ed25519", ED1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_text() == f"x {K2}\n"


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


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """As another account does that can read the file."""
    with path.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def test_who_keeps_the_file_locked_keeps_nobody_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filelock, "PATIENCE_S", 0.1)
    path = tmp_path / "known_hosts"
    path.touch()
    with locked(path), pytest.raises(Unreachable, match="another process keeps it locked") as late:
        add(path, "h", 22, "ssh-ed25519", ED1)
    assert late.value.reason == "local_io_error"
    add(path, "h", 22, "ssh-ed25519", ED1)


def test_nobody_waits_for_the_file_who_no_longer_wants_it(tmp_path: Path) -> None:
    path = tmp_path / "known_hosts"
    path.touch()
    cancelled = threading.Event()
    began = time.monotonic()
    timer = threading.Timer(0.1, cancelled.set)
    timer.start()
    with locked(path), pytest.raises(Unreachable):
        add(path, "h", 22, "ssh-ed25519", ED1, cancelled=cancelled)
    timer.join()
    assert time.monotonic() - began < filelock.PATIENCE_S / 2
