"""What FakeAws takes and refuses: boto3's own requests, unmodified, against the service model."""

from __future__ import annotations

import http.client
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from botocore import UNSIGNED
from botocore.exceptions import ClientError

from lmm.testing.aws.document import MAX_BYTES

NOBODY = "0" * 8 + "-0000-0000-0000-" + "0" * 12
UNKNOWN = "i-0123456789abcdef0"


def refusal(call: Any, **request: Any) -> tuple[str, str, int]:
    """Return code, message and HTTP status of a request that must be refused."""
    with pytest.raises(ClientError) as caught:
        call(**request)
    answer: Any = caught.value.response
    assert answer["ResponseMetadata"]["RequestId"]
    return (
        answer["Error"]["Code"],
        answer["Error"]["Message"],
        answer["ResponseMetadata"]["HTTPStatusCode"],
    )


def sending(**change: Any) -> dict[str, Any]:
    request: dict[str, Any] = {
        "InstanceIds": ["i-00000000000000001"],
        "DocumentName": "AWS-RunShellScript",
        "Parameters": {"commands": ["true"]},
        **change,
    }
    return {name: value for name, value in request.items() if value is not None}


def parameters(**change: list[str]) -> dict[str, Any]:
    return sending(Parameters={"commands": ["true"], **change})


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (sending(Comment="c" * 101), "length less than or equal to 100"),
        (sending(TimeoutSeconds=2_592_001), "value less than or equal to 2592000"),
        (sending(InstanceIds=["web1"]), r"pattern: (^i-(\w{8}|\w{17})$)|(^mi-\w{17}$)"),
        (sending(InstanceIds=[UNKNOWN] * 51), "length less than or equal to 50"),
        (sending(MaxConcurrency="0"), "'maxConcurrency' failed to satisfy"),
        (sending(DocumentHashType="Md5"), "enum value set: [Sha256, Sha1]"),
        (sending(OutputS3KeyPrefix="p" * 501), "'outputS3KeyPrefix' failed to satisfy"),
        (sending(InstanceIds=None, Targets=[{"Key": "tag:{}", "Values": ["x"]}]), "targets.1"),
        (sending(InstanceIds=None), "either InstanceIds or Targets"),
        (sending(Targets=[{"Key": "InstanceIds", "Values": [UNKNOWN]}]), "either"),
    ],
)
def test_a_request_must_fit_the_service_model(ssm: Any, request_: Any, message: str) -> None:
    code, said, status = refusal(ssm.client.send_command, **request_)
    assert (code, status) == ("ValidationException", 400)
    assert message in said
    assert ssm.client.list_commands()["Commands"] == []


def test_every_broken_constraint_is_named(ssm: Any) -> None:
    request = sending(Comment="c" * 101, InstanceIds=["web1"])
    _, said, _ = refusal(ssm.client.send_command, **request)
    assert said.startswith("2 validation errors detected: ")
    assert "at 'comment'" in said
    assert "at 'instanceIds.1.member'" in said


@pytest.mark.parametrize(
    ("request_", "code", "message"),
    [
        (sending(DocumentName="AWS-RunPowerShellScript"), "InvalidDocument", "PowerShell"),
        (sending(DocumentVersion="7"), "InvalidDocumentVersion", ""),
        (sending(InstanceIds=[UNKNOWN]), "InvalidInstanceId", UNKNOWN),
        (sending(InstanceIds=["i-00000000000000001"] * 2), "DuplicateInstanceId", ""),
        (sending(Parameters={}), "InvalidParameters", "commands"),
        (sending(Parameters={"commands": []}), "InvalidParameters", "commands"),
        (parameters(shell=["bash"]), "InvalidParameters", "shell"),
        (parameters(executionTimeout=["4"]), "InvalidParameters", "'4'"),
        (parameters(executionTimeout=["172801"]), "InvalidParameters", "'172801'"),
        (parameters(executionTimeout=["1h"]), "InvalidParameters", "'1h'"),
        (parameters(executionTimeout=["60", "61"]), "InvalidParameters", "one value"),
        (parameters(workingDirectory=["/" * 4097]), "InvalidParameters", "4096"),
        (parameters(commands=["echo {{ ssm:none }}"]), "InvalidParameters", "none"),
        (parameters(commands=["x" * MAX_BYTES]), "MaxDocumentSizeExceeded", "64 KB"),
        (
            sending(InstanceIds=None, Targets=[{"Key": "resource-groups:Name", "Values": ["g"]}]),
            "InvalidTarget",
            "resource group",
        ),
    ],
)
def test_what_run_command_refuses(ssm: Any, request_: Any, code: str, message: str) -> None:
    refused, said, status = refusal(ssm.client.send_command, **request_)
    assert (refused, status) == (code, 400)
    assert message in said


def test_the_largest_document_passes(ssm: Any) -> None:
    around = MAX_BYTES - 400  # the rest of the document takes less
    assert ssm.run(": " + "x" * around)["Status"] == "Success"


@pytest.mark.parametrize(
    ("operation", "request_", "code"),
    [
        ("get_command_invocation", {"CommandId": NOBODY}, "InvocationDoesNotExist"),
        (
            "get_command_invocation",
            {"CommandId": NOBODY, "PluginName": "aws:none"},
            "InvalidPluginName",
        ),
        ("get_command_invocation", {"CommandId": "short"}, "ParamValidation"),
        ("cancel_command", {"CommandId": NOBODY}, "InvalidCommandId"),
        ("list_commands", {"NextToken": "what"}, "InvalidNextToken"),
        ("list_commands", {"MaxResults": 51}, "ValidationException"),
        ("list_commands", {"Filters": [{"key": "InvokedAfter", "value": "x"}]}, "InvalidFilterKey"),
        ("list_commands", {"Filters": [{"key": "Age", "value": "x"}]}, "ValidationException"),
        (
            "describe_instance_information",
            {"Filters": [{"Key": "Colour", "Values": ["red"]}]},
            "InvalidFilterKey",
        ),
        ("list_documents", {}, "UnknownOperationException"),
    ],
)
def test_what_the_other_operations_refuse(
    ssm: Any, clients: Any, operation: str, request_: Any, code: str
) -> None:
    client = clients(ssm.fake.endpoint_url, parameter_validation=False)
    if operation == "get_command_invocation":
        request_ = {"InstanceId": ssm.fake.instance_ids[0], **request_}
    expected = "ValidationException" if code == "ParamValidation" else code
    assert refusal(getattr(client, operation), **request_)[0] == expected


@pytest.mark.parametrize(
    ("body", "code"),
    [(b"{", "SerializationException"), (b"[]", "SerializationException"), (b"{}", None)],
)
def test_a_body_must_be_one_json_object(ssm: Any, body: bytes, code: str | None) -> None:
    scope = "AWS4-HMAC-SHA256 Credential=AKIATEST/20260101/us-east-1/ssm/aws4_request, Signature=0"
    headers = {"X-Amz-Target": "AmazonSSM.ListCommands", "Authorization": scope}
    connection = http.client.HTTPConnection(urlsplit(ssm.fake.endpoint_url).netloc)
    connection.request("POST", "/", body, headers)
    answer = connection.getresponse()
    document = json.loads(answer.read())
    connection.close()
    assert answer.getheader("x-amzn-ErrorType") == document.get("__type") == code
    assert answer.getheader("Content-Type") == "application/x-amz-json-1.1"


def test_a_request_must_be_signed(ssm: Any, clients: Any) -> None:
    client = clients(ssm.fake.endpoint_url, signature_version=UNSIGNED)
    code, _, status = refusal(client.list_commands)
    assert (code, status) == ("MissingAuthenticationToken", 403)


def test_regions_do_not_see_each_other(ssm: Any, clients: Any) -> None:
    abroad = ssm.fake.add_instance(region="eu-west-1")
    assert refusal(ssm.client.send_command, **sending(InstanceIds=[abroad]))[0] == (
        "InvalidInstanceId"
    )
    client = clients(ssm.fake.endpoint_url, region="eu-west-1")
    found = client.describe_instance_information()["InstanceInformationList"]
    assert [one["InstanceId"] for one in found] == [abroad]
    sent = client.send_command(**sending(InstanceIds=[abroad]))["Command"]["CommandId"]
    assert ssm.client.list_commands(CommandId=sent)["Commands"] == []
    assert refusal(ssm.client.cancel_command, CommandId=sent)[0] == "InvalidCommandId"
    script = "test $AWS_SSM_REGION_NAME = eu-west-1 && test $AWS_SSM_INSTANCE_ID = " + abroad
    done = client.send_command(**sending(InstanceIds=[abroad], Parameters={"commands": [script]}))[
        "Command"
    ]["CommandId"]
    client.get_waiter("command_executed").wait(
        CommandId=done, InstanceId=abroad, WaiterConfig={"Delay": 0.05, "MaxAttempts": 200}
    )


def test_pages_hold_everything_once_while_more_is_added(start: Any) -> None:
    ssm = start(7, page_size=3)
    ids = [ssm.send("true") for _ in range(4)]
    for command_id in ids:
        ssm.done(command_id)
    pages = ssm.client.get_paginator("list_command_invocations").paginate(
        PaginationConfig={"PageSize": 50}
    )
    seen = []
    for page in pages:
        assert len(page["CommandInvocations"]) <= 3
        seen += [(one["CommandId"], one["InstanceId"]) for one in page["CommandInvocations"]]
        ssm.send("true")  # the newest come first
    assert seen == [(one, i) for one in reversed(ids) for i in ssm.fake.instance_ids]

    listed = ssm.client.get_paginator("list_commands").paginate(PaginationConfig={"PageSize": 2})
    sizes = [len(page["Commands"]) for page in listed]
    assert set(sizes[:-1]) == {2}
    described = ssm.client.get_paginator("describe_instance_information").paginate()
    found = [one["InstanceId"] for page in described for one in page["InstanceInformationList"]]
    assert found == ssm.fake.instance_ids


def test_a_token_is_for_its_own_operation(start: Any) -> None:
    ssm = start(2, page_size=1)
    token = ssm.client.describe_instance_information()["NextToken"]
    assert refusal(ssm.client.list_commands, NextToken=token)[0] == "InvalidNextToken"


def test_commands_are_found_by_filters_and_arguments(start: Any) -> None:
    ssm = start(2)
    first, second = ssm.fake.instance_ids
    good = ssm.send("true", to=[first], Comment="good")
    ssm.done(good)
    between = datetime.now(UTC)
    bad = ssm.send("false", to=[second])
    ssm.done(bad)

    def commands(key: str = "DocumentName", value: str = "AWS-RunShellScript", **by: str) -> Any:
        answer = ssm.client.list_commands(Filters=[{"key": key, "value": value}], **by)
        return [one["CommandId"] for one in answer["Commands"]]

    assert commands() == [bad, good]
    assert commands("DocumentName", "AWS-Other") == []
    assert commands("Status", "Success") == [good]
    assert commands("Status", "Failed") == [bad]
    assert commands("ExecutionStage", "Complete") == [bad, good]
    assert commands("ExecutionStage", "Executing") == []
    assert commands("InvokedAfter", between.isoformat()) == [bad]
    assert commands("InvokedBefore", between.isoformat()) == [good]
    assert commands(InstanceId=first) == [good]
    invocations = ssm.client.list_command_invocations(InstanceId=second)["CommandInvocations"]
    assert [one["CommandId"] for one in invocations] == [bad]


def test_a_command_shows_what_it_was_sent_with(ssm: Any) -> None:
    before = datetime.now(UTC) - timedelta(seconds=1)
    command_id = ssm.send("true", Comment="run-1", TimeoutSeconds=60, execution_s=100)
    command = ssm.done(command_id)
    assert command["Comment"] == "run-1"
    assert command["InstanceIds"] == ssm.fake.instance_ids
    assert command["Parameters"]["commands"] == ["true"]
    assert before < command["RequestedDateTime"] < datetime.now(UTC)
    assert command["ExpiresAfter"] - command["RequestedDateTime"] == timedelta(seconds=160)
    assert (command["Status"], command["TargetCount"], command["ErrorCount"]) == ("Success", 1, 0)


def test_instances_are_described_and_filtered(ssm: Any) -> None:
    fake = ssm.fake
    hybrid = fake.add_instance(hybrid=True, tags={"Name": "rack1", "Role": "web"})
    windows = fake.add_instance(platform="Windows", ping="ConnectionLost")
    linux = fake.instance_ids[0]

    def found(**request: Any) -> Any:
        answer = ssm.client.describe_instance_information(**request)
        return [one["InstanceId"] for one in answer["InstanceInformationList"]]

    def having(key: str, *values: str) -> Any:
        return found(Filters=[{"Key": key, "Values": list(values)}])

    assert found() == [linux, hybrid, windows]
    assert having("PingStatus", "Online") == [linux, hybrid]
    assert having("PlatformTypes", "Windows") == [windows]
    assert having("ResourceType", "ManagedInstance") == [hybrid]
    assert having("InstanceIds", hybrid, windows) == [hybrid, windows]
    assert having("tag:Role", "gpu", "web") == [linux, hybrid]
    assert having("tag-key", "Name") == [linux, hybrid]
    assert found(
        InstanceInformationFilterList=[{"key": "PingStatus", "valueSet": ["ConnectionLost"]}]
    ) == [windows]
    (described,) = ssm.client.describe_instance_information(
        Filters=[{"Key": "InstanceIds", "Values": [hybrid]}]
    )["InstanceInformationList"]
    assert hybrid.startswith("mi-")
    assert (described["Name"], described["ResourceType"]) == ("rack1", "ManagedInstance")


@pytest.mark.parametrize(
    ("target", "reached"),
    [
        ({"Key": "tag:Role", "Values": ["gpu"]}, [0, 2]),
        ({"Key": "tag-key", "Values": ["Name"]}, [0, 1, 2]),
        ({"Key": "resource-groups:Name", "Values": ["webs"]}, [1]),
        ({"Key": "tag:Role", "Values": ["db"]}, []),
    ],
)
def test_targets_are_resolved_by_the_service(start: Any, target: Any, reached: list[int]) -> None:
    ssm = start(3)
    ssm.fake.add_group("webs", {"Role": "web"})
    command_id = ssm.send("true", Targets=[target])
    command = ssm.done(command_id)
    assert command["Status"] == "Success"
    assert command["StatusDetails"] == ("Success" if reached else "NoInstancesInTag")
    listed = ssm.client.list_command_invocations(CommandId=command_id)["CommandInvocations"]
    assert [one["InstanceId"] for one in listed] == [ssm.fake.instance_ids[i] for i in reached]


def test_resource_groups_have_members(start: Any, clients: Any) -> None:
    ssm = start(3, page_size=1)
    ssm.fake.add_group("gpus", {"Role": "gpu"})
    groups = clients(ssm.fake.endpoint_url, "resource-groups")
    pages = groups.get_paginator("list_group_resources").paginate(Group="gpus")
    arns = [one["Identifier"]["ResourceArn"] for page in pages for one in page["Resources"]]
    assert [arn.rpartition("/")[2] for arn in arns] == ssm.fake.instance_ids[::2]
    code, _, status = refusal(groups.list_group_resources, Group="none")
    assert (code, status) == ("NotFoundException", 404)
