"""logs.gather: every byte becomes JSON, the caps hold, the newest lines win."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lmm.errors import RequestError
from lom.registry.files import bundled_plugins

SCRIPT = bundled_plugins() / "logs-gather" / "main.sh"
LIBRARY = bundled_plugins() / "lib" / "rune.sh"
WHOLE = SCRIPT.read_text().replace('. "${0%/*}/rune.sh"', LIBRARY.read_text())
LEAST, MOST = 256, 8_388_608
MARK = "[beginning cut] "


def _gather(bench: Any, place: Path, content: bytes, **parameters: Any) -> dict[str, Any]:
    """Return output_data for a file with this content, once all that must always hold does."""
    file = place / "some.log"
    file.write_bytes(content)
    answer = bench.run("logs-gather", {"path": str(file), **parameters}, place)
    assert answer.exit_code == 0, answer
    assert answer.stderr == ""
    found = dict(answer.output_data)
    raw = answer.stdout[answer.stdout.index(b',"lines":') + len(b',"lines":') : -len(b"}}}\n")]
    assert json.loads(raw) == found["lines"]
    assert found["bytes"] == len(raw) <= parameters.get("max_bytes", 262_144)
    assert found["line_count"] == len(found["lines"]) <= parameters.get("lines", 200)
    assert found["source"] == str(file)
    return found


def _text(line: bytes) -> str:
    """Return a line as text; a run of what is not UTF-8 as one U+FFFD."""
    return re.sub("\ufffd+", "\ufffd", line.replace(b"\0", b"\xff").decode(errors="replace"))


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (b"", []),
        (b"\n", [b""]),
        (b"\n\n\n", [b"", b"", b""]),
        (b"no end", [b"no end"]),
        (b"a\n\nb\n", [b"a", b"", b"b"]),
        (b"\nfirst is empty", [b"", b"first is empty"]),
        (b"dos\r\nlines\r\n", [b"dos\r", b"lines\r"]),
        (b'"quoted" \\ back\\slash \\n \\\\n \\u0041 \\\n\\\n', None),
        (b"tab\t bell\a escape\x1b[31mred\x1b[0m del\x7f\x01\x02\x03\n\x02\n\x03\\\n", None),
        ("grün ✓ 漢字 🦊 \u2028 \ue000\n".encode(), None),
        (b"broken \xff\xfe \xc3( \xed\xa0\x80 \xc0\xaf\ngood \xc3\xa9\n", None),
        (b"\0\0crash\0\n\0\n", None),
        (b"$(id) `id` $HOME * ? [a] ~ {1,2} !!\n%s %n\n-n\n", None),
        (bytes(set(range(256)) - {10}) + b"\n" + bytes(range(256)), None),
        ("é\n".encode() + b"\xff" * 900 + "\né\n".encode(), None),
    ],
    ids=lambda value: repr(value)[:24] if isinstance(value, bytes) else "",
)
def test_every_byte_arrives(
    bench: Any, tmp_path: Path, content: bytes, lines: list[bytes] | None
) -> None:
    expected = lines if lines is not None else content.removesuffix(b"\n").split(b"\n")
    found = _gather(bench, tmp_path, content)
    got = [re.sub("\ufffd+", "\ufffd", line) for line in found["lines"]]
    assert got == [_text(line) for line in expected]
    assert not found["truncated"]


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=st.lists(
        st.text(st.characters(exclude_characters="\n\0", codec="utf-8"), max_size=90),
        max_size=30,
    ),
    lines=st.integers(1, 40),
    max_bytes=st.integers(LEAST, 3000),
)
def test_the_newest_lines_win(bench: Any, content: list[str], lines: int, max_bytes: int) -> None:
    text = "".join(f"{line}\n" for line in content).encode()
    with tempfile.TemporaryDirectory() as place:
        found = _gather(bench, Path(place), text, lines=lines, max_bytes=max_bytes)
    got = found["lines"]
    assert found["truncated"] == (got != content)
    if len(got) == 1 and got[0].startswith(MARK):
        assert content[-1].endswith(got[0].removeprefix(MARK))
    else:
        assert got == content[len(content) - len(got) :]
        if len(got) < min(lines, len(content)):  # the next one had no room: at worst \u00XX each
            older = len(json.dumps(content[-len(got) - 1], ensure_ascii=True)) * 2
            assert got
            assert found["bytes"] + older + 1 > max_bytes


@pytest.mark.parametrize("max_bytes", [LEAST, 100_000])
@pytest.mark.parametrize("unit", [b"x", b'"\\', b"\x1b", "漢".encode(), b"\0", b"\xff"])
def test_one_giant_line_is_cut(bench: Any, tmp_path: Path, unit: bytes, max_bytes: int) -> None:
    content = b"begin " + unit * (2 * max_bytes // len(unit)) + b" end\n"
    found = _gather(bench, tmp_path, content, max_bytes=max_bytes)
    (line,) = found["lines"]
    assert line.startswith(MARK)
    assert line.endswith(" end")
    assert set(line.removeprefix(MARK).removesuffix(" end")) == set(_text(unit))
    assert found["truncated"]
    assert found["bytes"] > max_bytes * 0.7


def test_a_giant_line_goes_before_a_newer_one_is_cut(bench: Any, tmp_path: Path) -> None:
    found = _gather(bench, tmp_path, b"old\n" + b"x" * 400 + b"\nnew\n", max_bytes=LEAST)
    assert found["lines"] == ["new"]
    assert found["truncated"]


@pytest.mark.parametrize("size", [LEAST - 1, LEAST, LEAST + 1, LEAST + 2])
def test_a_cap_in_the_middle_of_a_line_leaves_no_half_line(
    bench: Any, tmp_path: Path, size: int
) -> None:
    content = b"o" * (size - 4) + b"\nnew"
    found = _gather(bench, tmp_path, content, max_bytes=LEAST)
    assert found["lines"] == ["new"]


def test_a_huge_file_is_read_from_its_end(bench: Any, tmp_path: Path) -> None:
    file = tmp_path / "sparse.log"
    with file.open("wb") as stream:
        stream.truncate(2**40)
        stream.seek(2**40)
        stream.write(b"\nthe newest\n")
    answer = bench.run("logs-gather", {"path": str(file), "lines": 1}, tmp_path)
    assert answer.output_data["lines"] == ["the newest"]
    assert answer.output_data["truncated"]


def test_the_highest_caps_stay_below_what_a_plugin_may_write(bench: Any, tmp_path: Path) -> None:
    content = b"".join(b'%d "\\"\n' % number for number in range(12_000))
    found = _gather(bench, tmp_path, content, lines=10_000, max_bytes=MOST)
    assert found["lines"] == [f'{number} "\\"' for number in range(2_000, 12_000)]


def test_numbers_may_be_written_as_floats(bench: Any, tmp_path: Path) -> None:
    assert _gather(bench, tmp_path, b"a\nb\n", lines=1.0)["lines"] == ["b"]


@pytest.mark.parametrize(
    ("kind", "code", "words"),
    [
        ("missing", 2, "there is no file"),
        ("folder", 1, "not a regular file"),
        ("fifo", 1, "not a regular file"),
        ("link-to-device", 1, "not a regular file"),
        ("link-to-proc", 1, "not a regular file"),
        ("link-to-nothing", 2, "there is no file"),
    ],
)
def test_only_regular_files(bench: Any, tmp_path: Path, kind: str, code: int, words: str) -> None:
    path = tmp_path / kind
    if kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind.startswith("link"):
        ends = {"device": "/dev/zero", "proc": "/proc/self/status", "nothing": "gone"}
        path.symlink_to(ends[kind.rpartition("-")[2]])
    answer = bench.run("logs-gather", {"path": str(path)}, tmp_path)
    assert answer.exit_code == code
    assert words in answer.error["message"]
    assert str(path) in answer.error["message"]


def test_a_link_to_a_file_and_an_odd_name(bench: Any, tmp_path: Path) -> None:
    (tmp_path / "real").write_text("line\n")
    link = tmp_path / "-n $(id) 'ü\" \\.log"
    link.symlink_to("real")
    answer = bench.run("logs-gather", {"path": str(link)}, tmp_path)
    assert answer.output_data["lines"] == ["line"]
    assert answer.output_data["source"] == str(link)


@pytest.mark.parametrize(
    ("parameters", "field"),
    [
        ({"path": "relative.log"}, "$.path"),
        ({"path": "/a\nb"}, "$.path"),
        ({"path": "/a", "unit": "nginx"}, "$.unit"),
        ({"path": "/a", "since": "-1h"}, "$.since"),
        ({"unit": "-x"}, "$.unit"),
        ({"unit": "a*"}, "$.unit"),
        ({"since": ""}, "$.since"),
        ({"lines": 10_001}, "$.lines"),
        ({"max_bytes": LEAST - 1}, "$.max_bytes"),
        ({"max_bytes": MOST + 1}, "$.max_bytes"),
    ],
)
def test_refused_before_it_starts(
    bench: Any, tmp_path: Path, parameters: dict[str, Any], field: str
) -> None:
    with pytest.raises(RequestError) as refusal:
        bench.run("logs-gather", parameters, tmp_path)
    assert refusal.value.data["field"] == field


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LINES", "0"),
        ("LINES", "1e3"),
        ("LINES", "08x"),
        ("MAX_BYTES", "9999999999"),
        ("UNIT", "-x"),
    ],
)
def test_the_script_trusts_nobody(bench: Any, tmp_path: Path, name: str, value: str) -> None:
    answer = bench.run("logs-gather", {}, tmp_path, env={f"RUNE_PARAM_{name}": value})
    assert answer.exit_code == 1
    assert value in answer.error["message"]


# --- without the bench: another user, another /var/log ---------------------------------------


def _run(script: str, path: str | None = None, **environment: str) -> dict[str, Any]:
    process = subprocess.run(
        ["bash", "-c", script],
        env={"PATH": path or os.environ["PATH"], **environment},
        capture_output=True,
        stdin=subprocess.DEVNULL,
        cwd="/",
        user=65534 if os.getuid() == 0 else None,
        extra_groups=[] if os.getuid() == 0 else None,
        timeout=30,
        check=False,
    )
    answer: dict[str, Any] = json.loads(process.stdout)
    assert process.returncode == answer.get("error", {}).get("code", 0)
    return answer


def test_a_file_that_may_not_be_read() -> None:
    answer = _run(WHOLE, RUNE_PARAM_PATH="/etc/shadow")
    assert answer["error"]["code"] == 2
    assert answer["error"]["message"].startswith("/etc/shadow may not be read by ")


@pytest.fixture
def var_log() -> Any:
    """Return a script that looks for the system log in a folder of its own, and that folder."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        place = Path(folder)
        place.chmod(0o755)
        (place / "bin").mkdir()
        (place / "bin" / "journalctl").write_text(
            f"#!/bin/sh\nPATH={os.environ['PATH']}\n. {place}/answer\n"
        )
        (place / "bin" / "journalctl").chmod(0o755)
        script = WHOLE.replace("/var/log/", f"{folder}/")
        yield script, place


@pytest.mark.parametrize(
    "journalctl",
    ["echo No journal files were found. >&2", "echo No permission >&2; exit 1"],
    ids=["empty", "refused"],
)
@pytest.mark.parametrize("name", ["syslog", "messages"])
def test_the_system_log_where_there_is_no_journal(var_log: Any, name: str, journalctl: str) -> None:
    script, place = var_log
    (place / "answer").write_text(journalctl)
    (place / name).write_text("from the file\n")
    answer = _run(script, f"{place}/bin:{os.environ['PATH']}")
    found = answer["payload"]["output_data"]
    assert (found["source"], found["lines"]) == (str(place / name), ["from the file"])


@pytest.mark.parametrize(
    ("journalctl", "expected"),
    [("exit 0", "journal"), ("echo No permission >&2; exit 1", 2), ("echo a; exit 1", 2)],
)
def test_neither_journal_nor_system_log(var_log: Any, journalctl: str, expected: Any) -> None:
    script, place = var_log
    (place / "answer").write_text(journalctl)
    answer = _run(script, f"{place}/bin:{os.environ['PATH']}")
    if expected == "journal":
        assert answer["payload"]["output_data"]["source"] == "journal"
        assert answer["payload"]["output_data"]["lines"] == []
    else:
        assert answer["error"]["code"] == expected
        assert f"{place}/syslog" in answer["error"]["message"]


def test_the_system_log_is_never_taken_for_a_unit(var_log: Any) -> None:
    script, place = var_log
    (place / "answer").write_text("exit 1")
    (place / "syslog").write_text("of all units\n")
    answer = _run(script, f"{place}/bin:{os.environ['PATH']}", RUNE_PARAM_UNIT="nginx")
    assert answer["error"]["code"] == 2


def test_what_journalctl_remarks_is_passed_on(bench: Any, tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    (work / "journal").write_text("1767323045 a.service own line\n")
    (work / "journal-hint").write_text("Hint: You are not seeing other users' messages\n")
    journalctl = SCRIPT.parent / "cases" / "bin" / "journalctl"
    answer = bench.run("logs-gather", {}, tmp_path, commands={"journalctl": journalctl})
    assert answer.output_data["line_count"] == 1
    assert answer.stderr == "Hint: You are not seeing other users' messages\n"
