"""The chain of the audit log: every edit is found, processes take turns, damage stays visible."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmm import filelock
from lom.admission.audit.chain import GENESIS, HEAD_SUFFIX, append
from lom.admission.audit.verify import Report, read, verify

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def log(tmp_path: Path) -> str:
    """The path of a log with five lines."""
    path = str(tmp_path / "audit.jsonl")
    for number in range(5):
        append(path, {"event": f"e{number}", "text": 'ü\n\\"'})
    return path


def edited(log: str, edit: Callable[[list[bytes]], list[bytes]]) -> Report:
    lines = Path(log).read_bytes().splitlines(keepends=True)
    Path(log).write_bytes(b"".join(edit(lines)))
    return verify([log])


def places(report: Report) -> list[tuple[int | None, str]]:
    return [(fault.line, fault.why) for fault in report.faults]


def test_each_line_carries_the_hash_of_the_one_before(log: str) -> None:
    records = list(read(log))
    assert [record["seq"] for record in records] == [1, 2, 3, 4, 5]
    assert [record["prev"] for record in records] == [
        GENESIS,
        *(record["hash"] for record in records[:-1]),
    ]
    assert records[2]["text"] == 'ü\n\\"'
    report = verify([log])
    assert report == Report(5, records[-1]["hash"], (), True)
    assert os.stat(log).st_mode & 0o777 == 0o600


CONTENT = b""
with tempfile.TemporaryDirectory() as _folder:
    for _number in range(3):
        append(f"{_folder}/log", {"event": "run.admitted", "who": {"uid": _number}})
    CONTENT = Path(_folder, "log").read_bytes()
    HEAD = Path(_folder, "log" + HEAD_SUFFIX).read_bytes()


@pytest.mark.parametrize("with_head", [True, False])
@settings(max_examples=300)
@given(
    at=st.integers(0, len(CONTENT) - 1),
    kind=st.sampled_from(["change", "remove", "insert"]),
    byte=st.integers(0, 255),
)
def test_any_edit_of_any_byte_is_found(with_head: bool, at: int, kind: str, byte: int) -> None:
    before, after = CONTENT[:at], CONTENT[at:]
    changed = {
        "change": before + bytes([byte]) + after[1:],
        "remove": before + after[1:],
        "insert": before + bytes([byte]) + after,
    }[kind]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "log")
        path.write_bytes(changed)
        if with_head:
            Path(folder, "log" + HEAD_SUFFIX).write_bytes(HEAD)
        assert bool(verify([str(path)]).faults) == (changed != CONTENT)


@pytest.mark.parametrize(
    ("edit", "first"),
    [
        (lambda lines: [*lines[:2], *lines[3:]], (3, "1 line(s) before it are missing")),
        (lambda lines: lines[1:], (1, "1 line(s) before it are missing")),
        (lambda lines: lines[:3], (None, "2 line(s) are missing at the end")),
        (lambda lines: [], (None, "5 line(s) are missing at the end")),
        (
            lambda lines: [lines[0], lines[2], lines[1], *lines[3:]],
            (2, "1 line(s) before it are missing"),
        ),
        (lambda lines: [*lines, lines[2]], (6, "it has number 3 and stands after number 5")),
        (lambda lines: [*lines[:2], b"{}\n", *lines[2:]], (3, "it is not as it was written")),
        (lambda lines: [*lines, b"\n"], (6, "it is not as it was written")),
        (lambda lines: [*lines[:4], lines[4][:-1]], (5, "it is cut off")),
        (lambda lines: [*lines[:4], lines[4][:50]], (5, "it is cut off")),
        (
            lambda lines: [lines[0].replace(b"e0", b"e9"), *lines[1:]],
            (1, "it is not as it was written"),
        ),
    ],
)
def test_the_first_bad_line_is_named(
    log: str, edit: Callable[[list[bytes]], list[bytes]], first: tuple[int | None, str]
) -> None:
    assert places(edited(log, edit))[0] == first


def test_a_chain_made_anew_does_not_fit_its_head_or_a_hash_noted_earlier(
    log: str, tmp_path: Path
) -> None:
    noted = verify([log]).last_hash
    assert noted
    append(log, {"event": "later"})
    assert verify([log], expect=noted).faults == ()
    other = str(tmp_path / "other.jsonl")
    for number in range(6):
        append(other, {"event": f"forged {number}"})
    os.replace(other, log)
    assert places(verify([log])) == [(None, f"line 6 is not the one that {log}.head names")]
    os.replace(other + HEAD_SUFFIX, log + HEAD_SUFFIX)
    assert verify([log]).faults == ()  # who writes both files can do that
    assert places(verify([log], expect=noted)) == [(None, f"no line has the hash {noted}")]


def test_a_gap_at_the_end_stays_visible_after_the_next_line(log: str) -> None:
    edited(log, lambda lines: lines[:3])
    append(log, {"event": "next"})
    assert places(verify([log])) == [(4, "2 line(s) before it are missing")]


def test_without_a_head_the_end_is_not_anchored(log: str) -> None:
    os.unlink(log + HEAD_SUFFIX)
    report = edited(log, lambda lines: lines[:3])
    assert (report.faults, report.anchored) == ((), False)
    append(log, {"event": "next"})
    assert verify([log]).anchored


@pytest.mark.parametrize("damage", [b'{"seq":6,"prev":"', b"\xff" * 200_000, b"x\n" * 3])
def test_the_chain_goes_on_after_damage_and_the_damage_stays(log: str, damage: bytes) -> None:
    with open(log, "ab") as stream:
        stream.write(damage)
    append(log, {"event": "next"})
    assert [record["seq"] for record in read(log)] == [1, 2, 3, 4, 5, 6]
    bad = damage.rstrip(b"\n").count(b"\n") + 1
    assert places(verify([log])) == [
        (line, "it is not as it was written") for line in range(6, 6 + bad)
    ]


def test_a_line_that_lost_only_its_line_break_is_whole_again(log: str) -> None:
    edited(log, lambda lines: [*lines[:4], lines[4][:-1]])
    append(log, {"event": "next"})
    assert verify([log]).faults == ()


def test_lines_longer_than_a_block_are_found_from_the_end(log: str) -> None:
    for size in (70_000, 200_000, 10):
        append(log, {"text": "x" * size})
    assert [record["seq"] for record in read(log)] == list(range(1, 9))
    assert verify([log]).faults == ()


def test_a_line_is_found_whose_head_was_not_written(log: str) -> None:
    """As after a kill between the two, and one in the middle of the next line."""
    head = Path(log + HEAD_SUFFIX)
    before = head.read_bytes()
    with pytest.raises(OSError, match="a line has at most 524288 bytes, this one has 60") as caught:
        append(log, {"text": "x" * 600_000})
    assert caught.value.errno == errno.EMSGSIZE
    append(log, {"text": "x" * 524_000})
    head.write_bytes(before)
    with open(log, "ab") as stream:
        stream.write(b"x" * 524_287)
    assert append(log, {"event": "next"}).seq == 7
    assert places(verify([log])) == [(7, "it is not as it was written")]


def test_what_somebody_has_appended_keeps_nobody_waiting(log: str) -> None:
    """The head tells the last line; where there is none, no second chain is begun."""
    os.truncate(log, 2**30)
    append(log, {"event": "next"})
    with open(log, "rb") as stream:
        stream.seek(2**30)
        assert stream.read().startswith(b'\n{"seq":6,')
    os.truncate(log, 2**31)
    os.unlink(log + HEAD_SUFFIX)
    with pytest.raises(OSError, match="no line of a log is in its last 1048576 bytes"):
        append(log, {"event": "next"})
    assert os.stat(log).st_size == 2**31


def test_a_log_that_is_moved_away_goes_on_in_a_new_file(log: str) -> None:
    old = log + ".1"
    os.rename(log, old)
    append(log, {"event": "next"})
    assert verify([old, log]).faults == ()
    assert places(verify([log])) == [(1, "5 line(s) before it are missing")]
    assert places(verify([log, old]))


WRITER = """\
import sys
from lom.admission.audit.chain import append
for line in sys.stdin:
    append(sys.argv[1], {"writer": sys.argv[2], "number": int(line)})
    print(line.strip(), flush=True)
"""
NAMES, ROUNDS = ("a", "b", "c"), 40


def test_processes_take_turns(tmp_path: Path) -> None:
    """Three writers get each number at the same time, and the next when all have written it."""
    path = str(tmp_path / "audit.jsonl")
    with contextlib.ExitStack() as stack:
        writers = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", WRITER, path, name],
                    env={**os.environ, "PYTHONPATH": str(ROOT)},
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                    bufsize=1,
                )
            )
            for name in NAMES
        ]
        for number in range(ROUNDS):
            for writer in writers:
                assert writer.stdin
                writer.stdin.write(f"{number}\n")
            for writer in writers:
                assert writer.stdout
                assert writer.stdout.readline() == f"{number}\n"
    report = verify([path])
    assert (report.lines, report.faults) == (ROUNDS * len(NAMES), ())
    written = [(record["number"], record["writer"]) for record in read(path)]
    assert sorted(written) == [(number, name) for number in range(ROUNDS) for name in NAMES]


def test_a_lock_that_is_never_given_back_is_an_error(
    log: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filelock, "PATIENCE_S", 0.05)
    with open(log, "ab") as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        with pytest.raises(OSError, match="another process keeps it locked"):
            append(log, {"event": "next"})
    append(log, {"event": "next"})
    assert verify([log]).lines == 6


@pytest.mark.needs_root
def test_a_full_disk_leaves_no_half_line(tmp_path: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8k", "none", tmp_path], check=True)
    path = str(tmp_path / "audit.jsonl")
    try:
        append(path, {"event": "first"})
        with pytest.raises(OSError, match="no space left for the whole line"):
            append(path, {"text": "x" * 5000})
        assert (verify([path]).lines, verify([path]).faults) == (1, ())
    finally:
        subprocess.run(["umount", tmp_path], check=True)


def test_a_limit_on_files_leaves_no_half_line_where_none_can_be_taken_back(
    tmp_path: Path,
) -> None:
    path = str(tmp_path / "audit.jsonl")
    append(path, {"event": "first"})
    code = (
        "import os, resource, sys\n"
        "from lom.admission.audit.chain import append\n"
        "del os.ftruncate\n"  # as with a file that can only be appended to
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try:\n"
        "    append(sys.argv[1], {'text': 'x' * 2000})\n"
        "except OSError as error:\n"
        "    print(error.strerror)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, path],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert "this process may write no file beyond 1000 bytes" in done.stdout, done.stderr
    assert (verify([path]).lines, verify([path]).faults) == (1, ())


@pytest.mark.parametrize("kind", ["fifo", "folder", "device"])
def test_only_a_regular_file_is_a_log(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "log"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path = Path("/dev/null")
    with pytest.raises(OSError, match=r"(not a regular file|Is a directory)"):
        append(str(path), {})


def test_a_head_that_cannot_be_written_does_not_keep_a_line_out(log: str) -> None:
    os.unlink(log + HEAD_SUFFIX)
    os.symlink("elsewhere", log + HEAD_SUFFIX)
    append(log, {"event": "next"})
    report = verify([log])
    assert (report.lines, report.faults, report.anchored) == (6, (), False)


def test_a_pipe_in_the_place_of_a_head_keeps_nobody_waiting(log: str) -> None:
    os.unlink(log + HEAD_SUFFIX)
    os.mkfifo(log + HEAD_SUFFIX)
    report = verify([log])
    assert (report.lines, report.faults, report.anchored) == (5, (), False)
    append(log, {"event": "next"})
    assert [record["seq"] for record in read(log)] == [1, 2, 3, 4, 5, 6]
    with pytest.raises(OSError, match="not a regular file"):
        verify([log + HEAD_SUFFIX])


@pytest.mark.needs_root
def test_a_head_of_another_is_not_believed(log: str) -> None:
    """It would hide what was cut from the end, or have lines missed that never were."""
    Path(log + HEAD_SUFFIX).write_text(f'{{"seq":9,"hash":"{GENESIS}"}}\n')
    assert verify([log]).faults
    os.chown(log + HEAD_SUFFIX, 65534, -1)
    report = verify([log])
    assert (report.faults, report.anchored) == ((), False)
    append(log, {"event": "next"})
    assert verify([log]).faults == ()
    os.chown(log, 65534, -1)
    assert verify([log]).faults


def test_a_line_is_plain_json(log: str) -> None:
    for line in Path(log).read_text(encoding="ascii").splitlines():
        assert json.loads(line)["event"]


def test_a_number_that_no_line_can_have_takes_no_further_line_away(log: str) -> None:
    body = b'{"seq":999999999999999999,"prev":"' + GENESIS.encode() + b'","event":"theirs"'
    line = body + b',"hash":"' + hashlib.sha256(body).hexdigest().encode() + b'"}\n'
    with open(log, "ab") as stream:
        stream.write(line)
    for _ in range(2):
        append(log, {"event": "after"})
    assert [record["seq"] for record in read(log) if record["event"] == "after"] == [6, 7]
    assert {fault.line for fault in verify([log]).faults} == {6, 7}  # where it begins and ends
    assert 8 in {line for line, _ in places(edited(log, lambda all_: [*all_[:-1], b"{}\n"]))}
