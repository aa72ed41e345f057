"""Inventories with sources: what they come to, and how ``rune`` shows and uses them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lmm.errors import RequestError
from lmm.testing.aws import FakeAws
from lom.inventory.load import load_inventory
from lom.inventory.selectors import select
from lom.service.orchestrator import Orchestrator
from tests.support.errors import reason

TWO_REGIONS = """\
defaults: {vars: {site: cloud, team: nobody}, ssm: {s3_bucket: rune, region: us-east-1}}
sources:
  gpu:
    source: ec2
    regions: [us-east-1, eu-west-1]
    filters: {"tag:Role": gpu}
    name: tags.Name
    defaults: {vars: {team: ml}}
  nodes: {source: ssm}
groups:
  cloud: {groups: [gpu, nodes]}
  special: {targets: [node1], defaults: {ssm: {s3_bucket: special}}}
"""


def test_sources_are_groups_and_what_they_find_are_targets(
    as_fleet: Any, inventory: Callable[[str], Path]
) -> None:
    found = load_inventory(inventory(TWO_REGIONS))
    ids = as_fleet.ids
    others = sorted(ids[name] for name in ("node2", "twin1", "twin2", "rack"))
    assert list(found.targets) == ["bare", "euro", "node1", *others]
    assert found.groups["gpu"] == ("bare", "euro", "node1")
    assert set(found.groups["nodes"]) == {"node1", *others}
    assert set(found.groups["cloud"]) == {*found.targets}
    node, euro = found.targets["node1"], found.targets["euro"]
    assert (node.transport, node.address, node.groups) == (
        "ssm",
        ids["node1"],
        ("cloud", "special", "gpu", "nodes"),
    )
    assert (node.vars["site"], node.vars["team"]) == ("cloud", "ml")
    assert (node.ssm.region, node.ssm.s3_bucket) == ("us-east-1", "special")
    assert (euro.ssm.region, euro.ssm.s3_bucket) == ("eu-west-1", "rune")
    assert (node.seen, euro.seen) == ("Online", "ConnectionLost")


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("tags.Role=gpu", {"node1", "euro", "bare"}),
        ("tags.Role=g* and region=us-*", {"node1", "bare"}),
        ("gpu and ssm_ping_status=Online", {"node1"}),
        ("ssm_ping_status=NotManaged", {"bare"}),
        ("nodes and not gpu", {"node2", "twin1", "twin2", "rack"}),
        ("tags.Name=twin", {"twin1", "twin2"}),
    ],
)
def test_selecting(
    as_fleet: Any, inventory: Callable[[str], Path], selector: str, expected: set[str]
) -> None:
    chosen = select([selector], load_inventory(inventory(TWO_REGIONS)))
    assert as_fleet.names([one.address for one in chosen]) == expected


def test_an_id_picks_the_target_whatever_its_name(
    as_fleet: Any, inventory: Callable[[str], Path]
) -> None:
    found = load_inventory(inventory(TWO_REGIONS))
    for name in ("euro", "twin1"):
        (chosen,) = select([as_fleet.ids[name]], found)
        assert (chosen.address, chosen.seen is None) == (as_fleet.ids[name], False)


def test_a_target_of_a_file_gives_settings_to_the_one_that_is_found(
    as_fleet: Any, inventory: Callable[[str], Path]
) -> None:
    known, node = as_fleet.ids["node1"], as_fleet.ids["node2"]
    found = load_inventory(
        inventory(
            "targets:\n"
            f"  {known}: {{vars: {{rack: r3}}, ssm: {{s3_bucket: own-bucket}}}}\n"
            "  node2:\n"
            "sources: {fleet: {source: ec2, name: tags.Name}, plain: {source: ec2}}\n"
        )
    )
    target = found.targets[known]
    assert "node1" not in found.targets
    assert (target.vars["rack"], target.vars["tags"]["Role"]) == ("r3", "gpu")
    assert (target.ssm.s3_bucket, target.seen) == ("own-bucket", "Online")
    assert target.transport == "ssm"
    # node2 is a host of the file; the instance that is tagged so goes by its id
    assert found.targets["node2"].transport == "ssh"
    assert found.targets[node].address == node


def test_over_ssh_the_address_is_what_ec2_says(
    as_fleet: Any, inventory: Callable[[str], Path]
) -> None:
    found = load_inventory(
        inventory(
            "sources:\n"
            "  inside: {source: ec2, filters: {'tag:Role': web}, defaults: {transport: ssh}}\n"
            "  outside: {source: ec2, address: public, filters: {'tag:Role': gpu},\n"
            "            name: tags.Name, defaults: {transport: openssh, user: ops}}\n"
        )
    )
    inside, outside = found.targets[as_fleet.ids["node2"]], found.targets["node1"]
    assert (inside.transport, inside.host) == ("ssh", inside.vars["private_ip"])
    assert (outside.transport, outside.host) == ("openssh", outside.vars["public_ip"])
    assert outside.user == "ops"


def test_a_failure_names_source_file_and_line_and_nothing_is_left_of_the_inventory(
    as_fleet: Any, inventory: Callable[[str], Path]
) -> None:
    path = inventory(
        "targets: {web1: {}}\n"
        "sources:\n"
        "  fine: {source: ssm}\n"
        "  wrong: {source: ssm, profile: nobody}\n"
        "  lost: {source: ssm, resource_group: nogroup}\n"
    )
    with pytest.raises(RequestError) as caught:
        load_inventory(path)
    error = caught.value
    assert error.reason == "aws_credentials"
    assert error.message == (
        f"{path}:4: source 'wrong': The config profile (nobody) could not be found"
        " (needed to use profile nobody) @ $.sources.wrong (and 1 more)"
    )
    assert [one.split(": ")[0] for one in error.data["validation_errors"]] == [
        f"{path}:4",
        f"{path}:5",
    ]


def test_groups_name_only_what_is_there(as_fleet: Any, inventory: Callable[[str], Path]) -> None:
    path = inventory(
        "sources: {fleet: {source: ec2, name: tags.Name}}\ngroups: {g: {targets: [nod1]}}\n"
    )
    with pytest.raises(RequestError, match=r"there is no target 'nod1'; did you mean 'node1'\?"):
        load_inventory(path)


def test_every_plan_sees_the_fleet_as_it_is(inventory: Callable[[str], Path]) -> None:
    with FakeAws(instances=0, moto=True) as aws:
        os.environ.update(aws.environment)
        aws.add_instance(hybrid=True)
        path = inventory("sources: {nodes: {source: ssm}}\n")
        with Orchestrator(inventory=path) as orchestrator:
            assert len(orchestrator.inventory.targets) == 1
            before = aws.calls["DescribeInstanceInformation"]
            assert len(orchestrator.plan("noop", "nodes").steps) == 1
            assert aws.calls["DescribeInstanceInformation"] == before  # just asked
            aws.add_instance(hybrid=True)
            assert len(orchestrator.plan("noop", "nodes").steps) == 2


# --- the command line ----------------------------------------------------------------------


def test_lists_show_the_ping_status(
    as_fleet: Any, inventory: Callable[[str], Path], rune: Callable[..., Any]
) -> None:
    inventory(TWO_REGIONS)
    document = rune("target", "list", "-t", "gpu", "-o", "json").document
    status = {one["target"]: one["ping_status"] for one in document["targets"]}
    assert status == {"bare": "NotManaged", "euro": "ConnectionLost", "node1": "Online"}
    table = rune("target", "list").stdout.splitlines()
    assert table[0].split() == ["TARGET", "TRANSPORT", "ADDRESS", "PING_STATUS", "GROUPS"]
    plan = rune("run", "noop", "-t", "gpu", "--dry-run")
    assert "ConnectionLost" in plan.stdout
    shown = rune("target", "show", "euro").stdout
    assert "ssm:\n  region: eu-west-1\n  s3_bucket: rune\n" in shown
    assert "ssh:" not in shown


def test_a_failure_on_the_command_line(
    as_fleet: Any, inventory: Callable[[str], Path], rune: Callable[..., Any]
) -> None:
    inventory("sources:\n  nodes: {source: ssm, resource_group: nogroup}\n")
    done = rune("run", "noop", "-t", "nodes", "-o", "json")
    assert done.code == 2
    assert reason(done) == "aws_refused"
    assert done.stderr.startswith(
        "error: inventory.yaml:2: source 'nodes': AWS refused to list the members of resource group"
    )
    assert "hint: " in done.stderr
    local = rune("run", "noop")  # needs no inventory
    assert local.code == 0


def test_completion_does_not_ask_aws(
    as_fleet: Any, inventory: Callable[[str], Path], rune: Callable[..., Any]
) -> None:
    inventory(TWO_REGIONS)
    before = dict(as_fleet.aws.calls)
    os.environ.update(
        _RUNE_COMPLETE="bash_complete", COMP_WORDS="rune run noop -t ", COMP_CWORD="4"
    )
    done = rune()
    assert {"plain,gpu", "plain,nodes", "plain,cloud"} <= set(done.stdout.split())
    assert dict(as_fleet.aws.calls) == before


def test_ctrl_c_while_aws_does_not_answer(inventory: Callable[[str], Path]) -> None:
    path = inventory("sources: {nodes: {source: ssm, regions: [eu-west-1]}}\n")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(30)
        process = subprocess.Popen(
            [sys.executable, "-m", "lom.cli", "target", "list", "-i", str(path)],
            env={
                **os.environ,
                "PYTHONPATH": str(Path(__file__).resolve().parents[3]),
                "AWS_ACCESS_KEY_ID": "x",
                "AWS_SECRET_ACCESS_KEY": "y",
                "AWS_ENDPOINT_URL": f"http://127.0.0.1:{silent.getsockname()[1]}",
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        connection, _ = silent.accept()
        with connection:
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=20)  # a call waits for 30 s
    assert (process.returncode, out) == (130, "")
    assert err.startswith("error: cancelled")
