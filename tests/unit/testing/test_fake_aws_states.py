"""What becomes of commands in FakeAws: delivery, its timeout, cancels, limits, visibility."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError


def test_an_unreachable_instance_lets_the_delivery_time_out(start: Any) -> None:
    ssm = start(seconds_per_delivery_second=0.01)
    gone = ssm.fake.add_instance(ping="ConnectionLost")
    command_id = ssm.send("true", TimeoutSeconds=30)
    pending = ssm.get(command_id, gone)
    assert (pending["Status"], pending["ResponseCode"]) == ("Pending", -1)
    assert pending["ExecutionStartDateTime"] == ""
    command = ssm.done(command_id)
    assert (command["Status"], command["StatusDetails"]) == ("TimedOut", "DeliveryTimedOut")
    assert (command["ErrorCount"], command["DeliveryTimedOutCount"]) == (0, 1)
    answer = ssm.get(command_id, gone)
    assert (answer["Status"], answer["StatusDetails"]) == ("TimedOut", "DeliveryTimedOut")
    assert ssm.get(command_id)["Status"] == "Success"


def test_with_a_total_timeout_a_command_waits_for_both(start: Any) -> None:
    ssm = start(0, seconds_per_delivery_second=0.01, seconds_per_execution_second=0.01)
    patient = start(
        0,
        seconds_per_delivery_second=0.01,
        seconds_per_execution_second=0.01,
        total_timeout=True,
    )
    for one in (ssm, patient):
        one.fake.add_instance(ping="ConnectionLost")
    waiting = patient.send("true", TimeoutSeconds=30, execution_s=3600)
    expiring = patient.send("true", TimeoutSeconds=60, execution_s=5)
    ssm.until(ssm.send("true", TimeoutSeconds=30, execution_s=3600), "DeliveryTimedOut")
    patient.until(expiring, "DeliveryTimedOut")
    assert patient.get(waiting)["Status"] == "Pending"


def test_a_command_is_delivered_when_the_instance_comes_back(start: Any) -> None:
    ssm = start(0)
    late = ssm.fake.add_instance(ping="ConnectionLost", delayed=True)
    command_id = ssm.send("echo here")
    assert ssm.until(command_id, "Delayed")["Status"] == "Delayed"
    assert ssm.command(command_id)["Status"] == "Pending"
    ssm.fake.set_ping(late, "Online")
    assert ssm.until(command_id, "Success")["StandardOutputContent"] == "here\n"


def test_an_instance_that_vanishes_while_it_runs_reports_when_it_is_back(
    start: Any, tmp_path: Any, until: Any
) -> None:
    ssm = start()
    (instance,) = ssm.fake.instance_ids
    command_id = ssm.send(f"touch {tmp_path}/started; until test -e {tmp_path}/go; do :; done")
    until(lambda: (tmp_path / "started").exists() or None)
    ssm.fake.set_ping(instance, "ConnectionLost")
    ssm.client.cancel_command(CommandId=command_id)  # cannot reach it
    (tmp_path / "go").touch()
    assert ssm.get(command_id)["Status"] == "Cancelling"
    ssm.fake.set_ping(instance, "Online")
    assert ssm.until(command_id, "Success", "Cancelled")["Status"] in ("Success", "Cancelled")


def test_an_instance_that_never_comes_back_leaves_a_delivery_timeout(
    start: Any, tmp_path: Any, until: Any
) -> None:
    ssm = start(seconds_per_delivery_second=0.01, seconds_per_execution_second=0.01)
    command_id = ssm.send(f"touch {tmp_path}/started; sleep 60", TimeoutSeconds=30, execution_s=100)
    until(lambda: (tmp_path / "started").exists() or None)
    ssm.fake.set_ping(ssm.fake.instance_ids[0], "ConnectionLost")
    assert ssm.get(command_id)["Status"] == "InProgress"
    answer = ssm.until(command_id, "DeliveryTimedOut")
    assert (answer["Status"], answer["ResponseCode"]) == ("TimedOut", -1)


@pytest.mark.parametrize(
    ("fate", "status"),
    [
        ({"end": "Undeliverable"}, "Failed"),
        ({"end": "AccessDenied"}, "Failed"),
        ({"end": "Terminated"}, "Cancelled"),
        ({"platform": "Windows"}, "Failed"),
    ],
)
def test_some_commands_end_without_having_run(start: Any, fate: Any, status: str) -> None:
    ssm = start(0)
    ssm.fake.add_instance(**fate)
    answer = ssm.run("echo ran")
    assert answer["StatusDetails"] == fate.get("end", "InvalidPlatform")
    assert (answer["Status"], answer["ResponseCode"]) == (status, -1)
    assert answer["StandardOutputContent"] == answer["ExecutionStartDateTime"] == ""
    assert (
        ssm.client.list_command_invocations(Details=True)["CommandInvocations"][0]["CommandPlugins"]
        == []
    )


@pytest.mark.parametrize("wrong", [{"end": "Gone"}, {"ping": "offline"}, {"platform": "linux"}])
def test_an_instance_has_only_states_that_there_are(ssm: Any, wrong: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="is none of"):
        ssm.fake.add_instance(**wrong)
    assert len(ssm.fake.instance_ids) == 1


def test_a_cancel_before_delivery_takes_effect_at_once(start: Any) -> None:
    ssm = start(2, delivery_delay_s=30)
    first, second = ssm.fake.instance_ids
    command_id = ssm.send("true")
    ssm.client.cancel_command(CommandId=command_id, InstanceIds=[first])
    answer = ssm.get(command_id, first)
    assert (answer["Status"], answer["ResponseCode"]) == ("Cancelled", -1)
    assert ssm.get(command_id, second)["Status"] == "Pending"
    with pytest.raises(ClientError, match="InvalidInstanceId"):
        ssm.client.cancel_command(CommandId=command_id, InstanceIds=["i-0123456789abcdef0"])
    ssm.client.cancel_command(CommandId=command_id)
    assert ssm.done(command_id)["Status"] == "Cancelled"


def test_a_cancel_takes_its_time_and_changes_no_end(start: Any) -> None:
    ssm = start(cancel_delay_s=0.2)
    command_id = ssm.send("sleep 60")
    ssm.until(command_id, "InProgress")
    ssm.client.cancel_command(CommandId=command_id)
    assert ssm.get(command_id)["StatusDetails"] == "Cancelling"
    assert ssm.command(command_id)["Status"] == "Cancelling"
    assert ssm.plugin(command_id)["Status"] == "InProgress"
    ssm.until(command_id, "Cancelled")
    done = ssm.run("true")
    ssm.client.cancel_command(CommandId=done["CommandId"])
    assert ssm.get(done["CommandId"])["Status"] == "Success"


@pytest.mark.parametrize(
    ("max_errors", "ends", "status"),
    [
        (None, ["Failed", "Terminated", "Terminated"], "Failed"),
        ("1", ["Failed", "Failed", "Terminated"], "Failed"),
        ("100%", ["Failed", "Failed", "Failed"], "Failed"),
    ],
)
def test_max_errors_ends_what_has_not_begun(
    start: Any, max_errors: str | None, ends: list[str], status: str
) -> None:
    ssm = start(3)
    limits = {"MaxErrors": max_errors} if max_errors else {}
    command_id = ssm.send("false", MaxConcurrency="1", **limits)
    command = ssm.done(command_id)
    listed = ssm.client.list_command_invocations(CommandId=command_id)["CommandInvocations"]
    assert [one["StatusDetails"] for one in listed] == ends
    assert (command["Status"], command["ErrorCount"]) == (status, ends.count("Failed"))


def test_max_concurrency_lets_so_many_run_at_once(start: Any, tmp_path: Any) -> None:
    ssm = start(4)
    script = (
        f"mkdir {tmp_path}/$AWS_SSM_INSTANCE_ID; ls {tmp_path} | wc -l; sleep 0.05;"
        f" rmdir {tmp_path}/$AWS_SSM_INSTANCE_ID"
    )
    command_id = ssm.send(script, MaxConcurrency="50%")
    ssm.done(command_id)
    seen = [ssm.get(command_id, one)["StandardOutputContent"] for one in ssm.fake.instance_ids]
    assert {int(text) for text in seen} <= {1, 2}


def test_commands_are_seen_some_time_after_they_were_sent(start: Any, until: Any) -> None:
    ssm = start(visible_after_s=2.0)
    command_id = ssm.send("true")
    with pytest.raises(ClientError, match="InvocationDoesNotExist"):
        ssm.get(command_id)
    assert ssm.client.list_commands()["Commands"] == []
    assert ssm.client.list_commands(CommandId=command_id)["Commands"] == []
    assert ssm.client.list_command_invocations(CommandId=command_id)["CommandInvocations"] == []
    until(lambda: ssm.client.list_commands(CommandId=command_id)["Commands"] or None)
    assert ssm.done(command_id)["Status"] == "Success"


def test_five_hundred_instances(start: Any) -> None:
    ssm = start(500, page_size=50)
    ids = ssm.fake.instance_ids
    commands = [
        ssm.send("echo $AWS_SSM_INSTANCE_ID", to=ids[i : i + 50]) for i in range(0, 500, 50)
    ]
    for command_id in commands:
        assert ssm.done(command_id)["Status"] == "Success"
    pages = ssm.client.get_paginator("list_command_invocations").paginate(Details=True)
    plugins = [
        (one["InstanceId"], one["CommandPlugins"][0]["Output"].strip())
        for page in pages
        for one in page["CommandInvocations"]
    ]
    assert sorted(plugins) == [(one, one) for one in sorted(ids)]
