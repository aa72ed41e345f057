"""The faults of FakeAws, as boto3 meets them."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError, ReadTimeoutError

from lmm.testing.aws import ServiceError


def comments(ssm: Any) -> list[str]:
    return [one["Comment"] for one in ssm.client.list_commands()["Commands"]]


def test_throttled_calls_do_nothing(ssm: Any) -> None:
    ssm.fake.faults.throttle("SendCommand", 2)
    for _ in range(2):
        with pytest.raises(ClientError, match="Rate exceeded") as caught:
            ssm.send("true")
        error: Any = caught.value.response
        assert error["Error"]["Code"] == "ThrottlingException"
        assert error["ResponseMetadata"]["HTTPStatusCode"] == 400
    assert comments(ssm) == []
    ssm.send("true", Comment="third")
    assert comments(ssm) == ["third"]
    assert ssm.fake.calls["SendCommand"] == 3


def test_a_rate_allows_a_burst_and_then_throttles(ssm: Any) -> None:
    ssm.fake.faults.limit_rate("ListCommands", per_second=0.001, burst=3)
    for _ in range(3):
        ssm.client.list_commands()
    with pytest.raises(ClientError, match="ThrottlingException"):
        ssm.client.list_commands()
    ssm.client.describe_instance_information()


def test_botocore_itself_tries_again(ssm: Any, session: Any) -> None:
    ssm.fake.faults.throttle("ListCommands", 1)
    ssm.fake.faults.fail("ListCommands")
    client = session.client("ssm", region_name="us-east-1", endpoint_url=ssm.fake.endpoint_url)
    assert client.list_commands()["Commands"] == []
    client.close()
    assert ssm.fake.calls["ListCommands"] == 3


def test_a_lost_answer_leaves_a_command_that_can_be_found(ssm: Any) -> None:
    ssm.fake.faults.lose_answers("SendCommand")
    with pytest.raises(ConnectionClosedError):
        ssm.send("true", Comment="lost")
    assert comments(ssm) == ["lost"]


def test_a_dropped_request_leaves_nothing(ssm: Any) -> None:
    ssm.fake.faults.drop_requests("SendCommand")
    with pytest.raises(ConnectionClosedError):
        ssm.send("true")
    assert comments(ssm) == []
    assert ssm.fake.calls["SendCommand"] == 1


def test_an_answer_may_come_after_the_client_has_given_up(ssm: Any, clients: Any) -> None:
    ssm.fake.faults.delay_answers("SendCommand", 30)
    ssm.client = clients(ssm.fake.endpoint_url, read_timeout=0.2)
    with pytest.raises(ReadTimeoutError):
        ssm.send("true", Comment="late")
    assert comments(ssm) == ["late"]


@pytest.mark.parametrize("carried_out", [False, True])
def test_an_internal_error_may_come_before_or_after(ssm: Any, carried_out: bool) -> None:
    ssm.fake.faults.fail("SendCommand", carried_out=carried_out)
    with pytest.raises(ClientError, match="InternalServerError") as caught:
        ssm.send("true", Comment="broken")
    error: Any = caught.value.response
    assert error["ResponseMetadata"]["HTTPStatusCode"] == 500
    assert comments(ssm) == (["broken"] if carried_out else [])


def test_any_error_of_the_service_can_be_planned(ssm: Any) -> None:
    ssm.fake.faults.fail("SendCommand", ServiceError("UnsupportedPlatformType", "not for Linux"))
    with pytest.raises(ssm.client.exceptions.UnsupportedPlatformType, match="not for Linux"):
        ssm.send("true")


def test_faults_come_in_the_order_they_were_planned(ssm: Any) -> None:
    faults = ssm.fake.faults
    faults.throttle("SendCommand")
    faults.lose_answers("SendCommand")
    faults.fail("SendCommand")
    for expected in ("ThrottlingException", "Connection was closed", "InternalServerError"):
        with pytest.raises((ClientError, ConnectionClosedError), match=expected):
            ssm.send("true")
    ssm.send("true")


def test_operations_are_denied_to_a_key_or_to_all(ssm: Any, session: Any) -> None:
    ssm.fake.faults.deny("SendCommand", "AKIATEST")
    with pytest.raises(ClientError, match="AccessDeniedException") as caught:
        ssm.send("true")
    assert "not authorized to perform: ssm:SendCommand" in str(caught.value)
    other = session.client(
        "ssm",
        region_name="us-east-1",
        endpoint_url=ssm.fake.endpoint_url,
        aws_access_key_id="AKIAOTHER",
        aws_secret_access_key="secret",
    )
    other.send_command(
        InstanceIds=ssm.fake.instance_ids,
        DocumentName="AWS-RunShellScript",
        Parameters={"commands": ["true"]},
    )
    ssm.fake.faults.deny("ListCommands")
    with pytest.raises(ClientError, match="AccessDeniedException"):
        other.list_commands()
    other.close()
    ssm.fake.faults.allow("SendCommand", "AKIATEST")
    ssm.fake.faults.allow("ListCommands")
    assert ssm.send("true") in [one["CommandId"] for one in ssm.client.list_commands()["Commands"]]
