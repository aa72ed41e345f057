"""What happens on an instance of FakeAws: scripts really run, as the agent would run them."""

from __future__ import annotations

import functools
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from lmm.testing import processes
from lmm.testing.aws.output import CUT, combined
from lmm.testing.aws.records import ENDS


def test_a_script_runs_and_is_reported(ssm: Any) -> None:
    answer = ssm.run("echo out", "echo err >&2")
    assert answer["StandardOutputContent"] == "out\n"
    assert answer["StandardErrorContent"] == "err\n"
    assert (answer["Status"], answer["StatusDetails"]) == ("Success", "Success")
    assert (answer["ResponseCode"], answer["PluginName"]) == (0, "aws:runShellScript")
    assert answer["ExecutionStartDateTime"] <= answer["ExecutionEndDateTime"]
    assert answer["ExecutionElapsedTime"].startswith("PT")
    assert answer["StandardOutputUrl"] == ""


def test_a_script_is_a_private_file_run_by_sh_in_a_group_of_its_own(ssm: Any) -> None:
    answer = ssm.run(
        'echo "$0"; stat -c %a "$0"; pwd; cat -; ps -o pgid= -p $$ | tr -d " "; echo $PPID $$'
    )
    script, mode, directory, group, *own = answer["StandardOutputContent"].split()
    assert script.endswith(
        f"{ssm.fake.instance_ids[0]}/document/orchestration/{answer['CommandId']}"
        "/awsrunShellScript/0.awsrunShellScript/_script.sh"
    )
    assert (mode, directory) == ("700", str(Path(script).parent))
    assert group in own  # `sh -c FILE` may run the file itself or in a child


def test_a_script_sees_the_agents_environment_and_not_ours(start: Any) -> None:
    os.environ["AWS_SECRET_ACCESS_KEY"] = "of-the-client"
    ssm = start(environment={"SITE": "ams1"})
    lines = ssm.run("env -0 | tr '\\n\\0' '_\\n'")["StandardOutputContent"].splitlines()
    seen = dict(line.partition("=")[::2] for line in lines)
    assert seen["AWS_SSM_INSTANCE_ID"] == ssm.fake.instance_ids[0]
    assert (seen["AWS_SSM_REGION_NAME"], seen["SITE"]) == ("us-east-1", "ams1")
    assert seen.keys() & {"HOME", "AWS_SECRET_ACCESS_KEY", "XDG_RUNTIME_DIR"} == set()
    assert Path(seen["TMPDIR"]).is_dir()


def test_a_working_directory_must_exist(ssm: Any, tmp_path: Path) -> None:
    where = {"commands": ["pwd"], "workingDirectory": [str(tmp_path)]}
    assert ssm.run(Parameters=where)["StandardOutputContent"] == f"{tmp_path}\n"
    where["workingDirectory"] = [str(tmp_path / "none")]
    answer = ssm.run(Parameters=where)
    assert (answer["Status"], answer["ResponseCode"]) == ("Failed", 1)
    assert "no such file or directory" in answer["StandardErrorContent"]


def test_stored_parameters_are_filled_in_and_other_braces_stay(start: Any) -> None:
    ssm = start(parameters={"/app/port": "8080"})
    answer = ssm.run("echo '{{ ssm:/app/port }} {{ssm:/app/port}} {{.Names}} {{ commands }}'")
    assert answer["StandardOutputContent"] == "8080 8080 {{.Names}} {{ commands }}\n"


@pytest.mark.parametrize(
    ("script", "code", "details", "stderr"),
    [
        ("exit 3", 3, "Failed", "failed to run commands: exit status 3"),
        ("kill -TERM 0", -1, "Failed", "failed to run commands: signal: terminated"),
        ("exit 137", 137, "ExecutionTimedOut", ""),
        ("echo e >&2; exit 168", 168, "Success", ""),
    ],
)
def test_exit_codes_mean_what_they_mean_to_the_agent(
    ssm: Any, script: str, code: int, details: str, stderr: str
) -> None:
    answer = ssm.run(script)
    assert (answer["ResponseCode"], answer["StatusDetails"]) == (code, details)
    assert answer["Status"] == ENDS[details]
    assert answer["StandardErrorContent"] == stderr


@pytest.mark.parametrize(("code", "verdict"), [(168, "succeeded"), (169, "Failed")])
def test_exit_codes_that_end_a_document_write_to_stdout(ssm: Any, code: int, verdict: str) -> None:
    answer = ssm.run(f"echo out; exit {code}")
    assert answer["StandardOutputContent"] == (
        f"out\n\nStep exited with code {code}. Therefore, marking step as {verdict}."
        " Further document steps will be skipped."
    )
    assert "Step" not in ssm.plugin(answer["CommandId"])["Output"]


def test_194_reboots_and_runs_the_script_again(ssm: Any, tmp_path: Path) -> None:
    (instance,) = ssm.fake.instance_ids
    assert ssm.fake.reboots(instance) == 0
    mark = tmp_path / "rebooted"
    answer = ssm.run(f"echo run; test -e {mark} || {{ touch {mark}; exit 194; }}")
    assert (answer["Status"], answer["StandardOutputContent"]) == ("Success", "run\nrun\n")
    assert ssm.fake.reboots(instance) == 1


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        (23_999, "x" * 23_999),
        (24_000, "x" * (24_000 - len(CUT)) + CUT.decode()),
        (300_000, "x" * (24_000 - len(CUT)) + CUT.decode()),
    ],
)
def test_stdout_is_cut_with_a_mark(ssm: Any, written: int, shown: str) -> None:
    answer = ssm.run(f"head -c {written} /dev/zero | tr '\\0' x")
    assert answer["StandardOutputContent"] == shown
    assert len(shown) <= 24_000


def test_stderr_is_cut_without_a_mark(ssm: Any) -> None:
    answer = ssm.run("head -c 9000 /dev/zero | tr '\\0' e >&2")
    assert answer["StandardErrorContent"] == "e" * 8_000


def test_bytes_that_are_no_text_are_replaced(ssm: Any) -> None:
    assert ssm.run("printf 'a\\377b'")["StandardOutputContent"] == "a\ufffdb"


ERROR = "\n----------ERROR-------\n"
OUT_CUT = "\n---Output truncated---"
ERROR_CUT = "\n---Error truncated----"


@pytest.mark.parametrize(
    ("stdout", "stderr", "shown"),
    [
        (10, 0, "o" * 10),
        (10, 10, "o" * 10 + ERROR + "e" * 10),
        (5000, 0, "o" * (2500 - len(OUT_CUT)) + OUT_CUT),
        (5000, 10, "o" * (2500 - len(ERROR) - len(OUT_CUT) - 10) + OUT_CUT + ERROR + "e" * 10),
        (10, 5000, "o" * 10 + ERROR + "e" * (2500 - len(ERROR + ERROR_CUT) - 10) + ERROR_CUT),
    ],
)
def test_a_listing_shows_both_streams_shortened(
    ssm: Any, stdout: int, stderr: int, shown: str
) -> None:
    command_id = ssm.send(
        f"head -c {stdout} /dev/zero | tr '\\0' o; head -c {stderr} /dev/zero | tr '\\0' e >&2"
    )
    ssm.done(command_id)
    assert ssm.plugin(command_id)["Output"] == shown


def test_when_both_streams_are_long_each_gets_half() -> None:
    output = combined(b"o" * 5000, b"e" * 5000)
    half = (2500 - len(ERROR + OUT_CUT + ERROR_CUT)) // 2
    assert output == "o" * half + OUT_CUT + ERROR + "e" * half + ERROR_CUT


# Starts a child in the group and one that leaves it, and notes the process ids of all three.
FAMILY = (
    "sleep 60 & echo $! >{0}/child; setsid sleep 60 >/dev/null 2>&1 & echo $! >{0}/stray;"
    " echo $$ >{0}/script; wait"
)


def family(directory: Path) -> dict[str, int] | None:
    """Return the processes of FAMILY once all are there and the stray one has left the group."""
    texts = {path.name: path.read_text() for path in directory.iterdir()}
    if len(texts) < 3 or not all(texts.values()):
        return None
    pids = {name: int(text) for name, text in texts.items()}
    return pids if os.getsid(pids["stray"]) == pids["stray"] else None


def test_a_cancel_kills_the_group_and_nothing_else(ssm: Any, tmp_path: Path, until: Any) -> None:
    command_id = ssm.send(FAMILY.format(tmp_path))
    pids = until(lambda: family(tmp_path))
    assert ssm.get(command_id)["ResponseCode"] == -1
    ssm.client.cancel_command(CommandId=command_id)
    answer = ssm.until(command_id, "Cancelled")
    assert (answer["Status"], answer["ResponseCode"]) == ("Cancelled", 137)
    assert answer["StandardErrorContent"] == ""
    assert ssm.command(command_id)["Status"] == "Cancelled"
    assert processes.wait_gone({pids["script"], pids["child"]}, 5) == set()
    assert processes.is_alive(pids["stray"])  # the fake's end finds it by its mark


def test_an_execution_timeout_kills_the_group(start: Any, tmp_path: Path) -> None:
    ssm = start(seconds_per_execution_second=0.1)
    answer = ssm.run(FAMILY.format(tmp_path), execution_s=10)
    assert (answer["Status"], answer["StatusDetails"]) == ("TimedOut", "ExecutionTimedOut")
    assert answer["ResponseCode"] == 137
    in_group = {int((tmp_path / name).read_text()) for name in ("script", "child")}
    assert processes.wait_gone(in_group, 5) == set()
    command = ssm.command(answer["CommandId"])
    assert (command["Status"], command["ErrorCount"]) == ("TimedOut", 1)


def test_a_background_process_that_holds_a_stream_keeps_the_command_going(
    ssm: Any, tmp_path: Path, until: Any
) -> None:
    (tmp_path / "pid").touch()
    command_id = ssm.send(f"echo out; setsid sleep 60 & echo $! $PPID $$ >{tmp_path}/pid")
    pid, *gone = until(
        lambda: [int(word) for word in (tmp_path / "pid").read_text().split()] or None
    )
    assert processes.wait_gone(set(gone) - {os.getpid()}, 5) == set()
    assert ssm.get(command_id)["Status"] == "InProgress"
    os.kill(pid, signal.SIGKILL)
    assert ssm.until(command_id, "Success")["StandardOutputContent"] == "out\n"


def test_a_timeout_with_nobody_left_in_the_group_is_a_failure(start: Any) -> None:
    ssm = start(seconds_per_execution_second=0.05)
    answer = ssm.run("setsid sleep 60 & exit 0", execution_s=20)
    assert (answer["Status"], answer["ResponseCode"]) == ("Failed", 1)
    assert answer["StandardErrorContent"] == "failed to run commands: no such process"


def test_the_end_of_the_fake_ends_everything(start: Any, tmp_path: Path, until: Any) -> None:
    ssm = start(3)
    for one in ssm.fake.instance_ids:
        (tmp_path / one).mkdir()
    ssm.send(FAMILY.format(f"{tmp_path}/$AWS_SSM_INSTANCE_ID"))
    places = [tmp_path / one for one in ssm.fake.instance_ids]
    pids = [pid for place in places for pid in until(functools.partial(family, place)).values()]
    ssm.fake.close()
    assert processes.wait_gone(pids, 0) == set()
