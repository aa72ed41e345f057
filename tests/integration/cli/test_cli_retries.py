"""``--retries``: what is started again, what the ledger says of it, and what ends it."""

from __future__ import annotations

import json
import signal
from typing import Any

import pytest

from lmm.testing import TcpProxy

from .conftest import success

# Fails the first two times; notes each start.
THIRD = """\
echo x >> {folder}/starts
if [ $(wc -l < {folder}/starts) -lt 3 ]; then
  echo '{{"error": {{"code": 3, "message": "not yet"}}}}'
  exit 3
fi
"""


@pytest.fixture
def flaky(rune: Any) -> Any:
    """``rune`` with an action that succeeds at its third start, and one that may be repeated."""
    rune.write("inventory.yaml", "targets: {here: {transport: local}}\n")
    script = THIRD.format(folder=rune.folder) + success({})
    rune.plugin("t.once", script)
    path = rune.plugin("t.again", script) / "plugin.json"
    manifest = json.loads(path.read_text())
    manifest["capabilities"][0]["retry_safe"] = True
    path.write_text(json.dumps(manifest))
    return rune


def starts(rune: Any) -> int:
    return len((rune.folder / "starts").read_text().splitlines())


@pytest.mark.parametrize(
    ("action", "retries", "code", "attempts"),
    [("t.again", 2, 0, 3), ("t.again", 1, 1, 2), ("t.again", 0, 1, 1), ("t.once", 2, 1, 1)],
)
def test_only_what_may_be_repeated_is(
    flaky: Any, action: str, retries: int, code: int, attempts: int
) -> None:
    options = ("--retries", str(retries), "--retry-wait", "0.01")
    done = flaky("run", action, "-t", "here", *options, "-o", "json")
    (result,) = done.document["results"]
    assert (done.code, result["attempt"], starts(flaky)) == (code, attempts, attempts)


def test_every_attempt_is_recorded(flaky: Any) -> None:
    flaky.write("rune.yaml", "retries: 2\nretry_wait_s: 0.01\n")
    assert flaky("run", "t.again", "-t", "here").code == 0
    events = flaky("runs", "events", "last", "-o", "json").document["events"]
    told = [(e["kind"], e["data"].get("attempt"), e["data"].get("outcome")) for e in events]
    assert told[1:-1] == [
        ("target.started", 1, None),
        ("target.retrying", 1, "failed"),
        ("target.started", 2, None),
        ("target.retrying", 2, "failed"),
        ("target.started", 3, None),
        ("target.finished", 3, "ok"),
    ]
    shown = flaky("runs", "show", "last", "-o", "json").document
    assert [(one["outcome"], one["attempt"]) for one in shown["results"]] == [("ok", 3)]


def test_a_host_that_comes_up_late_is_reached(rune: Any, sshd: Any) -> None:
    """Connections to it break until the run has given it up once, and then no more."""
    with TcpProxy("127.0.0.1", sshd.port, cut_down=10) as proxy:
        inventory = sshd.inventory(1).replace(f"port: {sshd.port}", f"port: {proxy.port}")
        hosts = f"[{rune.folder / 'known_hosts'}]\n    host_key_policy: accept-new"
        hosts += "\n    connect_attempts: 1"
        rune.write("inventory.yaml", inventory.replace(f"[{sshd.known_hosts}]", hosts))
        options = ("--retries", "5", "--retry-wait", "0.5", "-o", "ndjson")
        with rune.start("run", "noop", "-t", "all", *options) as running:
            assert running.stdout
            events = map(json.loads, running.stdout)
            given_up = next(event for event in events if event["kind"] == "target.retrying")
            assert given_up["data"]["outcome"] == "unreachable"
            proxy.cut_down = None
            *_, last, end = events
    assert end["data"]["status"] == "ok"
    assert last["data"]["attempt"] > given_up["data"]["attempt"]


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (("--retries", "-1"), "--retries"),
        (("--retry-wait", "0"), "--retry-wait"),
        (("--on-locked", "maybe"), "--on-locked"),
        (("--lock-timeout", "x"), "--lock-timeout"),
    ],
)
def test_values_that_are_none(flaky: Any, arguments: tuple[str, ...], field: str) -> None:
    refused = flaky("run", "t.once", *arguments)
    assert refused.code == 2
    assert field in refused.stderr


def test_a_signal_ends_the_wait_for_a_retry(flaky: Any) -> None:
    options = ("--retries", "5", "--retry-wait", "600", "-o", "ndjson")
    with flaky.start("run", "t.again", "-t", "here", *options) as running:
        assert running.stdout
        events = map(json.loads, running.stdout)
        next(event for event in events if event["kind"] == "target.retrying")
        running.send_signal(signal.SIGINT)
        *_, last, end = events
    assert running.returncode == 130
    assert (last["data"]["outcome"], last["data"]["attempt"]) == ("failed", 1)
    assert end["kind"] == "run.finished"
