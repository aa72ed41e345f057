"""Another user of this machine who plays the host at the socket of a kept connection."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from lmm.model import Target
from lmm.ssh import masters, mux_client
from lmm.testing import Sshd
from lmm.transports import disconnect, with_transport

from .ssh_client import Client

pytestmark = pytest.mark.needs_root


@pytest.fixture
def kept(sshd: Sshd) -> Target:
    return sshd.target("h", transport="openssh")


def sockets() -> list[str]:
    return sorted(str(path) for path in masters.directory().iterdir() if path.is_socket())


LISTEN = """
import os, socket, sys
listening = socket.socket(socket.AF_UNIX)
listening.bind(sys.argv[1])
os.setgid(65534); os.setuid(65534)
listening.listen()  # whose socket it is, is who listens
print("listening", flush=True)
listening.accept()[0].makefile("rb").read() and print("was believed")
"""


@contextlib.contextmanager
def listening_as_another(path: str) -> Iterator[list[str]]:
    """Have another user listen there; afterwards the list says whether it was sent anything."""
    argv, said = [sys.executable, "-c", LISTEN, path], list[str]()
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout
        try:
            assert other.stdout.readline() == "listening\n"
            yield said
            said.append(other.stdout.read())
        finally:
            other.kill()


def knock(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as visitor:
        visitor.connect(path)


def test_a_socket_at_which_another_user_listens_is_sent_nothing(
    client: Client, kept: Target
) -> None:
    assert client.one(kept).ok
    (path,) = sockets()
    disconnect()
    refused = pytest.raises(mux_client.MasterGone, match="belongs to the user with id 65534")
    with listening_as_another(path) as said, refused:
        mux_client.pid_of(path)
    assert said == [""]
    os.unlink(path)
    with listening_as_another(path) as said:
        assert with_transport(replace(kept, transport="auto")).transport == "ssh"
    assert said == [""]
    os.unlink(path)
    with listening_as_another(path) as said:
        result = client.one(kept)
        assert result.ok, result.error
    assert said == [""]
    assert mux_client.pid_of(path) > 0


def test_a_directory_that_another_takes_between_two_runs_is_not_used(
    client: Client, kept: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that stays, whose directory a cleaner of /tmp has removed meanwhile."""
    with monkeypatch.context() as without:
        without.delenv("XDG_RUNTIME_DIR")
        os.chmod(os.environ["TMPDIR"], 0o1777)
        assert client.one(kept).ok
        (path,) = sockets()
        place = Path(path).parent
        disconnect()
        shutil.rmtree(place)
        place.mkdir(mode=0o755)
        with listening_as_another(path) as said:
            os.chown(place, 65534, 65534)
            result = client.one(kept)
            assert result.ok, result.error
            assert masters.directory() != place
            knock(path)
        assert said == [""]
        disconnect()
        shutil.rmtree(masters.directory())
        shutil.rmtree(place)
