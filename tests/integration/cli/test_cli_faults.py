"""A slip in any argument gives one clear message, exit code 2, and an EPS document for programs."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from lmm.contract import spec_validator
from lom.cli.app import run
from tests.support.errors import error_of, reason

SLIPS: list[tuple[list[str], str]] = [
    ([], "`rune` needs a command"),
    (["action"], "`rune action` needs a command"),
    (["rum"], "No such command 'rum'; did you mean 'run'?"),
    (["zzz"], "No such command 'zzz'; known are run, action"),
    (["action", "lst"], "No such command 'lst'; did you mean 'list'?"),
    (["run"], "Missing argument 'ACTION'"),
    (["run", "noop", "more"], "Got unexpected extra argument (more)"),
    (["run", "noop", "--timout", "3"], "No such option --timout; did you mean '--timeout'?"),
    (["--quite", "run", "noop"], "options stand after the command"),
    (["run", "noop", "--timeout", "abc"], "'--timeout': 'abc' is not a number of seconds"),
    (["run", "noop", "--timeout", "0"], "'--timeout': 0 is not more than 0 seconds"),
    (["run", "noop", "--timeout", "nan"], "'--timeout': nan is not more than 0 seconds"),
    (["run", "noop", "--timeout=-1"], "'--timeout': -1 is not more than 0 seconds"),
    (["run", "noop", "--timeout"], "Option '--timeout' requires an argument"),
    (["run", "noop", "--connect-timeout", "1e400"], "'--connect-timeout'"),
    (["run", "noop", "--timeout", "1e17"], "'--timeout': 1e17 is more than 1000000000 seconds"),
    (["target", "ping", "--connect-timeout", "1e17"], "is more than 1000000000 seconds"),
    (["run", "noop", "--concurrency", "0"], "'--concurrency': 0 is not in the range x>=1"),
    (["run", "noop", "--concurrency", "many"], "'--concurrency': 'many' is not a valid integer"),
    (["run", "noop", "--batch", "some"], "'some' is neither a count nor a percentage"),
    (["run", "noop", "--max-failures", "200%"], "'200%' is neither a count nor a percentage"),
    (["run", "noop", "--batch", "9" * 5000], "is neither a count nor a percentage"),
    (["run", "noop", "--min-version", "9" * 5000], "is not a version such as 1.2"),
    (["run", "noop", "--max-stdout", "0"], "'--max-stdout': '0' is not a size such as"),
    (["run", "noop", "--max-stderr", "2 MB"], "'--max-stderr': '2 MB' is not a size such as"),
    (["run", "noop", "--transport", "shh"], "there is no transport 'shh'"),
    (["run", "nop"], "did you mean 'noop'?"),
    (["run", "t.typed", "-p", "gpu_indx=1"], "did you mean 'gpu_index'?"),
    (["run", "t.typed", "-p", "gpu_index=9"], "9 is greater than the maximum of 7 @ $.gpu_index"),
    (["run", "t.typed", "-p", "gpu_index"], "is not KEY=VALUE"),
    (["run", "noop", "-t", "wbe1"], "did you mean 'web1'?"),
    (["run", "noop", "-t", "web1 nad db1"], "nad"),
    (["run", "noop", "-t", "web and db1"], "web and db1"),
    (["run", "noop", "-t", "@nowhere.txt"], "nowhere.txt"),
    (["run", "noop", "-t", "web1", "-i", "nowhere.yaml"], "nowhere.yaml"),
    (["run", "noop", "--plugin-path", "nowhere"], "nowhere"),
    (["run", "noop", "--params", "nowhere.json"], "nowhere.json: cannot read it: No such file"),
    (["run", "noop", "--params", "inventory.yaml", "--params"], "requires an argument"),
    (["run", "noop", "--params", "list.json"], "list.json: not JSON: the JSON value is not an obj"),
    (["run", "noop", "--params", "list.yaml"], "--params list.yaml must hold an object"),
    (
        ["run", "noop", "--params", "twice.yaml"],
        "the key stands here a second time (first in line 1) @ $.a",
    ),
    (["run", "noop", "--params", "-"], "stdin (--params -)"),
    (["run", "noop", "--secret", "token"], "--secret takes KEY=env:NAME or KEY=file:PATH"),
    (["run", "noop", "--secret", "token=env:NOT_SET_ANYWHERE"], "NOT_SET_ANYWHERE is not set"),
    (["action", "show", "nop"], "did you mean 'noop'?"),
    (["plugin", "check", "t-typd"], "did you mean 't-typed'?"),
    (["target", "show", "wbe1"], "did you mean 'web1'?"),
    (["target", "list", "-t", "wbe1"], "did you mean 'web1'?"),
    (["target", "ping", "-t", "wbe1"], "did you mean 'web1'?"),
    (["config", "shw"], "did you mean 'show'?"),
    (["completion", "tcsh"], "'tcsh' is not one of 'bash', 'zsh', 'fish'"),
]


@pytest.fixture
def slippery(fleet: Any) -> Any:
    fleet.write("list.json", "[1]")
    fleet.write("list.yaml", "- 1\n")
    fleet.write("twice.yaml", "a: 1\na: 2\n")
    return fleet


def told(stderr: str) -> str:
    """Return the error's message; there is exactly one, and no traceback."""
    errors = [line for line in stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, stderr
    assert "Traceback" not in stderr
    assert "  hint: " in stderr
    return errors[0].removeprefix("error: ")


@pytest.mark.parametrize("arguments", [SLIPS[0][0], SLIPS[7][0], SLIPS[22][0]])
def test_people_get_one_message_and_an_empty_stdout(slippery: Any, arguments: list[str]) -> None:
    done = slippery(*arguments)
    assert (done.code, done.stdout) == (2, b"")
    assert told(done.stderr)


@pytest.mark.parametrize(("arguments", "words"), SLIPS, ids=lambda value: str(value)[:50])
def test_programs_get_one_eps_document_too(
    slippery: Any,
    arguments: list[str],
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(slippery.folder)
    monkeypatch.setenv("RUNE_OUTPUT", "json")
    with open(os.devnull) as nothing:
        monkeypatch.setattr("sys.stdin", nothing)
        assert run(arguments) == 2  # in this process: fifty slips, each once
    out, err = capfd.readouterr()
    document = json.loads(out)
    assert spec_validator("eps_v2").violations(document) == []
    assert words in error_of(document)["message"]
    assert words in told(err)


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "nop", "-o", "json"],
        ["run", "-ojson", "nop"],
        ["run", "--output=json", "nop"],
        ["run", "-qo", "json", "nop"],
        ["run", "noop", "--timout", "3", "--output", "json"],
        ["-o", "json", "run", "noop"],
        ["rum", "-o", "json"],
    ],
)
def test_json_counts_wherever_it_is_asked_for(fleet: Any, arguments: list[str]) -> None:
    done = fleet(*arguments)
    assert done.code == 2
    assert spec_validator("eps_v2").violations(done.document) == []


@pytest.mark.parametrize("output", ["ndjson", "yaml"])
def test_other_formats_for_programs_get_the_document_too(fleet: Any, output: str) -> None:
    done = fleet("run", "nop", "-o", output)
    assert done.code == 2
    assert "unknown_action" in done.text
    assert done.text.count("\n") == 1 or output == "yaml"


def test_a_wrong_output_format(fleet: Any) -> None:
    done = fleet("run", "noop", "-o", "jsn", env={"RUNE_OUTPUT": "json"})
    assert done.code == 2
    assert "'jsn' is not one of 'table', 'json'" in told(done.stderr)
    assert reason(done) == "invalid_usage"


def test_a_wrong_format_in_the_environment(fleet: Any) -> None:
    done = fleet("run", "noop", env={"RUNE_OUTPUT": "jsn"})
    assert (done.code, done.stdout) == (2, b"")
    assert "RUNE_OUTPUT is 'jsn'" in told(done.stderr)


def test_parameters_on_stdin_that_never_end(fleet: Any) -> None:
    script = "ulimit -v 1000000; exec rune run noop --params - -o json < /dev/zero"
    done = fleet.shell(script)
    assert done.code == 2
    assert "larger than 64 MiB" in error_of(done)["message"]


def test_a_wrong_key_in_the_configuration(fleet: Any) -> None:
    fleet.write("rune.yaml", "output: json\nconcurency: 3\n")
    done = fleet("run", "noop")
    assert done.code == 2
    assert "rune.yaml:2: unknown key 'concurency'; did you mean 'concurrency'?" in told(done.stderr)
    assert reason(done) == "config_invalid"


def test_a_secret_given_as_a_value_is_not_repeated(fleet: Any) -> None:
    done = fleet("run", "noop", "--secret", "token=hunter2", "-o", "json")
    assert done.code == 2
    assert "hunter2" not in done.text + done.stderr


def test_a_destructive_action_needs_yes(fleet: Any) -> None:
    done = fleet("run", "t.wipe", "-o", "json")
    assert done.code == 3
    assert reason(done) == "confirmation_required"
    assert fleet("run", "t.wipe", "--yes").code == 0


def test_what_nobody_foresaw_is_an_internal_error(fleet: Any) -> None:
    probe = (
        "import sys\nfrom lom.cli import app\n"
        "def boom(*_): raise ValueError('hunter2')\n"
        "app.rune.invoke = boom\nsys.exit(app.run(sys.argv[1:]))\n"
    )
    done = fleet.python(probe, "run", "noop", "-o", "json")
    assert done.code == 70
    assert "unexpected ValueError at <string>:3" in told(done.stderr)
    assert reason(done) == "internal_error"
    assert "hunter2" not in done.text + done.stderr
    debugged = fleet.python(probe, "run", "noop", "--debug")
    assert "ValueError: hunter2" in debugged.stderr


@pytest.mark.parametrize(
    ("error", "why", "words"),
    [
        ("MemoryError()", "local_resources", "this machine lacks memory (at <string>:3)"),
        ("OSError(24, 'x', 'y')", "local_resources", "lacks file descriptors (ulimit -n)"),
        ("OSError(28, 'No space', 'there')", "local_io_error", "No space: there"),
    ],
)
def test_want_of_something_is_no_fault_of_rune(
    fleet: Any, error: str, why: str, words: str
) -> None:
    probe = (
        "import sys\nfrom lom.cli import app\n"
        f"def boom(*_): raise {error}\n"
        "app.rune.invoke = boom\nsys.exit(app.run(sys.argv[1:]))\n"
    )
    done = fleet.python(probe, "run", "noop", "-o", "json")
    assert done.code == 70
    assert words in told(done.stderr)
    assert reason(done) == why


def test_debug_shows_where_an_error_came_from(fleet: Any) -> None:
    done = fleet("run", "nop", "--debug")
    assert done.code == 2
    assert "Traceback" in done.stderr
    assert "Traceback" in fleet("run", "nop", env={"RUNE_DEBUG": "1"}).stderr


def test_stdout_that_is_full(fleet: Any) -> None:
    with open("/dev/full", "wb") as full:
        done = fleet("action", "list", stdout=full)
    assert done.code == 70
    assert "cannot write to stdout: No space left on device" in told(done.stderr)


def test_stdout_that_is_closed(fleet: Any) -> None:
    done = fleet.shell("exec rune action list -o json >&-")
    assert done.code == 70
    assert "cannot write to stdout: Bad file descriptor" in told(done.stderr)
