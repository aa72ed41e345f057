"""`rune fleet`, `rune baseline` and `rune runs compare`, on runs of a plugin that measures."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from lmm.contract import spec_validator
from tests.support.errors import error_of

INVENTORY = 'targets:\n  "n[1-8]": {transport: local}\n'
# Each target's numbers stand in a file of its own, so that a test says what a host measures.
MEASURE = """\
target=$(sed 's/.*"target": *"\\([^"]*\\)".*/\\1/')
cat "$RUNE_PARAM_FOLDER/$target.json"
"""
FACTS = {"sku": "H200", "driver_version": "560.35"}


def output(value: float, **more: Any) -> dict[str, Any]:
    """Return what a host measured: samples close around a value."""
    samples = [value * (1 + 0.002 * step) for step in (-2, -1, 0, 1, 2)]
    gemm = {"name": "gemm", "value": value, "unit": "TFLOP/s", "better": "higher"}
    return {
        "metrics": [{**gemm, "samples": samples, "labels": {"gpu": "0"}}],
        "facts": FACTS,
        **more,
    }


@pytest.fixture
def bench(rune: Any, tmp_path: Path) -> Any:
    """Run the plugin: each target measures 600 or so, save those that are given otherwise."""
    rune.write("inventory.yaml", INVENTORY)
    rune.plugin("gpu.bench", MEASURE)

    def run(changed: dict[str, Any] | None = None, action: str = "gpu.bench") -> str:
        for number in range(1, 9):
            name = f"n{number}"
            data = (changed or {}).get(name, output(600 + number))
            answer = json.dumps({"payload": {"result": "success", "output_data": data}})
            rune.write(f"measured/{name}.json", answer)
        folder = f"folder={tmp_path / 'measured'}"
        done = rune("run", action, "-t", "all", "-p", folder, "-o", "json")
        assert done.code == 0, done.stderr
        return str(done.document["run_id"])

    run.rune = rune  # type: ignore[attr-defined]
    return run


def refused(done: Any, reason: str) -> str:
    assert done.code == 2, done.stderr
    error = error_of(done)
    assert error["data"]["reason"] == reason
    return str(error["message"])


def test_a_slow_host_is_told_in_every_format(bench: Any) -> None:
    bench({"n4": output(540), "n5": output(540, valid=False, invalid_reasons=["busy"])})
    rune = bench.rune
    done = rune("fleet", "report", "last", "-o", "json")
    assert (done.code, done.stderr) == (0, "")
    assert spec_validator("fleet_v1").violations(done.document) == []
    found = {one["target"]: one for one in done.document["hosts"]}
    assert done.document["summary"]["slow"] == done.document["summary"]["invalid"] == 1
    assert (found["n4"]["verdict"], found["n5"]["verdict"]) == ("slow", "invalid")
    table = rune("fleet", "report", "last")
    assert "n4      slow     high        gemm{gpu=0} 540 TFLOP/s is 10." in table.text
    assert "group 1: 7 hosts, driver_version 560.35, sku H200" in table.text
    assert "8 hosts: 1 slow, 6 ok, 1 invalid" in table.text
    rows = list(csv.DictReader(io.StringIO(rune("fleet", "report", "last", "-o", "csv").text)))
    assert len(rows) == 8
    assert rows[3]["verdict"] == rows[3]["metric_verdict"] == "slow"
    assert rows[3]["facts.sku"] == "H200"
    assert float(rows[3]["peers.worse_percent"]) > 10
    lines = rune("fleet", "report", "last", "-o", "ndjson").stdout.splitlines()
    assert [json.loads(line)["target"] for line in lines] == [f"n{i}" for i in range(1, 9)]


def test_the_page_is_written_beside_the_answer(bench: Any) -> None:
    bench({"n4": output(540)})
    rune = bench.rune
    done = rune("fleet", "report", "last", "--html", "report.html", "-o", "json")
    assert done.document["summary"]["slow"] == 1
    assert done.stderr == "wrote report.html\n"
    text = (rune.folder / "report.html").read_text()
    assert text.startswith("<!DOCTYPE html>")
    assert text.count("<img ") == 1
    assert "n4" in text
    message = refused(
        rune("fleet", "report", "last", "--html", "no/folder.html", "-o", "json"), "local_io_error"
    )
    assert message == "cannot write the report no/folder.html: No such file or directory"


def test_history_and_baseline_tell_a_fleet_that_slowed_down(bench: Any) -> None:
    rune = bench.rune
    bench()
    saved = rune("baseline", "save", "first", "last", "-o", "json")
    assert saved.code == 0
    assert spec_validator("fleet_v1").violations(saved.document) == []
    for _ in range(3):
        bench()
    slower = {f"n{number}": output(0.9 * (600 + number)) for number in range(1, 9)}
    bench(slower)
    plain = rune("fleet", "report", "last", "-o", "json").document
    assert plain["summary"]["drifted"] == 8
    assert "below the median of its own earlier runs" in plain["hosts"][0]["reason"]
    assert plain["hosts"][0]["metrics"][0]["history"]["runs"] == 4
    beside = rune("fleet", "report", "last", "--baseline", "first", "-o", "json").document
    assert beside["hosts"][0]["metrics"][0]["baseline"]["worse_percent"] > 9
    assert "below the baseline's" in beside["hosts"][0]["reason"]
    compared = rune("runs", "compare", "last", "first", "-o", "json").document
    assert compared["summary"]["worse"] == 8
    assert compared["with"]["baseline"] == "first"


def test_runs_are_compared_with_the_one_before_or_a_named_one(bench: Any) -> None:
    rune = bench.rune
    first = bench()
    refused(rune("runs", "compare", "last", "-o", "json"), "no_metrics")
    bench({"n2": output(500), "n3": output(700), "n4": {"metrics": []}})
    done = rune("runs", "compare", "last", "-o", "json")
    assert done.code == 0
    assert spec_validator("fleet_v1").violations(done.document) == []
    assert done.document["with"]["run_id"] == first
    found = {one["target"]: one["verdict"] for one in done.document["hosts"]}
    assert found == {
        **dict.fromkeys((f"n{i}" for i in range(1, 9)), "same"),
        "n2": "worse",
        "n3": "better",
        "n4": "missing",
    }
    table = rune("runs", "compare", first[:-2], "last").text
    assert "n2      better   gemm{gpu=0} +20.4 %, 500 to 602 TFLOP/s" in table
    assert "8 hosts: 1 worse, 1 better, 5 same, 1 missing" in table
    rows = list(csv.DictReader(io.StringIO(rune("runs", "compare", "last", "-o", "csv").text)))
    assert (rows[1]["target"], rows[1]["metric"], rows[1]["before"]) == ("n2", "gemm", "602.0")


def test_baselines_are_listed_shown_replaced_and_removed(bench: Any) -> None:
    rune = bench.rune
    assert rune("baseline", "list", "-o", "json").document == {"baselines": []}
    run = bench({"n4": output(600, facts={"sku": "H100"})})
    rune("baseline", "save", "first", run)
    listed = rune("baseline", "list", "-o", "json").document
    assert spec_validator("fleet_v1").violations(listed) == []
    [one] = listed["baselines"]
    assert (one["name"], one["run_id"], one["groups"], one["metrics"]) == ("first", run, 2, 2)
    shown = rune("baseline", "show", "first", "-o", "json").document
    assert [group["facts"]["sku"] for group in shown["groups"]] == ["H200", "H100"]
    assert shown["groups"][0]["metrics"][0]["hosts"] == 7
    assert "gemm{gpu=0}  605 TFLOP/s" in rune("baseline", "show", "first").text
    again = rune("baseline", "save", "first", run, "-o", "json")
    assert "already" in refused(again, "baseline_exists")
    assert rune("baseline", "save", "first", run, "--replace").code == 0
    assert rune("baseline", "remove", "first").text == "removed the baseline first\n"
    assert rune("baseline", "list", "-o", "json").document == {"baselines": []}


def test_few_hosts_are_said_to_be_few(bench: Any) -> None:
    rune = bench.rune
    bench({f"n{number}": {} for number in range(4, 9)})
    document = rune("fleet", "report", "last", "-o", "json").document
    assert document["summary"]["too_few"] == 3
    assert document["summary"]["no_data"] == 5
    assert "only 3 hosts to compare in its group" in document["hosts"][0]["reason"]
    assert "note: 3 hosts in 1 group of fewer than 5" in rune("fleet", "report", "last").text


def test_only_some_metrics(bench: Any) -> None:
    rune = bench.rune
    bench()
    assert rune("fleet", "report", "last", "--metric", "gemm").code == 0
    done = rune("fleet", "report", "last", "--metric", "gem", "-o", "json")
    assert "did you mean 'gemm'" in refused(done, "unknown_metric")


def test_what_is_not_there_is_named(bench: Any) -> None:
    rune = bench.rune
    report = ("fleet", "report", "last", "-o", "json")
    assert "has no runs" in refused(rune(*report), "unknown_run")
    rune("run", "noop", "-q")
    assert "measured anything" in refused(rune(*report), "no_metrics")
    refused(rune("baseline", "save", "first", "last", "-o", "json"), "no_metrics")
    bench({f"n{number}": {"valid": False} for number in range(1, 9)})
    assert rune(*report).document["summary"]["invalid"] == 8
    assert "no host gave a valid metric" in refused(
        rune("baseline", "save", "first", "last", "-o", "json"), "no_metrics"
    )
    bench()
    rune("baseline", "save", "first", "last")
    for arguments in (
        ("fleet", "report", "last", "--baseline"),
        ("baseline", "show"),
        ("baseline", "remove"),
    ):
        done = rune(*arguments, "frist", "-o", "json")
        assert "did you mean 'first'" in refused(done, "unknown_baseline")
    done = rune("runs", "compare", "last", "frist", "-o", "json")
    assert "nor a baseline of this name; did you mean 'first'" in refused(done, "unknown_run")
    done = rune("baseline", "save", "last", "last", "-o", "json")
    assert "name of a baseline" in refused(done, "invalid_request")


def test_other_actions_measure_other_things(bench: Any) -> None:
    rune = bench.rune
    rune.plugin("gpu.other", MEASURE)
    first = bench()
    rune("baseline", "save", "first", "last")
    bench(action="gpu.other")
    for arguments in (
        ("runs", "compare", "last", first),
        ("runs", "compare", "last", "first"),
        ("fleet", "report", "last", "--baseline", "first"),
    ):
        message = refused(rune(*arguments, "-o", "json"), "invalid_request")
        assert "is one of gpu.other" in message
        assert "one of gpu.bench" in message


@pytest.mark.parametrize("library", ["scipy", "numpy", "matplotlib"])
def test_without_the_libraries_one_error_says_what_to_install(bench: Any, library: str) -> None:
    """Python is told that there is none, as where the extra is not installed."""
    rune = bench.rune
    run = bench()
    rune.write("site/sitecustomize.py", f"import sys; sys.modules[{library!r}] = None\n")
    env = {"PYTHONPATH": f"{rune.folder / 'site'}:{Path(__file__).parents[3]}"}
    page = ["--html", "page.html"] if library == "matplotlib" else []
    done = rune("fleet", "report", run, "-o", "json", *page, env=env)
    message = refused(done, "extra_missing")
    assert f"needs {library}," in message
    assert "pip install 'rune-orchestrator[fleet]'" in message
    assert not (rune.folder / "page.html").exists()
    assert rune("run", "noop", env=env).code == 0
    assert rune("baseline", "list", env=env).code == 0
    assert rune("fleet", "report", run, env=env).code == (0 if page else 2)


def test_names_are_completed(bench: Any) -> None:
    rune = bench.rune
    bench()
    rune("baseline", "save", "first", "last")
    env = {
        "_RUNE_COMPLETE": "bash_complete",
        "COMP_WORDS": "rune baseline show f",
        "COMP_CWORD": "3",
    }
    assert rune(env=env).text == "plain,first\n"


def test_pruned_runs_leave_no_metrics_and_keep_baselines(bench: Any) -> None:
    rune = bench.rune
    bench()
    rune("baseline", "save", "first", "last")
    assert rune("runs", "prune", "--older-than", "0s").code == 0
    assert rune("runs", "list", "-o", "json").document == {"runs": []}
    bench()
    beside = rune("fleet", "report", "last", "--baseline", "first", "-o", "json").document
    assert beside["hosts"][0]["metrics"][0]["history"] is None
    assert beside["hosts"][0]["metrics"][0]["baseline"]["hosts"] == 8
