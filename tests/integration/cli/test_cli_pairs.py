"""net.iperf on pairs of hosts that RUNE chooses: real iperf3 between loopback addresses."""

from __future__ import annotations

from typing import Any

import pytest

from lmm.testing import processes
from tests.support.errors import error_of

RUN = ("run", "net.iperf", "-t", "all", "-p", "seconds=1", "-p", "disturb=true", "-o", "json")


@pytest.fixture
def hosts(rune: Any, sshd: Any) -> Any:
    rune.write("inventory.yaml", sshd.inventory(3))
    return rune


def test_each_target_is_once_a_client(hosts: Any) -> None:
    plan = hosts(*RUN, "--dry-run").document
    met = {row["target"]: row["peer"] for row in plan["targets"]}
    assert len(met) == 3
    assert set(met.values()) == set(met)
    assert plan["batches"] == [1, 1, 1]
    done = hosts(*RUN)
    assert done.code == 0, done.document
    for result in done.document["results"]:
        data = result["output_data"]
        assert data["facts"]["role"] == "client"
        assert {metric["name"] for metric in data["metrics"]} >= {"throughput"}
    assert not processes.marked({"RUNE_INVOCATION": None}) & {
        pid for pid in processes.all_pids() if "iperf3" in processes.describe(pid)
    }


def pair_of(hosts: Any, server: str, client: str) -> Any:
    """Run an action whose two ends are these scripts on the three hosts; return what it came to."""
    hosts.plugin("t.pair", f"[[ $RUNE_PARAM_ROLE == server ]] && {{ {server}; }}\n{client}\n")
    manifest = hosts.folder / "plugins/t-pair/plugin.json"
    manifest.write_text(manifest.read_text().replace('"risk"', '"pairs": true, "risk"'))
    return hosts("run", "t.pair", "-t", "all", "-o", "json")


def failing(message: str) -> str:
    return f'echo \'{{"error":{{"code":3,"message":"{message}"}}}}\'; exit 3'


def test_a_server_that_cannot_start_fails_its_client(hosts: Any) -> None:
    done = pair_of(hosts, failing("no port"), "sleep 30")
    assert (done.code, done.document["status"]) == (1, "failed")
    for result in done.document["results"]:
        error = error_of(result)
        assert error["data"]["reason"] == "pair_failed"
        assert "no port" in error["message"]


def test_a_client_that_fails_ends_its_server(hosts: Any) -> None:
    listening = """echo '##rune {"kind":"progress","percent":0}' >&2; sleep 300"""
    done = pair_of(hosts, listening, failing("gone"))
    assert (done.code, done.document["status"]) == (1, "failed")
    assert "gone" in error_of(done.document["results"][0])["message"]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("-t", "node001"), "runs on pairs of targets, and 1 was selected"),
        (("-t", "all", "--batch", "1"), "pairs are gone through in rounds"),
    ],
)
def test_what_no_pairs_can_be_made_of(hosts: Any, more: tuple[str, ...], words: str) -> None:
    done = hosts("run", "net.iperf", *more)
    assert (done.code, words in done.stderr) == (2, True)
