"""Whatever lies where a file is named, reading it neither waits nor fills the memory."""

from __future__ import annotations

import fcntl
import os
import threading
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from lmm import filelock
from lmm.errors import RequestError, Unreachable
from lmm.model import SecretRef, SshSettings, Target
from lmm.regular import MOST_BYTES, read_regular
from lmm.ssh import configfile
from lmm.ssh.config import resolve
from lmm.ssh.hostfile import load_file
from lmm.ssh.keys import Credentials
from lmm.testing import Sshd
from tests.support.host_keys import K1


def a_pipe(path: Path) -> None:
    os.mkfifo(path)


def without_end(path: Path) -> None:
    path.symlink_to("/dev/zero")


def too_large(path: Path) -> None:
    with path.open("wb") as stream:
        stream.truncate(MOST_BYTES + 1)


ODD = pytest.mark.parametrize("make", [a_pipe, without_end, too_large])
Make = Callable[[Path], None]


@ODD
def test_what_is_no_small_file_is_refused_at_once(tmp_path: Path, make: Make) -> None:
    make(tmp_path / "odd")
    with pytest.raises(OSError, match=r"it is (not a regular file|larger than 64 MiB)"):
        read_regular(str(tmp_path / "odd"))
    with pytest.raises(RequestError, match=r"it is (not a regular file|larger than 64 MiB)"):
        SecretRef(f"file:{tmp_path}/odd").line()


@pytest.mark.parametrize("make", [a_pipe, without_end])
def test_known_hosts_that_are_no_file_count_as_empty(tmp_path: Path, make: Make) -> None:
    make(tmp_path / "odd")
    assert load_file(str(tmp_path / "odd")).lookup("a") == []


def test_known_hosts_that_are_too_large_are_not_passed_over(tmp_path: Path) -> None:
    """A key may be revoked in them."""
    path = tmp_path / "known_hosts"
    path.write_text(f"@revoked a {K1}\n")
    os.truncate(path, MOST_BYTES + 1)
    with pytest.raises(Unreachable, match=f"cannot read the host keys in {path}: it is larger"):
        load_file(str(path))


def test_lines_too_short_for_a_key_cost_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "known_hosts"
    path.write_text("a b\n" * 100_000 + f"a {K1}\n")
    tracemalloc.start()
    try:
        (line,) = load_file(str(path)).lookup("a")
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert line.number == 100_001
    assert most < 20 * path.stat().st_size


def test_nobody_waits_until_a_full_pipe_takes_a_host_key(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    mine = os.open(tmp_path / "pipe", os.O_RDWR | os.O_NONBLOCK)
    os.write(mine, bytes(fcntl.fcntl(mine, fcntl.F_GETPIPE_SZ)))
    locked = filelock.open_locked(str(tmp_path / "pipe"))
    with pytest.raises(BlockingIOError):
        filelock.append(locked, b"a line")
    os.close(locked)
    os.close(mine)


@ODD
def test_an_ssh_config_is_read_without_waiting(tmp_path: Path, make: Make) -> None:
    make(tmp_path / "odd")
    if make is a_pipe:
        configfile.load(str(tmp_path / "odd"))
        return
    with pytest.raises(RequestError, match="cannot be read: it is larger than 64 MiB"):
        configfile.load(str(tmp_path / "odd"))


@ODD
def test_keys_and_certificates(tmp_path: Path, make: Make, sshd: Sshd) -> None:
    make(tmp_path / "odd")
    make(tmp_path / "odd.pub")
    key, odd = str(sshd.identity_file), str(tmp_path / "odd")
    base = SshSettings(config_file="none", use_agent=False)
    for settings in (
        replace(base, identity_files=(odd,)),
        replace(base, identity_files=(key,), certificate_file=odd),
    ):
        config = resolve(Target("x", host="x", ssh=settings))
        with pytest.raises(Unreachable, match=r"cannot use the key .*: it is (not|larger)"):
            next(Credentials().offers(config, lambda action: None))


def test_a_secret_of_the_command_line_may_come_by_a_pipe(tmp_path: Path) -> None:
    """As from ``--secret token=file:<(pass token)`` of a shell."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(b"hunter2\n",))
    writer.start()
    assert SecretRef(f"file:{pipe}").resolve() == "hunter2"
    writer.join()
