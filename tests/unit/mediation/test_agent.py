"""An ssh-agent may be slow, full or hostile: a login waits its time for it, and takes no more."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from lmm.errors import Unreachable
from lmm.model import SshSettings, Target
from lmm.ssh.agent import MOST_KEYS, MOST_REPLY_BYTES, SshAgent
from lmm.ssh.config import HostConfig, resolve
from lmm.ssh.library import paramiko
from tests.support.peers import peer_at

Serve = Callable[[bytes], str]
ED25519 = b"\0\0\0\x0bssh-ed25519"


def string(text: bytes) -> bytes:
    return struct.pack(">I", len(text)) + text


def listing(*keys: bytes, count: int | None = None) -> bytes:
    body = b"".join(string(key) + string(b"caf\xe9") for key in keys)
    return string(b"\x0c" + struct.pack(">I", len(keys) if count is None else count) + body)


@pytest.fixture
def config() -> HostConfig:
    target = Target("t", "h", transport="ssh", ssh=SshSettings(config_file="none"))
    return replace(resolve(target), auth_timeout_s=0.5)


@pytest.fixture
def place() -> Iterator[str]:
    path = Path(os.environ["TMPDIR"], "agent")
    yield str(path)
    path.unlink(missing_ok=True)


@pytest.fixture
def heard() -> threading.Event:
    """Set once the agent has heard a question."""
    return threading.Event()


@pytest.fixture
def serve(place: str, heard: threading.Event) -> Iterator[Serve]:
    """Have an agent answer one question with these bytes, and stay on the line."""
    with contextlib.ExitStack() as stack:

        def begin(answer: bytes) -> str:
            def talk(peer: socket.socket) -> None:
                peer.recv(100)
                heard.set()
                peer.sendall(answer)

            stack.enter_context(peer_at(place, talk))
            return place

        yield begin


def asked(path: str, config: HostConfig) -> tuple[paramiko.AgentKey, ...]:
    with contextlib.closing(SshAgent(path, config, lambda _: None)) as agent:
        return agent.get_keys()


@pytest.mark.parametrize("answer", [b"", b"\0\0", listing(ED25519)[:-3]])
def test_an_agent_that_stays_silent_is_waited_for_its_time(
    serve: Serve, config: HostConfig, answer: bytes
) -> None:
    path, began = serve(answer), time.monotonic()
    with pytest.raises(Unreachable, match=rf"{path} did not answer within 0\.5 s") as caught:
        asked(path, config)
    assert caught.value.reason == "auth_timeout"
    assert 0.5 <= time.monotonic() - began < 10


def test_an_agent_that_does_not_sign_is_waited_for_its_time(
    serve: Serve, config: HostConfig
) -> None:
    path = serve(listing(ED25519 + string(bytes(32))))
    with contextlib.closing(SshAgent(path, config, lambda _: None)) as agent:
        (key,) = agent.get_keys()
        with pytest.raises(Unreachable, match="did not answer"):
            key.sign_ssh_data(b"data")


def test_keys_that_are_larger_than_any_are_passed_over(serve: Serve, config: HostConfig) -> None:
    """To read a number of a million bits takes seconds."""
    large = string(b"ssh-rsa") + string(b"\1\0\1") + string(b"\1" + bytes(125_000))
    path = serve(listing(large, ED25519 + string(bytes(32))))
    assert [key.get_name() for key in asked(path, config)] == ["ssh-ed25519"]


def test_an_agent_that_takes_no_connection_is_waited_for_its_time(
    place: str, config: HostConfig
) -> None:
    with contextlib.ExitStack() as stack:
        listener, *waiting = (stack.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(4))
        listener.bind(place)
        listener.listen(0)
        with contextlib.suppress(BlockingIOError):
            for one in waiting:
                one.setblocking(False)
                one.connect(place)
        with pytest.raises(Unreachable, match="did not answer"):
            asked(place, config)


def test_a_cancel_wakes_who_waits_for_an_agent(
    serve: Serve, config: HostConfig, heard: threading.Event
) -> None:
    def when_heard(cancel: Callable[[], None]) -> None:
        def wait() -> None:
            assert heard.wait(60)
            cancel()

        threads.append(threading.Thread(target=wait))
        threads[0].start()

    threads: list[threading.Thread] = []
    began = time.monotonic()
    patient = replace(config, auth_timeout_s=600.0)
    with (
        contextlib.closing(SshAgent(serve(b""), patient, when_heard)) as agent,
        pytest.raises(paramiko.SSHException, match="lost the ssh-agent"),
    ):
        agent.get_keys()
    threads[0].join()
    assert time.monotonic() - began < 60


@pytest.mark.parametrize(
    "answer",
    [
        b"\xff\xff\xff\xff\x0c",
        struct.pack(">I", MOST_REPLY_BYTES + 1) + b"\x0c",
        string(b""),
        string(b"\x05"),
        listing(count=MOST_KEYS + 1),
        listing(count=0xFFFFFFFF),
    ],
)
def test_an_answer_beyond_what_ssh_takes_is_none(
    serve: Serve, config: HostConfig, answer: bytes
) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(paramiko.SSHException, match="the ssh-agent at"):
        asked(serve(answer), config)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 1024


def test_keys_that_are_none_are_passed_over(serve: Serve, config: HostConfig) -> None:
    good = ED25519 + string(bytes(32))
    broken = (b"\xff" * 9, ED25519 + string(b"short"), string(b"ssh-rsa"), string(b"\xff\xfe"))
    keys = asked(serve(listing(*broken, good)), config)
    assert [key.asbytes() for key in keys] == [good]


def test_an_agent_that_is_not_there_has_no_keys(place: str, config: HostConfig) -> None:
    assert asked(place, config) == ()
