"""Finding instances over boto3, unmodified, in an account of EC2 and Systems Manager."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lmm.aws.discovery import FoundInstance, Query, discover
from lmm.aws.session import AwsAccount
from lmm.errors import RuneError
from lmm.testing.aws.errors import ServiceError

EAST, WEST = AwsAccount("us-east-1"), AwsAccount("eu-west-1")
GPU = {"tag:Role": ["gpu"]}


def found(query: Query) -> dict[str, FoundInstance]:
    (answer,) = discover([query])
    assert isinstance(answer, list), answer
    return {one.instance_id: one for one in answer}


def test_ec2_instances_with_all_that_is_known(as_fleet: Any) -> None:
    instances = found(Query("ec2", EAST, {}))
    assert as_fleet.names([*instances]) == {"node1", "node2", "twin1", "twin2", "bare"}
    node = instances[as_fleet.ids["node1"]]
    described = as_fleet.aws.cloud.client("ec2", "us-east-1").describe_instances(
        InstanceIds=[node.instance_id]
    )["Reservations"][0]
    (known,) = described["Instances"]
    assert node == FoundInstance(
        instance_id=node.instance_id,
        account=EAST,
        vars={
            "instance_id": node.instance_id,
            "region": "us-east-1",
            "account": described["OwnerId"],
            "availability_zone": known["Placement"]["AvailabilityZone"],
            "image_id": known["ImageId"],
            "instance_type": known["InstanceType"],
            "platform": f"linux/{known['Architecture']}",
            "private_ip": known["PrivateIpAddress"],
            "public_ip": known["PublicIpAddress"],
            "state": "running",
            "tags": {"Name": "node1", "Role": "gpu"},
            "computer_name": f"{node.instance_id}.internal",
            "platform_name": "Amazon Linux",
            "platform_version": "2023",
            "ssm_agent_version": node.vars["ssm_agent_version"],
            "ssm_ping_status": "Online",
        },
        private_address=known["PrivateIpAddress"],
        public_address=known["PublicIpAddress"],
        ping_status="Online",
    )


def test_an_instance_without_an_agent_is_not_managed(as_fleet: Any) -> None:
    bare = found(Query("ec2", EAST, GPU))[as_fleet.ids["bare"]]
    assert (bare.ping_status, bare.vars["ssm_ping_status"]) == ("NotManaged", "NotManaged")
    assert "ssm_agent_version" not in bare.vars


def test_agents_are_not_asked_for_where_they_do_not_matter(as_fleet: Any) -> None:
    before = as_fleet.aws.calls["DescribeInstanceInformation"]
    instances = found(Query("ec2", EAST, GPU, agents=False))
    assert {one.ping_status for one in instances.values()} == {None}
    assert as_fleet.aws.calls["DescribeInstanceInformation"] == before


def test_managed_nodes_with_hybrid_ones_and_the_tags_of_the_others(as_fleet: Any) -> None:
    nodes = found(Query("ssm", EAST, {}))
    assert as_fleet.names([*nodes]) == {"node1", "node2", "twin1", "twin2", "rack"}
    assert nodes[as_fleet.ids["node2"]].vars["tags"] == {"Name": "node2", "Role": "web"}
    rack = nodes[as_fleet.ids["rack"]]
    assert (rack.vars["name"], rack.vars["platform"]) == ("rack", "linux")
    assert rack.private_address == rack.vars["private_ip"]
    assert "tags" not in rack.vars


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (Query("ec2", EAST, GPU), {"node1", "bare"}),
        (Query("ssm", EAST, GPU), {"node1", "rack"}),
        (Query("ec2", WEST, GPU), {"euro"}),
        (Query("ssm", WEST, {"PingStatus": ["Online"]}), set()),
        (Query("ssm", EAST, {"PlatformTypes": ["Linux"], "tag:Role": ["web"]}), {"node2"}),
        (Query("ec2", EAST, {}, "gpu"), {"node1"}),
        (Query("ssm", EAST, {}, "gpu"), {"node1", "rack"}),
        (Query("ssm", EAST, {"tag:Role": ["gpu"]}, "web"), set()),
        (Query("ec2", EAST, {"tag:Name": ["twin", "nobody"]}), {"twin1", "twin2"}),
        (Query("ec2", EAST, {"instance-state-name": ["terminated"]}), set()),
    ],
)
def test_filters_and_resource_groups(as_fleet: Any, query: Query, expected: set[str]) -> None:
    assert as_fleet.names([*found(query)]) == expected


def test_more_instances_than_one_call_takes(as_fleet: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fake answers two a page; asking for three a call makes calls and pages overlap."""
    monkeypatch.setattr("lmm.aws.discovery.SSM_PAGE", 5)
    monkeypatch.setattr("lmm.aws.discovery.EC2_VALUES", 3)
    before = as_fleet.aws.calls["DescribeInstanceInformation"]
    nodes = found(Query("ssm", EAST, {}))
    assert len(nodes) == 5
    assert all("tags" in one.vars for one in nodes.values() if one.instance_id.startswith("i-"))
    assert as_fleet.aws.calls["DescribeInstanceInformation"] - before == 3


def test_without_a_region_it_is_the_one_of_the_configuration(as_fleet: Any) -> None:
    node = found(Query("ssm", AwsAccount(), {"tag:Role": ["web"]}))[as_fleet.ids["node2"]]
    assert node.account == EAST


def test_a_profile(as_fleet: Any) -> None:
    key, secret = (os.environ.pop(f"AWS_{name}") for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY"))
    config = Path.home() / ".aws" / "config"
    config.parent.mkdir()
    config.write_text(
        f"[profile prod]\nregion = eu-west-1\naws_access_key_id = {key}\n"
        f"aws_secret_access_key = {secret}\n"
    )
    for variable in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        del os.environ[variable]
    nodes = found(Query("ssm", AwsAccount(profile="prod"), {}))
    assert as_fleet.names([*nodes]) == {"euro"}
    assert nodes[as_fleet.ids["euro"]].account == AwsAccount("eu-west-1", "prod")


def test_a_role_calls_with_credentials_of_its_own(as_fleet: Any) -> None:
    own = os.environ["AWS_ACCESS_KEY_ID"] = "AKIAONLYASSUMESROLES"
    as_fleet.aws.faults.deny("DescribeInstanceInformation", own)
    query = Query("ssm", EAST, {})
    (denied,) = discover([query])
    assert isinstance(denied, RuneError)
    role = replace(EAST, role_arn="arn:aws:iam::123456789012:role/rune", external_id="x42")
    assert as_fleet.ids["node1"] in found(replace(query, account=role))


def test_a_query_that_fails_fails_as_a_whole_and_alone(as_fleet: Any) -> None:
    own = os.environ["AWS_ACCESS_KEY_ID"] = "AKIADENIED"
    as_fleet.aws.faults.deny("DescribeInstanceInformation", own)
    denied, missing, fine = discover(
        [
            Query("ec2", EAST, {}),
            Query("ec2", EAST, {}, "nogroup"),
            Query("ec2", EAST, {}, agents=False),
        ]
    )
    assert isinstance(denied, RuneError)
    assert denied.reason == "aws_denied"
    assert denied.message.startswith("AWS denied to list managed nodes (region us-east-1): ")
    assert isinstance(missing, RuneError)
    assert "to list the members of resource group 'nogroup' (region us-east-1)" in missing.message
    assert isinstance(fine, list)
    assert len(fine) == 5


def test_a_page_that_fails_for_a_moment_is_asked_for_again(as_fleet: Any) -> None:
    as_fleet.aws.faults.throttle("DescribeInstanceInformation")
    as_fleet.aws.faults.drop_requests("DescribeInstanceInformation")
    assert len(found(Query("ssm", EAST, {}))) == 5


def test_a_page_that_is_refused_is_never_left_out(as_fleet: Any) -> None:
    refusal = ServiceError("InvalidNextToken", "The specified token isn't valid.")
    as_fleet.aws.faults.fail("DescribeInstanceInformation", refusal)
    (answer,) = discover([Query("ssm", EAST, {})])
    assert isinstance(answer, RuneError)
    assert answer.reason == "aws_refused"


def test_nobody_asked_nothing_found() -> None:
    assert discover([]) == []
