"""``rune run`` as a dashboard starts it: stdout, exit codes, parameters."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest
import yaml

from lmm.contract import spec_validator
from tests.support.errors import reason


def test_a_run_on_this_machine_needs_nothing(rune: Any) -> None:
    done = rune("run", "noop", "-p", "greeting=hello", "-o", "json")
    assert (done.code, done.stderr) == (0, "")
    assert spec_validator("result_v1").violations(done.document) == []
    assert done.document["status"] == "ok"
    (result,) = done.document["results"]
    assert result["target"] == "local"
    assert result["output_data"] == {"greeting": "hello"}


def test_json_is_one_document_in_the_order_of_the_inventory(fleet: Any) -> None:
    done = fleet("run", "noop", "-t", "all", "-o", "json")
    assert done.text.count("\n") == 1
    assert [one["target"] for one in done.document["results"]] == ["web1", "web2", "db1"]
    assert done.document["summary"]["ok"] == 3


def test_ndjson_is_one_event_a_line_and_the_summary_last(fleet: Any) -> None:
    done = fleet("run", "noop", "-t", "web", "-o", "ndjson")
    events = [json.loads(line) for line in done.text.splitlines()]
    for event in events:
        assert spec_validator("event_v1").violations(event) == []
    assert [one["seq"] for one in events] == list(range(1, len(events) + 1))
    assert events[0]["kind"] == "run.started"
    assert events[-1]["kind"] == "run.finished"
    assert events[-1]["data"]["summary"]["ok"] == 2
    finished = [one for one in events if one["kind"] == "target.finished"]
    assert {one["target"] for one in finished} == {"web1", "web2"}


def test_yaml_and_csv_hold_the_same_results(fleet: Any) -> None:
    read = yaml.safe_load(fleet("run", "noop", "-t", "web", "-p", "n=1", "-o", "yaml").stdout)
    assert spec_validator("result_v1").violations(read) == []
    text = fleet("run", "noop", "-t", "web", "-p", "n=1", "-o", "csv").text
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [(row["target"], row["outcome"]) for row in rows] == [("web1", "ok"), ("web2", "ok")]
    assert {row["output_data.n"] for row in rows} == {"1"}


def test_a_table_in_a_pipe_is_plain(fleet: Any) -> None:
    done = fleet("run", "noop", "-t", "web", "-p", "greeting=hello")
    lines = done.text.splitlines()
    assert lines[0].split() == ["TARGET", "OUTCOME", "TIME", "DETAIL"]
    assert lines[1].startswith("web1    ok")
    assert lines[1].endswith("greeting=hello")
    assert "\x1b" not in done.text + done.stderr
    assert "\r" not in done.stderr
    assert done.stderr.startswith("2 targets: 2 ok")
    assert fleet("run", "noop", "-q").stderr == ""


@pytest.mark.parametrize(
    ("arguments", "code", "status"),
    [
        (["noop", "-t", "all"], 0, "ok"),
        (["t.broken", "-t", "all"], 1, "failed"),
        (["t.garbage", "-t", "all"], 5, "invalid_output"),
        (["host.exec", "-p", "command=sleep 30", "--timeout", "0.3"], 6, "timed_out"),
        (["t.mixed", "-t", "web"], 7, "partial"),
        (["noop", "-t", "root@127.0.0.1:1"], 4, "unreachable"),
    ],
)
def test_exit_codes_tell_cases_apart(
    fleet: Any, arguments: list[str], code: int, status: str
) -> None:
    fleet.plugin(
        "t.mixed",
        'if grep -q \'"target":"web1"\'; then echo \'{"payload": {"result": "success",'
        ' "output_data": {}}}\'; else exit 3; fi\n',
    )
    done = fleet("run", *arguments, "-o", "json")
    assert (done.code, done.document["status"]) == (code, status), done.text
    for result in done.document["results"]:
        assert result["error"] is None or not spec_validator("eps_v2").violations(result["error"])


def test_parameters_come_from_files_stdin_and_flags(rune: Any) -> None:
    rune.write("a.json", '{"a": 1, "b": {"c": "x"}}')
    rune.write("a.yaml", "a: 1\nb: {c: no}\n")

    def answer(*arguments: str, stdin: bytes | None = None) -> Any:
        done = rune("run", "noop", *arguments, "-o", "json", stdin=stdin)
        assert done.code == 0, done.stderr
        return done.document["results"][0]["output_data"]

    assert answer("--params", "a.json", "-p", "b.c=y") == {"a": 1, "b": {"c": "y"}}
    assert answer("--params", "a.yaml") == {"a": 1, "b": {"c": "no"}}
    assert answer("--params", "-", stdin=b'{"z": [true, null]}') == {"z": [True, None]}


def test_hostile_parameters_arrive_and_are_only_data(rune: Any) -> None:
    hostile = "$(touch owned) `touch owned` '; touch owned; \" \\ \t\n \u00e9 \U0001f600"
    done = rune("run", "noop", "-p", f"x={hostile}", "-o", "json")
    assert done.document["results"][0]["output_data"] == {"x": hostile}
    assert not list(rune.folder.rglob("owned"))


def test_a_local_plugin_gets_none_of_runes_environment(rune: Any) -> None:
    names = ["AWS_SECRET_ACCESS_KEY", "DATABASE_URL", "PYTHONPATH", "LD_LIBRARY_PATH"]
    given = dict.fromkeys(names, "hunter2")
    done = rune("run", "host.exec", "-p", "command=env", "--yes", "-o", "json", env=given)
    printed = done.document["results"][0]["output_data"]["stdout"]
    assert "HOME=" in printed
    assert "hunter2" not in printed
    assert not [line for line in printed.splitlines() if line.startswith(tuple(names))]


def test_secrets_come_by_reference_and_never_leave(rune: Any) -> None:
    script = 'read -r all; [[ $all == *hunter2* ]] && echo \'{"payload": {"result": "success",'
    rune.plugin("t.secret", script + ' "output_data": {"came": true}}}\'\n')
    rune.write("token", "hunter2\n")
    arguments = ["run", "t.secret", "-o", "json"]
    for reference in ("env:TOKEN", "file:token"):
        done = rune(*arguments, "--secret", f"token={reference}", env={"TOKEN": "hunter2"})
        assert done.code == 0, done.text
        assert done.document["results"][0]["output_data"] == {"came": True}
        assert "hunter2" not in done.text + done.stderr
    as_data = rune("run", "noop", "-p", "token=env:TOKEN", "-o", "json", env={"TOKEN": "hunter2"})
    assert as_data.document["results"][0]["output_data"] == {"token": "env:TOKEN"}
    planned = rune(*arguments, "--secret", "token=file:token", "--dry-run")
    assert planned.code == 0
    assert "hunter2" not in planned.text


def test_a_dry_run_touches_nothing_and_says_what_would_happen(fleet: Any) -> None:
    fleet.plugin("t.touch", f"touch {fleet.folder}/touched\n")
    done = fleet("run", "t.touch", "-t", "all", "--batch", "2", "--dry-run", "-o", "json")
    assert done.code == 0
    assert [one["target"] for one in done.document["targets"]] == ["web1", "web2", "db1"]
    assert done.document["batches"] == [2, 1]
    table = fleet("run", "t.touch", "-t", "all", "--dry-run").text
    assert table.splitlines()[0].split()[:3] == ["TARGET", "TRANSPORT", "PLUGIN"]
    assert not (fleet.folder / "touched").exists()


def test_options_reach_the_run(fleet: Any) -> None:
    big = fleet(
        "run",
        "host.exec",
        "-p",
        "command=head -c 5000 /dev/zero | tr '\\0' x",
        "--max-stdout",
        "1K",
        "-o",
        "json",
    )
    assert big.code == 5
    assert reason(big.document["results"][0]) == "output_too_large"
    capped = fleet(
        "run", "t.broken", "-t", "all", "--concurrency", "1", "--max-failures", "0", "-o", "json"
    )
    assert [one["outcome"] for one in capped.document["results"]] == [
        "failed",
        "skipped",
        "skipped",
    ]
    assert capped.code == 7


def test_become_without_a_user_does_not_swallow_the_action(fleet: Any) -> None:
    planned = fleet("run", "--become", "noop", "--dry-run", "-o", "json")
    assert planned.document["action"] == "noop"
    done = fleet(
        "run", "host.exec", "--become=nobody", "-p", "command=id -un", "-p", "cwd=/", "-o", "json"
    )
    (result,) = done.document["results"]
    assert result["outcome"] == "ok", result
    assert result["output_data"]["stdout"] == "nobody\n"


def test_settings_come_from_the_configuration(fleet: Any) -> None:
    fleet.write("rune.yaml", "output: json\ntimeout_s: 0.3\n")
    done = fleet("run", "host.exec", "-p", "command=sleep 30")
    assert done.code == 6
    assert done.document["status"] == "timed_out"


def test_a_real_host_over_ssh(rune: Any, sshd: Any) -> None:
    rune.write("inventory.yaml", sshd.inventory(3))
    done = rune("run", "host.info", "-t", "nodes", "-o", "json")
    assert done.code == 0, done.text + done.stderr
    assert len(done.document["results"]) == 3


@pytest.mark.parametrize("stream", ["stdout", "table"])
def test_hosts_cannot_steer_the_terminal(fleet: Any, stream: str) -> None:
    evil = "\x1b]0;owned\x07\x1b[2J\u202e\x9b31m"
    answer = {"payload": {"result": "success", "output_data": {"text": evil, evil: 1}}}
    fleet.plugin("t.evil", f"cat <<'END'\n{json.dumps(answer)}\nEND\n")
    output = "json" if stream == "stdout" else "table"
    done = fleet("run", "t.evil", "-t", "web", "-o", output)
    assert done.code == 0
    assert not set("\x1b\x07\x9b") & set(done.text + done.stderr)
    if stream == "table":
        assert "\u202e" not in done.text
    else:
        assert done.document["results"][0]["output_data"]["text"] == evil
