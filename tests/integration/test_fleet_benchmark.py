"""The table of `make bench` is whole whatever a tool does; no time is asserted."""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchmarks import fleet
from benchmarks.comparison import measure
from benchmarks.comparison.field import ANSWER, ONCE, Field, field, stream
from benchmarks.comparison.measure import CGROUPS
from benchmarks.comparison.table import HEAD, Row, table
from benchmarks.comparison.tools import LOOPS, TOOLS, Tool, lines_with
from benchmarks.loops.common import ATTEMPTS, retried
from lmm.testing import processes

ROOT = Path(__file__).resolve().parents[2]


def rows_of(text: str) -> dict[tuple[str, str], list[str]]:
    """Return the cells of the table's rows by hosts and tool."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    assert tuple(cells[0]) == HEAD
    assert all(len(row) == len(HEAD) for row in cells)
    return {(row[0], row[1]): row for row in cells[2:]}


@pytest.fixture(autouse=True)
def _no_cgroup_is_left() -> Iterator[None]:
    yield
    own = f"rune-benchmark-{os.getpid()}-*"
    assert not [path for root, _ in CGROUPS for path in root.glob(own)]


HALF = '{"answers":1,"reason":"refused"}'
GOOD = Tool("good", lambda _: ["true"], lambda _: (2, ""))


def shell(script: str, *, counted: bool = True) -> Tool:
    """A tool that is a shell script; one that is not ``counted`` tells its answers itself."""

    def argv(field: Field) -> list[str]:
        return ["bash", "-c", script, "tool", *field.hosts]

    return Tool("other", argv, lines_with(f"{ANSWER}\n") if counted else None)


def failure(tool: Tool, limit_s: float = 30.0) -> str:
    (row,) = fleet.compare([tool], [2], 1, limit_s=limit_s)
    (cells,) = rows_of(table([row])).values()
    assert cells[2:-1] == ["-"] * 9
    assert row.failures
    return cells[-1]


def test_the_table_is_complete(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # A new account could not read below the private TMPDIR of a test.
    monkeypatch.setattr(fleet, "account", lambda: contextlib.nullcontext(""))
    names = ["rune-ssh", "rune-ssh-library", "rune-openssh", "ssh", "ssh-masters"]
    file = tmp_path / "samples.json"
    fleet.main(["--hosts", "1,2", "--rounds", "1", "--tools", ",".join(names), "--json", str(file)])
    told = capsys.readouterr()
    assert " answers" not in told.err
    rows = rows_of(told.out)
    assert list(rows) == [(count, name) for count in "12" for name in sorted(names, key=order)]
    remarks = {tool.remark for tool in TOOLS}
    for (count, _), cells in rows.items():
        figures = [cell for cell in cells[2:-1] if cell != "-"]
        assert all(re.fullmatch(r"[\d.]+( \([\d.]+-[\d.]+\))?", cell) for cell in figures), told.err
        assert cells[-1] in remarks
        # One host is compared with ssh; two are with libssh2, which was not asked.
        assert len(figures) == (9 if count == "1" else 7)
    document = json.loads(file.read_text())
    for row in document["rows"]:
        assert row["failures"] == []
        assert row["peak"] > 1
        (sample,) = row["samples"]
        for phase in ("cold", "second"):
            assert min(sample[phase].values()) > 0


def order(name: str) -> int:
    return [tool.name for tool in TOOLS].index(name)


@pytest.mark.parametrize("counted", [True, False], ids=["command", "library"])
def test_a_tool_that_hangs_is_told_and_ended(counted: bool) -> None:
    say = f"echo '{ANSWER}';" if counted else ""
    tool = shell(f"(trap '' TERM; sleep 60) & {say} wait", counted=counted)
    so_far = ", 1 of 2 answers" if counted else ""
    assert failure(tool, limit_s=0.5) == f"no end within 0.5 s{so_far}"


def test_without_cgroups_masters_count_and_are_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "CGROUPS", ())
    tools = [tool for tool in TOOLS if tool.name == "ssh-masters"]
    found: list[int] = []
    end = processes.end

    def noted(pids: set[int], patience_s: float) -> None:
        found.extend(pids)
        end(pids, patience_s)

    with field("", 2) as ground, measure.Meter("hosts") as hosts:
        trial = measure.Trial(tools[0], ground, hosts)
        monkeypatch.setattr(processes, "end", noted)
        sample = trial.run(60, watched=True)
        monkeypatch.undo()
    assert len(found) == 2
    assert min(sample.cold.client, sample.cold.hosts, sample.peak) > 0


@pytest.mark.parametrize(
    ("tool", "words"),
    [
        (shell(f"echo '{ANSWER}'; echo $2: refused >&2"), "1 of 2 answers: 127.0.1.2: refused"),
        (shell("exit 3"), "0 of 2 answers: exit status 3"),
        (shell(f"echo '{HALF}'; read -r", counted=False), "1 of 2 answers: refused"),
        (shell("echo 'ValueError: no | pipe' >&2", counted=False), "ValueError: no \\| pipe"),
        (shell("exit 3", counted=False), "it ended without a word"),
        (shell("echo oops; read -r", counted=False), "JSONDecodeError: "),
    ],
    ids=["half", "status", "library half", "traceback", "silent", "garbage"],
)
def test_a_tool_with_half_its_answers_says_why(tool: Tool, words: str) -> None:
    assert failure(tool).startswith(words)


def test_one_tool_ends_no_other() -> None:
    absent = Tool("absent", lambda _: [], needs="no_such_module")
    bad = Tool("bad", lambda _: ["/no/such/program"], lines_with(""))
    rows = fleet.compare([absent, bad, GOOD], [2], 2)
    assert rows[0].failures == [
        "not installed: ModuleNotFoundError: No module named 'no_such_module'"
    ]
    assert rows[1].failures[0].startswith("FileNotFoundError: ")
    assert len(rows[1].failures) == 1, "it is not tried again"
    assert len(rows[2].samples) == 2


def test_all_of_it_has_an_end() -> None:
    (row,) = fleet.compare([shell("exit 0")], [2], 1, total_s=0)
    assert row.failures == ["the time of 0 minutes was over"]


def test_a_later_failure_stands_beside_the_figures() -> None:
    (row,) = fleet.compare([GOOD], [2], 1)
    row.failures.append("1 of 2 answers: refused")
    (cells,) = rows_of(table([row])).values()
    assert cells[2] != "-"
    assert cells[-1] == "1 of 2 answers: refused"


def test_a_row_without_samples_is_no_yardstick() -> None:
    (row,) = fleet.compare([GOOD], [2], 1)
    cells = rows_of(table([row, Row("libssh2", 2, failures=["not installed"])]))[("2", "good")]
    assert cells[3] == "-"


def test_no_host_shares_a_directory_with_another() -> None:
    """All are one account: with one mark for all, each removed the others' plugin."""
    sent = stream()
    assert sent.count(f"rune_main {ONCE} {ONCE} ".encode()) == 1


def attempts(until: int) -> Callable[[], int]:
    """A login that is refused until the given attempt."""
    seen = iter(range(1, 100))

    def log_in() -> int:
        if (number := next(seen)) < until:
            raise ConnectionResetError("Exceeded MaxStartups")
        return number

    return log_in


def test_a_refused_login_is_tried_again() -> None:
    pauses: list[float] = []
    assert retried(attempts(ATTEMPTS), pauses.append) == ATTEMPTS
    assert pauses == sorted(pauses)
    assert len(pauses) == ATTEMPTS - 1
    with pytest.raises(ConnectionResetError):
        retried(attempts(ATTEMPTS + 1), pauses.append)


def test_a_host_that_fails_ends_no_loop(tmp_path: Path) -> None:
    loop = tmp_path / "half_loop.py"
    loop.write_text(
        f"import sys; sys.path.insert(0, {str(LOOPS)!r})\n"
        "from common import serve_by_threads\n"
        "def ask(job, host):\n"
        "    if host == '127.0.1.2': raise TimeoutError('no answer within 30 s')\n"
        "    return job.fault(job.answer)\n"
        "serve_by_threads(ask)\n"
    )
    tool = Tool("half", lambda field: [sys.executable, str(loop), f"{field.folder}/script.job"])
    assert failure(tool) == "1 of 2 answers: TimeoutError: no answer within 30 s"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--tools", "telnet"], "no such tool: telnet; there are rune-ssh, "),
        (["--hosts", "many"], "--hosts takes numbers"),
        (["--rounds", "0"], "start at 1"),
    ],
)
def test_a_wrong_option_is_told(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        fleet.options(arguments)
    assert words in capsys.readouterr().err


def test_the_page_names_every_tool_and_column() -> None:
    page = (ROOT / "docs/speed.md").read_text(encoding="utf-8")
    assert re.findall(r"(?m)^\| `([\w-]+)` \|", page) == [tool.name for tool in TOOLS]
    assert [name for name in HEAD if f"`{name}`" not in page] == []
