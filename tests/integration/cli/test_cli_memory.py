"""Memory does not grow with the sum of the answers; what is kept on disk is private and whole."""

from __future__ import annotations

import resource

import pytest

from tests.support.errors import error_of

from .conftest import INVENTORY, Done, Rune

HOSTS, MIB = 24, 4
BOUND = 220  # MiB of the whole process; with all answers in memory it took three times as much

MEASURED = """
import resource, subprocess, sys
done = subprocess.run([sys.executable, "-m", "lom.cli", *sys.argv[1:]])
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024, file=sys.stderr)
sys.exit(done.returncode)
"""


def answer(*values: str) -> str:
    return f'{{"payload":{{"result":"success","output_data":{{"values":[{",".join(values)}]}}}}}}'


@pytest.fixture
def large(rune: Rune) -> Rune:
    """As many hosts, with some MiB each: a long text, and numbers."""
    hosts = "".join(f"  h{number:02}: {{transport: local}}\n" for number in range(HOSTS))
    rune.write("inventory.yaml", f"targets:\n{hosts}")
    text = f'"{"x" * MIB * 1024 * 1024}"'
    path = rune.write("answer", answer(text, *("%.4f" % (n / 7 % 100) for n in range(20_000))))
    rune.plugin("large", f"cat {path}\n")
    return rune


def measured(rune: Rune, *arguments: str) -> tuple[int, bytes]:
    """Run ``rune`` to its end; return its peak memory in MiB and its stdout."""
    with rune.start("-c", MEASURED, *arguments, program=()) as process:
        out, err = process.communicate(timeout=110)
    assert process.returncode == 0, err
    return int(err.split()[-1]), out


def test_memory_does_not_grow_with_the_sum_of_the_answers(large: Rune) -> None:
    most, printed = measured(large, "run", "large", "-t", "all", "-q", "-o", "json")
    assert most < BOUND
    assert printed.count(b'"outcome":"ok"') == HOSTS
    assert len(printed) > HOSTS * MIB * 1024 * 1024
    most, shown = measured(large, "runs", "show", "last", "-o", "json")
    assert most < BOUND
    assert shown == printed


@pytest.mark.parametrize("output", ["table", "ndjson", "csv"])
def test_nor_without_a_ledger(large: Rune, output: str) -> None:
    most, printed = measured(large, "run", "large", "-t", "all", "-q", "-o", output, "--no-ledger")
    assert most < BOUND
    assert printed.count(b"h23") >= 1


def limited(rune: Rune, *arguments: str) -> Done:
    """Run ``rune`` where no file may grow beyond one MiB, so that a temporary one has no room."""
    size = 1024 * 1024
    return rune(
        *arguments,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)),
        timeout=120,
    )


def test_a_disk_without_room_costs_the_targets_with_large_answers_only(large: Rune) -> None:
    small = large.write("small", answer("1"))
    large.plugin(
        "large", f"case $RUNE_TARGET in h0*) cat {large.folder}/answer;; *) cat {small};; esac\n"
    )
    done = limited(large, "run", "large", "-t", "h0[8-9] or h1[0-3]", "-o", "json", "--no-ledger")
    found = {one["target"]: one for one in done.document["results"]}
    assert {name for name, one in found.items() if one["outcome"] == "ok"} == {
        *("h10", "h11", "h12", "h13")
    }
    for name in ("h08", "h09"):
        error = error_of(found[name])
        assert error["data"]["reason"] == "local_io_error"
        assert "cannot be kept" in error["message"]
    assert done.code == 7


def test_results_without_room_are_named_and_the_others_stay(rune: Rune) -> None:
    """The answers themselves are small enough to be read; together they find no room."""
    program = """
import lmm.temporary, lom.execution.results
lmm.temporary._FOR_MUCH = ()  # TMPDIR alone
lom.execution.results.IN_MEMORY = 1000
from lom.cli import main
main()
"""
    rune.write("inventory.yaml", INVENTORY)
    rune.plugin("mark", f"cat {rune.write('answer', answer(*['1234567890'] * 10_000))}\n")
    rune.write("main.py", program)
    size = 200_000
    arguments = ("run", "mark", "-t", "all", "-o", "json", "--no-ledger", "--concurrency", "1")
    with rune.start(
        "main.py",
        *arguments,
        program=(),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)),
    ) as process:
        out, err = process.communicate(timeout=60)
    done = Done(process.returncode, out, err.decode())
    outcomes = [one["outcome"] for one in done.document["results"]]
    assert outcomes == ["ok", "failed", "failed"]
    (message,) = {error_of(one)["message"].split(" of ")[0] for one in done.document["results"][1:]}
    assert message == "its result"


def test_the_library_reads_results_back(large: Rune) -> None:
    """Each result is given as it comes and read again later; none is kept by the run."""
    code = """
import re
from lom import Orchestrator
with Orchestrator() as rune:
    run = rune.run("large", "all")
    seen = [(one.target, len(one.output_data["values"])) for one in run]
assert sorted(seen) == [(one.target, len(one.output_data["values"])) for one in run.results]
assert run.results[-1].target == "h23" and len(run.results) == 24
# not ru_maxrss: in that a process has the peak of the one that has started it, too
print(int(re.search("VmHWM:(.*) kB", open("/proc/self/status").read())[1]) // 1024)
"""
    with large.start("-c", code, program=()) as process:
        out, err = process.communicate(timeout=110)
    assert process.returncode == 0, err
    assert int(out) < BOUND
