"""Planning is pure and refuses early; running gives one result per target and one document."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lmm.contract import spec_validator
from lmm.errors import PolicyDenied, RequestError
from lmm.model import SecretRef
from lom import Inventory, Orchestrator, RunOptions, Target
from lom.planning.options import count_of
from lom.planning.plan import split

ECHO = (
    'printf \'{"payload":{"result":"success","output_data":{"target":"%s"}}}\' '
    '"$(sed \'s/.*"target":"\\([^"]*\\)".*/\\1/\')"'
)


def plugin(folder: Path, name: str, script: str, **capability: Any) -> None:
    place = folder / name
    place.mkdir(parents=True)
    offer = {
        "action": f"test.{name}",
        "description": "a test",
        "input_schema": {"type": "object", "properties": {}, "additionalProperties": False},
        "output_schema": {"type": "object"},
        "risk": "read",
        **capability,
    }
    manifest = {
        "module_name": f"test-{name}",
        "module_version": "1.0.0",
        "description": "a test",
        "runtime": "bash",
        "entrypoint": "run.sh",
        "capabilities": [offer],
    }
    (place / "plugin.json").write_text(json.dumps(manifest))
    (place / "run.sh").write_text(script)


@pytest.fixture
def plugins(tmp_path: Path) -> Path:
    folder = tmp_path / "plugins"
    plugin(folder, "echo", ECHO)
    plugin(folder, "sleep", "sleep 60")
    plugin(folder, "fail", 'echo \'{"error":{"code":3,"message":"no","details":{}}}\'; exit 3')
    plugin(folder, "wipe", ECHO, risk="destructive")
    plugin(folder, "arm", ECHO, platforms=["linux/arm64"])
    secret = {"token": {"type": "string", "writeOnly": True}, "name": {"type": "string"}}
    plugin(folder, "login", ECHO, input_schema={"type": "object", "properties": secret})
    return folder


@pytest.fixture
def rune(plugins: Path) -> Iterator[Orchestrator]:
    targets = {
        name: Target(name, transport="local", vars={"platform": platform})
        for name, platform in (("a", "linux/x86_64"), ("b", "linux/arm64"), ("c", "linux/arm64"))
    }
    inventory = Inventory(targets=targets, groups={"arm": ("b", "c")})
    with Orchestrator(inventory, plugin_paths=[plugins]) as made:
        yield made


def reason_of(refusal: pytest.ExceptionInfo[Any]) -> str:
    return str(refusal.value.reason)


# -- planning ----------------------------------------------------------------------------------


def test_a_plan_says_what_would_happen(rune: Orchestrator) -> None:
    plan = rune.plan("test.arm", "all", options=RunOptions(batch="2", max_failures="50%"))
    document = json.loads(json.dumps(plan.document()))
    assert [(t["target"], t["plugin"]) for t in document["targets"]] == [
        ("a", None),
        ("b", "test-arm 1.0.0"),
        ("c", "test-arm 1.0.0"),
    ]
    assert "linux/x86_64" in document["targets"][0]["error"]
    assert document["batches"] == [2, 1]
    assert document["max_failures"] == 1
    assert spec_validator("rcs_v3").violations(document["request"]) == []


@pytest.mark.parametrize(
    ("action", "options", "reason", "words"),
    [
        ("test.ecko", {}, "unknown_action", "test.echo"),
        ("test.echo", {"targets": "nowhere"}, "unknown_target", "nowhere"),
        ("test.echo", {"targets": "a and b"}, "selector_empty", "a and b"),
        ("test.echo", {"targets": "a and"}, "selector_invalid", "a and"),
        ("test.echo", {"params": {"x": 1}}, "invalid_parameters", "x"),
        ("test.arm", {"targets": "a"}, "no_plugin_fits", "linux/arm64"),
        ("test.echo", {"options": RunOptions(concurrency=0)}, "invalid_request", "concurrency"),
        ("test.echo", {"options": RunOptions(timeout_s=-1)}, "invalid_request", "timeout_s"),
        ("test.echo", {"options": RunOptions(batch="x")}, "invalid_request", "batch"),
        ("test.echo", {"options": RunOptions(batch="0")}, "invalid_request", "batch"),
        ("test.echo", {"options": RunOptions(max_failures="101%")}, "invalid_request", "101%"),
        ("test.echo", {"options": RunOptions(transport="smoke")}, "invalid_request", "smoke"),
        (
            "test.login",
            {"secrets": {"token": SecretRef("env:NOT_SET_ANYWHERE")}},
            "secret_unavailable",
            "NOT_SET_ANYWHERE",
        ),
    ],
)
def test_refused_before_anything_is_touched(
    rune: Orchestrator, action: str, options: dict[str, Any], reason: str, words: str
) -> None:
    with pytest.raises(RequestError) as refusal:
        rune.plan(action, **options)
    assert reason_of(refusal) == reason
    assert words in refusal.value.message


def test_secrets_stand_in_no_plan(rune: Orchestrator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "hunter2")
    plan = rune.plan("test.login", params={"name": "x"}, secrets={"token": SecretRef("env:TOKEN")})
    assert plan.params == {"name": "x", "token": "hunter2"}
    assert "hunter2" not in json.dumps(plan.document())
    assert plan.secret_params == {"/token"}


@pytest.mark.parametrize(
    ("text", "total", "count"),
    [(None, 10, None), ("3", 10, 3), ("10%", 10, 1), ("25%", 10, 2), ("1%", 10, 1), ("0", 10, 0)],
)
def test_counts_and_shares(text: str | None, total: int, count: int | None) -> None:
    assert count_of(text, total, "batch") == count


@pytest.mark.parametrize(
    ("total", "size", "widths"), [(5, None, [5]), (5, "2", [2, 2, 1]), (10, "30%", [3, 3, 3, 1])]
)
def test_batches(total: int, size: str | None, widths: list[int]) -> None:
    found = split(total, size)
    assert [len(batch) for batch in found] == widths
    assert [index for batch in found for index in batch] == list(range(total))


# -- running -----------------------------------------------------------------------------------


def test_three_lines(rune: Orchestrator) -> None:
    found = {r.target: r.output_data for r in rune.run("test.echo", "all")}
    assert found == {name: {"target": name} for name in "abc"}


def test_the_document_follows_its_schema_and_the_plan(rune: Orchestrator) -> None:
    events: list[dict[str, Any]] = []
    run = rune.run("test.arm", ["c", "a", "b"], on_event=events.append)
    results = list(run)
    document = json.loads(json.dumps(run.document()))
    assert spec_validator("result_v1").violations(document) == []
    assert [r["target"] for r in document["results"]] == [s.target.name for s in run.plan.steps]
    assert len(results) == 3
    assert document["summary"]["ok"] == 2
    assert document["summary"]["skipped"] == 1
    assert (document["status"], run.exit_code) == ("partial", 7)
    assert [spec_validator("event_v1").violations(e) for e in events] == [[]] * len(events)
    assert [e["seq"] for e in events] == list(range(1, len(events) + 1))
    assert [events[0]["kind"], events[-1]["kind"]] == ["run.started", "run.finished"]
    assert sum(e["kind"] == "target.finished" for e in events) == 3


@pytest.mark.parametrize(
    ("action", "options", "status", "exit_code"),
    [
        ("test.echo", {}, "ok", 0),
        ("test.fail", {}, "failed", 1),
        ("test.sleep", {"timeout_s": 0.2}, "timed_out", 6),
        ("test.echo", {"max_stdout": 5}, "invalid_output", 5),
    ],
)
def test_status_and_exit_code(
    rune: Orchestrator, action: str, options: dict[str, Any], status: str, exit_code: int
) -> None:
    run = rune.run(action, "all", **options)
    list(run)
    assert (run.status, run.exit_code) == (status, exit_code)


def test_max_failures_stops_starting(rune: Orchestrator) -> None:
    run = rune.run("test.fail", "all", concurrency=1, max_failures="1")
    outcomes = [str(result.outcome) for result in run]
    assert outcomes == ["failed", "failed", "skipped"]
    assert run.exit_code == 7


def test_cancel(rune: Orchestrator) -> None:
    started = threading.Event()

    def on_event(event: dict[str, Any]) -> None:
        if event["kind"] == "target.started":
            started.set()

    run = rune.run("test.sleep", "all", on_event=on_event, concurrency=2)
    started.wait(10)
    run.cancel()
    results = list(run)
    assert {str(result.outcome) for result in results} == {"cancelled"}, [
        r.problem for r in results
    ]
    assert run.exit_code == 130


def test_leaving_the_run_cancels_it(rune: Orchestrator) -> None:
    with rune.run("test.sleep", "all") as run:
        pass
    assert {str(result.outcome) for result in run.results} == {"cancelled"}


def test_an_observer_that_breaks_cancels_the_run_and_is_heard(rune: Orchestrator) -> None:
    def on_event(event: dict[str, Any]) -> None:
        if event["kind"] == "target.started":
            raise BrokenPipeError

    run = rune.run("test.sleep", "all", on_event=on_event)
    with pytest.raises(BrokenPipeError):
        list(run)
    assert len(run.results) == 3


def test_destructive_actions_ask(rune: Orchestrator) -> None:
    with pytest.raises(PolicyDenied) as refusal:
        rune.run("test.wipe", "a")
    assert reason_of(refusal) == "confirmation_required"
    with pytest.raises(PolicyDenied) as refusal:
        rune.run("test.wipe", "a", confirm=lambda question: False)
    assert reason_of(refusal) == "policy_denied"
    assert [r.ok for r in rune.run("test.wipe", "a", confirm=lambda question: True)] == [True]
    assert [r.ok for r in rune.run("test.wipe", "a", yes=True)] == [True]


def test_a_plugin_that_vanished_is_told(rune: Orchestrator, plugins: Path) -> None:
    plan = rune.plan("test.echo", "a")
    (plugins / "echo" / "run.sh").unlink()
    with pytest.raises(RequestError) as refusal:
        rune.start(plan)
    assert reason_of(refusal) == "local_io_error"


def test_no_targets_means_this_machine(rune: Orchestrator) -> None:
    assert [r.target for r in rune.run("test.echo")] == ["local"]
