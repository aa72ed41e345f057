"""The script for AWS Systems Manager and the reply it prints, run under a real ``sh``."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmm.aws import payload
from lmm.aws.payload import Refusal, ReplyLimits, ReplyStreams, Truncated, read_reply
from lmm.bootstrap import Stream

NONCE = "0123456789abcdef0123456789abcdef"
HERE, THERE = "i-0123456789abcdef0", "mi-0123456789abcdef1"
SHARED = b"12345"
LIMITS = ReplyLimits(payload.STDOUT_CHARS, 1_000_000, 1_000_000)


def script(
    streams: dict[str, Stream],
    limits: ReplyLimits = LIMITS,
    shell_command: str = "bash -s",
    unique: str | None = None,
) -> str:
    some = next(iter(streams.values()))
    return payload.build_script(
        NONCE,
        streams,
        payload.inline(payload.compressed(some.shared)),
        unique or payload.inline(payload.compressed(payload.unique_part(streams))),
        shell_command,
        limits,
    )


def run(
    text: str, folder: Path, instance: str | None = HERE, **env: str
) -> subprocess.CompletedProcess[bytes]:
    """Run a script as the agent does; what it leaves of its folder is the caller's to see."""
    path = folder / "_script.sh"
    path.write_text(text + "\n")
    path.chmod(0o700)
    known = {} if instance is None else {"AWS_SSM_INSTANCE_ID": instance}
    return subprocess.run(
        ["sh", "-c", str(path)],
        env={**os.environ, **known, **env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=20,
        check=False,
    )


def answer(done: subprocess.CompletedProcess[bytes]) -> ReplyStreams:
    reply = read_reply(done.stdout.decode(), NONCE)
    assert isinstance(reply, ReplyStreams), done.stdout[:200] + done.stderr[:200]
    return reply


def echoing(tail: bytes, shared: bytes = SHARED) -> Stream:
    """Return a stream that prints its own tail; stdin stays open, so it is told the length."""
    return Stream(b"IFS= read -rN 5 s; head -c %d; exit\n" % len(tail), shared, tail)


def streams(*tails: bytes) -> dict[str, Stream]:
    return dict(zip((HERE, THERE), map(echoing, tails), strict=False))


@pytest.mark.parametrize(("instance", "expected"), [(HERE, b"first"), (THERE, b"second")])
def test_each_instance_reads_its_own_stream(tmp_path: Path, instance: str, expected: bytes) -> None:
    done = run(script(streams(b"first", b"second")), tmp_path, instance)
    assert answer(done).stdout == expected
    assert done.returncode == 0
    assert not done.stderr


def test_the_instance_is_known_by_its_folder_where_the_agent_does_not_say(tmp_path: Path) -> None:
    folder = tmp_path / THERE / "document" / "orchestration"
    folder.mkdir(parents=True)
    assert answer(run(script(streams(b"1", b"2")), folder, None)).stdout == b"2"


def test_bytes_of_any_kind_arrive_as_they_are(tmp_path: Path) -> None:
    every = bytes(range(256)) * 300
    assert answer(run(script(streams(every)), tmp_path)).stdout == every


def test_what_is_large_is_compressed_and_whole(tmp_path: Path) -> None:
    line = b"IFS= read -rN 1 s; seq 300000; seq 10 >&2; exit\n"
    done = run(
        script({HERE: Stream(line, b"x", b"")}, ReplyLimits(payload.BOUNDLESS_CHARS, 10**7, 10**7)),
        tmp_path,
    )
    assert answer(done) == ReplyStreams(
        "".join(f"{n}\n" for n in range(1, 300_001)).encode(), b"1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n"
    )


def test_a_plugin_may_open_its_streams_by_name(tmp_path: Path) -> None:
    line = b"echo a; echo b >/dev/stdout; echo c >&2; echo d >/dev/stderr; exit\n"
    done = run(script({HERE: Stream(line, b"", b"")}), tmp_path)
    assert answer(done) == ReplyStreams(b"a\nb\n", b"c\nd\n")


def test_what_escapes_and_holds_a_stream_does_not_hold_up_the_answer(tmp_path: Path) -> None:
    line = b"setsid sleep 15 & echo $! ; exit\n"
    began = time.monotonic()
    done = run(script({HERE: Stream(line, b"", b"")}), tmp_path)
    os.kill(int(answer(done).stdout), signal.SIGKILL)
    assert time.monotonic() - began < 14


def test_an_answer_beyond_the_limit_is_refused_not_cut(tmp_path: Path) -> None:
    line = b"head -c 100000 /dev/urandom; exit\n"
    done = run(script({HERE: Stream(line, b"", b"")}), tmp_path)
    reply = read_reply(done.stdout.decode(), NONCE)
    assert isinstance(reply, Refusal)
    assert reply.reason == "too_large"
    assert int(reply.detail) > 100_000
    assert len(done.stdout) < 200


def test_a_flood_is_stopped_at_its_cap(tmp_path: Path) -> None:
    line = b"yes & cat; kill $!; exit\n"  # the end of stdin is the sign to stop
    done = run(
        script({HERE: Stream(line, b"", b"")}, ReplyLimits(payload.BOUNDLESS_CHARS, 1000, 1000)),
        tmp_path,
        TMPDIR=str(tmp_path),
    )
    assert len(answer(done).stdout) == 1000 + payload.SLACK_BYTES
    assert os.listdir(tmp_path) == ["_script.sh"]


@pytest.mark.parametrize(
    ("status", "expected"), [(0, 0), (3, 3), (255, 255), *((n, 1) for n in (137, 168, 169, 194))]
)
def test_the_exit_status_is_the_shells_but_none_that_the_agent_acts_upon(
    tmp_path: Path, status: int, expected: int
) -> None:
    line = b"exit %d; exit\n" % status
    done = run(script({HERE: Stream(line, b"", b"")}), tmp_path)
    assert done.returncode == expected


def refusal(done: subprocess.CompletedProcess[bytes]) -> tuple[str, str]:
    reply = read_reply(done.stdout.decode(), NONCE)
    assert isinstance(reply, Refusal)
    assert done.returncode == 1
    return reply.reason, reply.detail


def test_another_instance_refuses(tmp_path: Path) -> None:
    done = run(script(streams(b"x")), tmp_path, "i-0aaaaaaaaaaaaaaaa")
    assert refusal(done) == ("wrong_instance", "i-0aaaaaaaaaaaaaaaa")


@pytest.mark.parametrize("missing", ["bash", "gzip", "sha256sum"])
def test_a_missing_program_is_named(tmp_path: Path, missing: str) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("bash", "base64", "cat", "gzip", "head", "mkfifo", "mktemp", "rm", "sh"):
        found = [Path(top, name) for top in ("/usr/bin", "/bin") if Path(top, name).exists()]
        if name != missing:
            (programs / name).symlink_to(found[0])
    done = run(script(streams(b"x")), tmp_path, PATH=str(programs))
    assert refusal(done) == ("missing", missing)


def test_without_a_writable_folder_it_says_so(tmp_path: Path) -> None:
    done = run(script(streams(b"x")), tmp_path, TMPDIR=str(tmp_path / "none"))
    assert refusal(done) == ("no_directory", "")


@pytest.mark.parametrize("fetcher", ["curl", "wget", "python3"])
def test_nothing_runs_when_the_input_cannot_be_fetched(tmp_path: Path, fetcher: str) -> None:
    """The shared part would be read as commands if it came without its head."""
    shared = f"touch {tmp_path}/ran\n".encode()
    folder = tmp_path / "bin"
    folder.mkdir()
    gone = payload.fetched("http://127.0.0.1:1/nothing?X-Amz-Signature=abc")
    (folder / fetcher).write_text(f'#!/bin/sh\necho "$*" >{tmp_path}/argv\nexit 22\n')
    (folder / fetcher).chmod(0o700)
    for name in os.listdir("/usr/bin"):
        if name not in ("curl", "wget", "python3"):
            (folder / name).symlink_to(f"/usr/bin/{name}") if not (folder / name).exists() else None
    text = script({HERE: echoing(b"", shared)}, unique=gone)
    done = run(text, tmp_path, PATH=str(folder), TMPDIR=str(tmp_path))
    assert refusal(done) == ("not_fetched", "")
    assert not (tmp_path / "ran").exists()
    assert "X-Amz" not in (tmp_path / "argv").read_text()
    assert sorted(os.listdir(tmp_path)) == ["_script.sh", "argv", "bin"]


def test_the_service_finds_nothing_to_expand_and_nothing_in_clear(tmp_path: Path) -> None:
    text = script(streams(b"{{ssm:password}} and some parameter"))
    assert "{{" not in text
    assert "parameter" not in text
    assert answer(run(text, tmp_path)).stdout == b"{{ssm:password}} and some parameter"


def test_fifty_instances_share_one_script() -> None:
    tail = b'{"parameters":{"text":"%s"}}' % (b"lorem ipsum " * 100)
    many = {f"i-{number:017x}": echoing(tail + b"%d" % number, b"x" * 5000) for number in range(50)}
    assert len(script(many)) < payload.SCRIPT_CHARS / 4


def printed(stdout: bytes, stderr: bytes) -> str:
    """Return what agent.sh prints, written down here once more."""
    import base64
    import gzip
    import hashlib

    both = stdout + stderr
    body = base64.b64encode(gzip.compress(both)).decode()
    sizes = f"{len(stdout)} {len(stderr)} {hashlib.sha256(both).hexdigest()} {len(body)}"
    return f"##rune-ssm {NONCE} ok {sizes}\n{body}\n"


@given(st.binary(max_size=300), st.binary(max_size=300), st.text(max_size=30))
def test_a_whole_reply_is_read_whatever_stands_around_it(
    out: bytes, err: bytes, noise: str
) -> None:
    text = f"{noise}\n{printed(out, err)}\n----------ERROR-------\n{noise}"
    assert read_reply(text, NONCE) == ReplyStreams(out, err)


@given(st.binary(min_size=1, max_size=300), st.data())
def test_no_part_of_a_reply_passes_for_the_whole(out: bytes, data: st.DataObject) -> None:
    text = printed(out, b"")
    first = text.index("\n") + 1
    cut = data.draw(st.integers(text.index(" ok ") + 4, len(text) - 2))
    suffix = data.draw(st.sampled_from(["", "--output truncated--", "\n---Output truncated---"]))
    reply = read_reply(text[:cut] + suffix, NONCE)
    assert (
        reply == Truncated(len(text))
        if cut >= first
        else reply is None or isinstance(reply, Truncated)
    )


@given(st.binary(min_size=1, max_size=300), st.data())
def test_a_changed_reply_is_not_believed(out: bytes, data: st.DataObject) -> None:
    text = printed(out, b"")
    at = data.draw(st.integers(text.index(" ok ") + 4, len(text) - 2))
    other = data.draw(st.sampled_from("0aZ=/ \n").filter(lambda c: c != text[at]))
    reply = read_reply(text[:at] + other + text[at + 1 :], NONCE)
    assert not isinstance(reply, ReplyStreams) or reply == ReplyStreams(out, b"")


def test_anothers_nonce_is_no_reply() -> None:
    assert read_reply(printed(b"x", b"").replace(NONCE, "f" * 32), NONCE) is None
    assert re.search(NONCE, printed(b"", b""))


def test_a_reply_that_unpacks_to_more_than_is_allowed() -> None:
    """Nobody unpacks it whole to find out that it is too large."""
    text = printed(b"x" * 5_000_000, b"")
    assert len(text) < 10_000
    reply = read_reply(text, NONCE, 1_000_000)
    assert reply == ReplyStreams(b"x" * 1_000_001, b"")
    assert read_reply(text, NONCE, 5_000_000) == ReplyStreams(b"x" * 5_000_000, b"")
