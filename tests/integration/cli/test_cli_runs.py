"""`rune runs`: what was recorded is what was printed, and can be followed, cancelled, repeated."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from lmm.contract import spec_validator
from lom.ledger.sqlite.reader import SqliteReader
from tests.support.errors import error_of, reason
from tests.support.waiting import until

from .conftest import success


def ledger_of(home: str | None = None) -> Path:
    return Path(home or os.environ["HOME"], ".local", "state", "rune", "ledger.sqlite")


def lines(data: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in data.splitlines()]


def last_status(fleet: Any) -> str | None:
    found = fleet("runs", "list", "-o", "json").document["runs"]
    return str(found[0]["status"]) if found else None


def test_show_prints_the_document_that_run_printed(fleet: Any) -> None:
    assert fleet("runs", "list", "-o", "json").document == {"runs": []}
    fleet.plugin("odd", 'printf \'{"error":{"code":3,"message":"né","details":{}}}\'; exit 3')
    for arguments in (["noop", "-t", "all", "-p", "a=\u2028"], ["odd", "-t", "web"]):
        for output in ("json", "yaml", "csv"):
            printed = fleet("run", *arguments, "-o", output)
            shown = fleet("runs", "show", "last", "-o", output)
            assert shown.stdout == printed.stdout
            assert shown.code == 0
    table = fleet("runs", "show", "last").text
    assert "odd  failed" in table
    assert "web1" in table
    listed = fleet("runs", "list", "-o", "json", "--limit", "3").document
    assert spec_validator("runs_v1").violations(listed) == []
    assert [one["status"] for one in listed["runs"]] == ["failed"] * 3
    assert [one["exit_code"] for one in listed["runs"]] == [1] * 3
    assert len(fleet("runs", "list", "--action", "noop", "-o", "ndjson").stdout.splitlines()) == 3
    assert fleet("runs", "list", "--status", "partial", "-o", "json").document == {"runs": []}


def test_events_are_those_that_were_streamed(fleet: Any) -> None:
    fleet.plugin(
        "talk",
        'echo a line >&2; echo \'##rune {"kind":"progress","percent":4}\' >&2\n' + success({}),
    )
    streamed = fleet("run", "talk", "-t", "all", "-o", "ndjson").stdout
    assert fleet("runs", "events", "last").stdout == streamed
    assert (
        fleet("runs", "events", "last", "--follow", "--from-seq", "4").stdout.splitlines()
        == (streamed.splitlines()[3:])
    )
    document = fleet("runs", "events", "last", "-o", "json").document
    assert document["events"] == lines(streamed)
    refused = fleet("runs", "events", "last", "--follow", "-o", "json")
    assert (refused.code, reason(refused)) == (
        2,
        "invalid_usage",
    )


def test_a_live_run_is_followed_and_cancelled_from_other_processes(
    fleet: Any, tmp_path: Path
) -> None:
    fleet.plugin("wait", f"echo up >&2; touch {tmp_path}/up; sleep 60")
    with fleet.start("run", "wait", "-o", "ndjson") as running:
        until((tmp_path / "up").exists)
        assert fleet("runs", "list", "--status", "running", "-o", "json").document["runs"]
        shown = fleet("runs", "show", "last", "-o", "json").document
        assert shown["started"] == ["local"]
        assert spec_validator("runs_v1").violations(shown) == []
        refused = fleet("runs", "rerun", "last")
        assert (refused.code, "wait for it" in refused.stderr) == (2, True)
        with fleet.start("runs", "events", "last", "--follow") as following:
            cancelled = fleet("runs", "cancel", "last", "-o", "json")
            assert cancelled.document["cancel_requested"] is True
            streamed, _ = running.communicate(timeout=30)
            followed, _ = following.communicate(timeout=30)
    assert running.returncode == 130
    assert following.returncode == 0
    assert followed == streamed
    assert last_status(fleet) == "cancelled"
    again = fleet("runs", "cancel", "last", "-o", "json")
    assert again.code == 2
    assert reason(again) == "run_not_running"


def test_following_a_run_whose_process_dies_says_so(fleet: Any, tmp_path: Path) -> None:
    fleet.plugin("wait", f"touch {tmp_path}/up; sleep 60")
    with fleet.start("run", "wait") as running:
        until((tmp_path / "up").exists)
        with fleet.start("runs", "events", "last", "--follow") as following:
            assert following.stdout
            following.stdout.readline()
            running.kill()
            told, said = following.communicate(timeout=30)
        running.communicate()
    assert following.returncode == 8
    assert b"has ended without finishing it" in said
    assert last_status(fleet) == "interrupted"
    with fleet.start("runs", "events", "last", "--follow", "-o", "ndjson") as following:
        told, _ = following.communicate(timeout=30)
    error = error_of(lines(told)[-1])
    assert error["data"]["reason"] == "run_interrupted"
    assert error["data"]["last_seq"] == lines(told)[-2]["seq"]
    shown = fleet("runs", "show", "last")
    assert "started, and nobody knows how it ended: local" in shown.text


def test_rerun_takes_the_targets_that_are_asked_for(fleet: Any, tmp_path: Path) -> None:
    failure = '{"error":{"code":3,"message":"no","details":{}}}'
    fleet.plugin(
        "half",
        'test "$RUNE_PARAM_NAME" = x || exit 9\n'
        "case $(cat) in *web1*)\n"
        f"[ -e {tmp_path}/mended ] || {{ echo '{failure}'; exit 3; }};; esac\n" + success({}),
        input_schema={"type": "object", "properties": {"name": {"type": "string"}}},
    )
    first = fleet("run", "half", "-t", "all", "-p", "name=x", "--timeout", "7", "-o", "json")
    assert first.code == 7
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    plan = fleet("runs", "rerun", "last", "--only", "failed", "--dry-run", "-o", "json").document
    assert [(one["target"], one["timeout_s"]) for one in plan["targets"]] == [("web1", 7)]
    assert plan["request"]["payload"]["data"]["context"] == {"rerun_of": first.document["run_id"]}
    (tmp_path / "mended").touch()
    again = fleet("runs", "rerun", "last", "--only", "failed", "-o", "json")
    assert again.code == 0
    assert [one["target"] for one in again.document["results"]] == ["web1"]
    assert again.document["run_id"] != first.document["run_id"]
    nothing = fleet("runs", "rerun", first.document["run_id"], "--only", "lost")
    assert (nothing.code, "is lost" in nothing.stderr) == (2, True)
    everything = fleet("runs", "rerun", first.document["run_id"], "-o", "json").document
    assert [one["target"] for one in everything["results"]] == ["web1", "web2", "db1"]


def test_rerun_finds_the_inventory_that_the_run_had(fleet: Any) -> None:
    fleet.write("else/hosts.yaml", "targets: {far: {transport: local}}\n")
    assert fleet("run", "noop", "-i", "else/hosts.yaml", "-t", "far").code == 0
    again = fleet("runs", "rerun", "last", "-o", "json", env={"RUNE_INVENTORY": "inventory.yaml"})
    assert [one["target"] for one in again.document["results"]] == ["far"]


def test_secrets_reach_no_byte_of_the_ledger(fleet: Any) -> None:
    secret = 'pa"ss/wo rd+é'
    spellings = {
        secret.encode(),
        json.dumps(secret)[1:-1].encode(),
        json.dumps(secret, ensure_ascii=False)[1:-1].encode(),
        base64.b64encode(secret.encode()),
        quote(secret, safe="").encode(),
    }
    fleet.write("secret", secret + "\n")
    echo = (
        "import base64, json, sys\nfrom urllib.parse import quote\n"
        "secret = json.load(sys.stdin)['payload']['input_parameters']['auth']['token']\n"
        "told = [secret, json.dumps(secret), base64.b64encode(secret.encode()).decode(),"
        " quote(secret, safe='')]\n"
        "for text in told:\n"
        "    print(text, file=sys.stderr)\n"
        "    print('##rune ' + json.dumps({'kind': 'log', 'message': text}), file=sys.stderr)\n"
        "kind = sys.argv[0].rsplit('/', 1)[-1]\n"
        "if 'fail' in kind:\n"
        "    print(json.dumps({'error': {'code': 3, 'message': secret, 'details': {'x': told}}}))\n"
        "    sys.exit(3)\n"
        "print(json.dumps({'payload': {'result': 'success', 'output_data': {'x': told}}}))\n"
    )
    for action in ("leak.ok", "leak.fail"):
        folder = fleet.plugin(action, "")
        manifest = json.loads((folder / "plugin.json").read_text())
        manifest |= {"runtime": "python3", "entrypoint": f"{action}.py"}
        (folder / "plugin.json").write_text(json.dumps(manifest))
        (folder / f"{action}.py").write_text(echo)
    fleet("run", "noop")
    with closing(SqliteReader(ledger_of())) as holding:  # so that the -wal file stays
        for action, outcome in (("leak.ok", "ok"), ("leak.fail", "failed")):
            ran = fleet("run", action, "--secret", "auth.token=file:secret", "-o", "json")
            assert [one["outcome"] for one in ran.document["results"]] == [outcome]
            assert "********" in ran.text
        assert len(holding.runs()) == 3
        files = {one.name: one.read_bytes() for one in ledger_of().parent.iterdir()}
    assert files["ledger.sqlite-wal"]
    found = [(name, text) for name, data in files.items() for text in spellings if text in data]
    assert found == []
    assert b"********" in files["ledger.sqlite-wal"]
    refused = fleet("runs", "rerun", "last", "-o", "json")
    assert (refused.code, "--secret auth.token=env:NAME" in refused.stderr) == (2, True)
    again = fleet("runs", "rerun", "last", "--secret", "auth.token=file:secret", "-o", "json")
    assert again.code == 1
    assert "plugin_failed" in again.text


def test_prune_by_age(fleet: Any) -> None:
    fleet("run", "noop")
    assert fleet("runs", "prune", "--older-than", "1d", "-o", "json").document == {"pruned": []}
    pruned = fleet("runs", "prune", "--older-than", "0s", "-o", "json").document["pruned"]
    assert len(pruned) == 1
    assert last_status(fleet) is None
    assert fleet("runs", "prune", "--older-than", "soon").code == 2


@pytest.mark.parametrize(
    ("arguments", "env", "config"),
    [
        (["--no-ledger"], {}, ""),
        ([], {}, "ledger: false\n"),
    ],
)
def test_a_run_without_a_ledger_leaves_nothing(
    fleet: Any, arguments: list[str], env: dict[str, str], config: str
) -> None:
    fleet.write("rune.yaml", config)
    env = {name: value.format(cwd=fleet.folder) for name, value in env.items()}
    assert fleet("run", "noop", *arguments, env=env).code == 0
    assert not ledger_of().exists()


@pytest.mark.parametrize(
    ("arguments", "env", "config", "place"),
    [
        (["--state-dir", "by-flag"], {"RUNE_STATE_DIR": "by-env"}, "", "by-flag"),
        ([], {"RUNE_STATE_DIR": "by-env"}, "state_dir: by-file\n", "by-env"),
        ([], {}, "state_dir: by-file\n", "by-file"),
        ([], {"XDG_STATE_HOME": "{cwd}/xdg"}, "", "xdg/rune"),
    ],
)
def test_where_the_ledger_is(
    fleet: Any, arguments: list[str], env: dict[str, str], config: str, place: str
) -> None:
    fleet.write("rune.yaml", config)
    env = {name: value.format(cwd=fleet.folder) for name, value in env.items()}
    assert fleet("run", "noop", *arguments, env=env).code == 0
    assert (fleet.folder / place / "ledger.sqlite").is_file()
    assert len(fleet("runs", "list", *arguments, "-o", "json", env=env).document["runs"]) == 1


def test_a_ledger_that_cannot_be_used_stops_the_run_before_it_starts(
    fleet: Any, tmp_path: Path
) -> None:
    fleet.plugin("mark", f"touch {tmp_path}/ran\n" + success({}))
    ledger_of().parent.mkdir(parents=True)
    ledger_of().write_bytes(b"something else" * 1000)
    refused = fleet("run", "mark", "-o", "json")
    assert refused.code == 2
    assert reason(refused) == "ledger_corrupt"
    assert "--no-ledger" in refused.stderr
    assert not (tmp_path / "ran").exists()
    assert ledger_of().read_bytes() == b"something else" * 1000
    assert fleet("run", "mark", "--no-ledger").code == 0
    assert fleet("runs", "list").code == 2


def limited(fleet: Any, kib: int, *arguments: str) -> Any:
    """Run ``rune`` where no file may grow beyond ``kib`` KiB: to SQLite the disk is full."""
    import resource

    size = kib * 1024
    return fleet(
        *arguments,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)),
    )


def test_a_full_disk_before_the_start(fleet: Any, tmp_path: Path) -> None:
    fleet.plugin("mark", f": > {tmp_path}/ran\n" + success({}))
    refused = limited(fleet, 8, "run", "mark", "-o", "json")
    assert refused.code == 2
    assert reason(refused) == "ledger_unavailable"
    assert not (tmp_path / "ran").exists()


def test_a_full_disk_in_the_middle_loses_nothing_of_the_answer(fleet: Any) -> None:
    fleet.plugin("big", success({"text": "x" * 60_000}))
    done = limited(fleet, 256, "run", "big", "-t", "all", "--batch", "1", "-o", "ndjson")
    events = lines(done.stdout)
    assert done.code == 0
    assert [e["seq"] for e in events] == [*range(1, 9)]
    assert all(
        len(e["data"]["output_data"]["text"]) == 60_000
        for e in events
        if e["kind"] == "target.finished"
    )
    assert "warning: the ledger's record of the run" in done.stderr
    assert "is incomplete" in done.stderr


def test_the_shell_completes_run_ids(fleet: Any) -> None:
    fleet("run", "noop")
    run_id = fleet("runs", "list", "-o", "json").document["runs"][0]["run_id"]
    done = fleet(
        env={
            "_RUNE_COMPLETE": "bash_complete",
            "COMP_WORDS": f"rune runs show {run_id[:4]}",
            "COMP_CWORD": "3",
        }
    )
    assert done.text.split() == [f"plain,{run_id}"]


def test_reading_works_while_a_run_writes(fleet: Any) -> None:
    fleet.plugin("chat", "for i in $(seq 300); do echo $i >&2; done\n" + success({}))
    with fleet.start("run", "chat", "-t", "all", stdout=subprocess.DEVNULL) as running:
        while running.poll() is None:
            assert fleet("runs", "list", "-o", "json").code == 0
        running.communicate()
    assert len(lines(fleet("runs", "events", "last").stdout)) == 3 * 302 + 2


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (["--help"], False),
        (["runs", "--help"], False),
        (["config", "show"], False),
        (["run", "noop", "--no-ledger"], False),
        (["run", "noop"], True),
    ],
)
def test_sqlite_is_imported_only_where_it_is_used(
    fleet: Any, arguments: list[str], wanted: bool
) -> None:
    probe = (
        "import sys\nfrom lom.cli import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit:\n"
        "    print('sqlite3' in sys.modules, file=sys.stderr)\n"
    )
    assert fleet.python(probe, *arguments).stderr.split()[-1] == str(wanted)
