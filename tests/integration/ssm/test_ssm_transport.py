"""The ``ssm`` transport against an endpoint that runs scripts, and against what it may do wrong."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from lmm.model import Become, Limits, Outcome, SecretRef, SsmSettings, Target
from lmm.testing.aws import FakeAws, ServiceError
from tests.integration.ssm.conftest import OK, Fleet, text

Make = Callable[[FakeAws], Fleet]

READS = """
import json, os, sys
message = json.load(sys.stdin)
print(json.dumps({"payload": {"result": "success", "output_data": {
    "target": message["payload"]["context"]["target"],
    "instance": os.environ["AWS_SSM_INSTANCE_ID"],
}}}))
"""


def outcomes(fleet: Fleet, *args: object, **fields: object) -> list[tuple[str, str | None]]:
    results = fleet.run(*args, **fields)
    return [(str(r.outcome), None if r.ok else r.reason) for _, r in sorted(results.items())]


def test_one_command_for_all_and_each_gets_its_own_message(fleet_of: Make) -> None:
    with FakeAws(60) as account:
        results = fleet_of(account).run(READS, interpreter=("python3",))
        expected = {
            f"node{n + 1}": {"target": f"node{n + 1}", "instance": instance}
            for n, instance in enumerate(account.instance_ids)
        }
        assert {name: result.output_data for name, result in results.items()} == expected
        assert account.calls["SendCommand"] == 2
        assert not account.calls["GetCommandInvocation"]
        assert not any(account.reboots(instance) for instance in account.instance_ids)


def test_hybrid_nodes_and_two_targets_for_one_instance(fleet_of: Make) -> None:
    with FakeAws(1) as account:
        account.add_instance(hybrid=True)
        twice = [*account.instance_ids, *account.instance_ids]
        fleet = fleet_of(account)
        assert {r.outcome for r in fleet.run(instances=twice).values()} == {Outcome.OK}
        assert account.instance_ids[1].startswith("mi-")
        assert account.calls["SendCommand"] == 2


def test_regions_are_kept_apart(fleet_of: Make) -> None:
    with FakeAws(1) as account:
        there = account.add_instance(region="eu-west-1")
        fleet = fleet_of(account)
        here = fleet.invocations(instances=account.instance_ids[:1])
        away = fleet.invocations(instances=[there], ssm=SsmSettings(region="eu-west-1"))
        assert fleet.carry(here)["node1"].ok
        assert fleet.carry(away)["node1"].ok
        wrong = fleet.run(instances=[there])["node1"]
        assert (wrong.outcome, wrong.reason) == (Outcome.UNREACHABLE, "ssm_not_online")
        assert "NotManaged" in text(wrong)


@pytest.mark.parametrize("ping", ["ConnectionLost", "Inactive"])
def test_an_agent_that_is_not_online_is_sent_nothing(fleet_of: Make, ping: str) -> None:
    with FakeAws(1) as account:
        account.add_instance(ping=ping)
        results = fleet_of(account).run()
        assert results["node1"].ok
        assert (results["node2"].outcome, results["node2"].reason) == (
            Outcome.UNREACHABLE,
            "ssm_not_online",
        )
        assert ping in text(results["node2"])
        assert account.calls["SendCommand"] == 1


def test_what_the_inventory_has_just_seen_is_not_asked_again(fleet_of: Make) -> None:
    with FakeAws(2) as account:
        fleet = fleet_of(account)
        seen = fleet.invocations(seen="Online")
        assert all(result.ok for result in fleet.carry(seen).values())
        gone = fleet.invocations(seen="ConnectionLost")
        assert {r.reason for r in fleet.carry(gone).values()} == {"ssm_not_online"}
        assert account.calls["DescribeInstanceInformation"] == 0


def test_an_instance_that_is_gone_since_does_not_cost_the_others(fleet_of: Make) -> None:
    with FakeAws(5) as account:
        fleet = fleet_of(account)
        ids = [*account.instance_ids, "i-0aaaaaaaaaaaaaaaa"]
        results = fleet.run(instances=ids, seen="Online")
        assert [results[f"node{n}"].ok for n in range(1, 7)] == [True] * 5 + [False]
        assert results["node6"].reason == "ssm_not_online"


@pytest.mark.parametrize(
    ("end", "outcome", "expected"),
    [
        ("Undeliverable", Outcome.UNREACHABLE, "ssm_not_delivered"),
        ("Terminated", Outcome.UNREACHABLE, "ssm_not_delivered"),
        ("AccessDenied", Outcome.UNREACHABLE, "aws_denied"),
        ("InvalidPlatform", Outcome.FAILED, "bootstrap_failed"),
        ("DeliveryTimedOut", Outcome.UNREACHABLE, "ssm_not_delivered"),
        ("Cancelled", Outcome.CANCELLED, "cancelled"),
        ("ExecutionTimedOut", Outcome.TIMED_OUT, "timed_out"),
        ("Failed", Outcome.LOST, "ssm_unconfirmed"),
    ],
)
def test_every_end_without_an_answer(
    fleet_of: Make, end: str, outcome: Outcome, expected: str
) -> None:
    with FakeAws(1) as account:
        account.add_instance(end=end)
        results = fleet_of(account).run()
        assert results["node1"].ok
        assert (results["node2"].outcome, results["node2"].reason) == (outcome, expected)


def test_a_command_that_is_never_fetched_times_out_as_undelivered(fleet_of: Make) -> None:
    with FakeAws(1, delivery_delay_s=600, seconds_per_delivery_second=0.03) as account:
        result = fleet_of(account).one()
        assert (result.outcome, result.reason) == (Outcome.UNREACHABLE, "ssm_not_delivered")


def test_the_service_ends_what_the_host_cannot(fleet_of: Make, tmp_path: Path) -> None:
    """The host's own watch is stopped, so the agent's timeout strikes."""
    stopped = f"echo $PPID >{tmp_path}/shell; kill -STOP $PPID; sleep 60"
    with FakeAws(1, seconds_per_execution_second=0.1) as account:
        result = fleet_of(account).one(stopped, limits=Limits(timeout_s=20))
        os.kill(int((tmp_path / "shell").read_text()), signal.SIGCONT)
        assert (result.outcome, result.reason) == (Outcome.TIMED_OUT, "timed_out")


def test_a_plugin_that_asks_for_a_reboot_gets_none(fleet_of: Make) -> None:
    with FakeAws(1) as account:
        fail = """echo '{"error":{"code":194,"message":"x"}}'; exit 194"""
        result = fleet_of(account).one(fail)
        assert (result.outcome, result.exit_code) == (Outcome.FAILED, 194)
        assert account.reboots(account.instance_ids[0]) == 0


def test_one_failure_does_not_keep_the_others_from_starting(fleet_of: Make) -> None:
    script = f"""[[ $AWS_SSM_INSTANCE_ID == *1 ]] && exit 3\n{OK}"""
    with FakeAws(40) as account:
        results = fleet_of(account).run(script)
        failed = {n for n, r in results.items() if not r.ok}
        ends = {f"node{n + 1}" for n, i in enumerate(account.instance_ids) if i.endswith("1")}
        assert failed == ends


# -- a service that is slow, busy or losing things ---------------------------------------------


def test_throttling_is_waited_out(fleet_of: Make) -> None:
    with FakeAws(3) as account:
        for operation in ("SendCommand", "ListCommandInvocations", "DescribeInstanceInformation"):
            account.faults.throttle(operation, 2)
        assert {o for o, _ in outcomes(fleet_of(account))} == {"ok"}
        assert account.calls["SendCommand"] == 3


def test_eventual_consistency_is_waited_out(fleet_of: Make) -> None:
    with FakeAws(3, visible_after_s=2.0) as account:
        assert {o for o, _ in outcomes(fleet_of(account))} == {"ok"}


@pytest.mark.parametrize("visible_after_s", [0.0, 1.0])
def test_a_lost_answer_is_recovered_and_nothing_runs_twice(
    fleet_of: Make, tmp_path: Path, visible_after_s: float
) -> None:
    with FakeAws(3, visible_after_s=visible_after_s) as account:
        account.faults.lose_answers("SendCommand")
        count = f"echo x >>{tmp_path}/$AWS_SSM_INSTANCE_ID\n{OK}"
        assert {o for o, _ in outcomes(fleet_of(account), count)} == {"ok"}
        assert account.calls["SendCommand"] == 1
        assert {path.read_text() for path in tmp_path.iterdir()} == {"x\n"}


def test_a_server_fault_after_sending_is_recovered_too(fleet_of: Make) -> None:
    with FakeAws(2) as account:
        account.faults.fail("SendCommand", carried_out=True)
        assert {o for o, _ in outcomes(fleet_of(account))} == {"ok"}
        assert account.calls["SendCommand"] == 1


def test_a_request_that_may_have_been_carried_out_is_lost_not_sent_again(fleet_of: Make) -> None:
    with FakeAws(2) as account:
        account.faults.drop_requests("SendCommand")
        assert outcomes(fleet_of(account)) == [("lost", "ssm_unconfirmed")] * 2
        assert account.calls["SendCommand"] == 1


def test_an_output_that_is_not_visible_yet_is_asked_for_again(fleet_of: Make) -> None:
    noise = "$(head -c 3000 /dev/urandom | base64 -w0)"
    long = """printf '{"payload":{"result":"success","output_data":{"a":"%s"}}}' """ + noise
    with FakeAws(1) as account:
        unknown = ServiceError("InvocationDoesNotExist", "")
        account.faults.fail("GetCommandInvocation", unknown, times=2)
        assert fleet_of(account).one(long).ok
        assert account.calls["GetCommandInvocation"] == 3


def test_polls_that_fail_are_made_again(fleet_of: Make) -> None:
    with FakeAws(2) as account:
        account.faults.lose_answers("ListCommandInvocations", 3)
        account.faults.fail("ListCommandInvocations", times=2)
        assert {o for o, _ in outcomes(fleet_of(account))} == {"ok"}


@pytest.mark.parametrize(
    ("operation", "outcome", "expected"),
    [
        ("DescribeInstanceInformation", "unreachable", "aws_denied"),
        ("SendCommand", "unreachable", "aws_denied"),
        ("ListCommandInvocations", "lost", "ssm_unconfirmed"),
    ],
)
def test_denied_calls_say_which(
    fleet_of: Make, operation: str, outcome: str, expected: str
) -> None:
    with FakeAws(1) as account:
        account.faults.deny(operation)
        result = fleet_of(account).one()
        assert (str(result.outcome), result.reason) == (outcome, expected)
        assert operation in text(result)


def test_no_service_at_all(fleet_of: Make) -> None:
    with FakeAws(1) as account:
        fleet = fleet_of(account)
        todo = fleet.invocations()
    (result,) = fleet.carry(todo).values()
    assert (result.outcome, result.reason) == (Outcome.UNREACHABLE, "aws_unreachable")


# -- cancel --------------------------------------------------------------------------------------


def cancelling(fleet: Fleet, condition: Callable[[], bool]) -> threading.Thread:
    def watch() -> None:
        until = time.monotonic() + 20
        while not condition() and time.monotonic() < until:
            time.sleep(0.02)
        fleet.scope.cancel()

    thread = threading.Thread(target=watch)
    thread.start()
    return thread


def test_cancel_is_one_call_for_a_command(fleet_of: Make, tmp_path: Path) -> None:
    with FakeAws(10) as account:
        fleet = fleet_of(account)
        watcher = cancelling(fleet, lambda: len(list(tmp_path.iterdir())) == 10)
        found = outcomes(fleet, f"touch {tmp_path}/$AWS_SSM_INSTANCE_ID; sleep 60")
        watcher.join()
        assert found == [("cancelled", "cancelled")] * 10
        assert account.calls["CancelCommand"] == 1


def test_cancel_of_what_was_not_delivered(fleet_of: Make) -> None:
    with FakeAws(2, delivery_delay_s=60) as account:
        fleet = fleet_of(account)
        watcher = cancelling(fleet, lambda: account.calls["SendCommand"] > 0)
        found = outcomes(fleet)
        watcher.join()
        assert found == [("cancelled", "cancelled")] * 2


def test_cancel_that_the_service_refuses_is_lost(fleet_of: Make, tmp_path: Path) -> None:
    with FakeAws(1) as account:
        account.faults.deny("CancelCommand")
        fleet = fleet_of(account)
        watcher = cancelling(fleet, lambda: (tmp_path / "on").exists())
        found = outcomes(fleet, f"touch {tmp_path}/on; sleep 60", limits=Limits(timeout_s=3))
        watcher.join()
        assert found == [("lost", "ssm_unconfirmed")]


# -- what is refused before anything is sent -------------------------------------------------------


def test_what_cannot_be_carried_names_the_field(fleet_of: Make) -> None:
    with FakeAws(1) as account:
        fleet = fleet_of(account)
        (good,) = fleet.invocations()
        not_an_id = fleet.invocations(instances=["web1.example.org"])
        too_long = fleet.invocations(limits=Limits(timeout_s=200_000))
        secret = fleet.invocations(params={"token": "hunter2"}, write_only=frozenset({"/token"}))
        asks = Target("a", good.target.host, "ssm", become=Become(password=SecretRef("env:X")))
        for todo, expected, field in (
            (not_an_id, "inventory_invalid", "$.targets.node1.host"),
            (too_long, "invalid_request", "$.timeout_s"),
            (secret, "secret_needs_s3", "ssm.s3_bucket"),
            ([replace(good, target=asks)], "inventory_invalid", "become.password"),
        ):
            (result,) = fleet.carry(todo).values()
            assert result.reason == expected
            assert field in text(result)
            assert "hunter2" not in json.dumps(result.error)
        assert account.calls["SendCommand"] == 0
