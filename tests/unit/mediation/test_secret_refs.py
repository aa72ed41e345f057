"""What a reference to a secret comes to, the same for all that use it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lmm.bootstrap import build_stream
from lmm.envelope import build_message
from lmm.errors import RequestError
from lmm.model import Become, Invocation, Limits, Script, SecretRef, SshSettings, Target
from lmm.opening import Opening
from lmm.ssh import askpass


def opening_with(secret: SecretRef) -> Opening:
    message = build_message(
        action="noop", target="x", run_id="r", input_parameters={}, timeout_s=30, trace_id="1" * 32
    )
    target = Target("x", become=Become("root", secret))
    invocation = Invocation(
        "r", target, "noop", "noop", Script("m", b""), message, limits=Limits(30)
    )
    return Opening(build_stream(invocation, "0" * 32), invocation)


@pytest.mark.parametrize(
    ("content", "secret"),
    [
        (b"hunter2", "hunter2"),
        (b"hunter2\n", "hunter2"),
        (b"hunter2\n\n", "hunter2"),
        (b"hunter2\r\n", "hunter2"),
        (b"\xef\xbb\xbfhunter2\r\n\r\n", "hunter2"),
        (b" hunter 2 \n", " hunter 2 "),
        (b"one\r\ntwo\n", "one\r\ntwo"),
        (b"\n", ""),
    ],
)
def test_what_editors_add_to_a_secret_is_no_part_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, secret: str
) -> None:
    path = tmp_path / "secret"
    path.write_bytes(content)
    monkeypatch.setenv("RUNE_TEST_SECRET", content.decode())
    assert SecretRef(f"file:{path}").resolve() == secret
    assert SecretRef("env:RUNE_TEST_SECRET").resolve() == secret


def test_ssh_openssh_and_sudo_take_the_same_line(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_bytes(b"\xef\xbb\xbfhunter2\n\n")
    secret = SecretRef(f"file:{path}")
    assert secret.line() == "hunter2"
    opening = opening_with(secret)
    prompt = opening.argv[opening.argv.index("-p") + 1]
    assert opening.receive(b"", prompt.encode()) == b"hunter2\n"
    with askpass.serve(SshSettings(password=secret), tmp_path) as asked:
        pipe = os.open(f"{asked.environment['RUNE_ASKPASS_DIR']}/password", os.O_RDONLY)
        assert os.read(pipe, 8) == b"hunter2\n"
        os.close(pipe)


@pytest.mark.parametrize("content", [b"pw\nid > F\n", b"a\rb", b"a\0b", b"x" * 1001])
def test_a_password_is_one_line(tmp_path: Path, content: bytes) -> None:
    """What follows the first line would be read by the shell behind sudo."""
    path = tmp_path / "secret"
    path.write_bytes(content)
    secret = SecretRef(f"file:{path}")
    for use in (
        secret.line,
        lambda: opening_with(secret),
        lambda: askpass.serve(SshSettings(password=secret), tmp_path).__enter__(),
    ):
        with pytest.raises(RequestError, match="is not one line of at most 1000 bytes") as caught:
            use()
        assert caught.value.reason == "secret_unavailable"
        assert "id > F" not in str(caught.value)


def test_a_file_that_is_no_text_is_refused_without_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_bytes("hunter2".encode("utf-16"))
    with pytest.raises(RequestError) as caught:
        SecretRef(f"file:{path}").resolve()
    assert str(caught.value) == f"cannot read the secret file {path}: it is not UTF-8"
