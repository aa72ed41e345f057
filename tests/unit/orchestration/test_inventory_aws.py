"""The ``ssm`` block, the ids of instances as hosts, and what a source may say: no AWS is asked."""

from __future__ import annotations

import dataclasses
import json
import re
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from lmm.aws import checks
from lmm.aws.discovery import Query
from lmm.aws.session import AwsAccount
from lmm.contract import spec_validator
from lmm.errors import RequestError
from lmm.model import SsmSettings, Target
from lom.inventory.files import read
from lom.inventory.load import load_inventory
from lom.inventory.merge import asked_of_aws
from lom.inventory.model import Inventory
from lom.inventory.selectors import select
from lom.planning.options import RunOptions
from lom.service.orchestrator import Orchestrator

ID = "i-0123456789abcdef0"
DOCS = Path(__file__).parents[3] / "docs"
RULES = spec_validator("inventory_v1").schema["$defs"]
SSM = RULES["ssm"]["properties"]

Load = Callable[[str], Inventory]


@pytest.fixture
def file(tmp_path: Path) -> Callable[[str], Path]:
    def file(text: str) -> Path:
        path = tmp_path / "inventory.yaml"
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return path

    return file


@pytest.fixture
def load(file: Callable[[str], Path]) -> Load:
    return lambda text: load_inventory(file(text))


def test_every_setting_of_ssm_arrives(load: Load) -> None:
    inventory = load(
        f"""
        targets:
          a:
            host: {ID}
            transport: ssm
            ssm:
              region: eu-west-1
              profile: prod
              role_arn: arn:aws:iam::123456789012:role/rune
              external_id: x42
              s3_bucket: my-bucket
              s3_prefix: some/where
              s3_region: eu-central-1
              keep_output: true
        """
    )
    assert inventory.targets["a"] == Target(
        "a",
        host=ID,
        transport="ssm",
        ssm=SsmSettings(
            region="eu-west-1",
            profile="prod",
            role_arn="arn:aws:iam::123456789012:role/rune",
            external_id="x42",
            s3_bucket="my-bucket",
            s3_prefix="some/where",
            s3_region="eu-central-1",
            keep_output=True,
        ),
    )


def test_the_schema_and_the_settings_have_the_same_fields_and_defaults() -> None:
    fields = {one.name for one in dataclasses.fields(SsmSettings)}
    assert fields == set(SSM)
    for name in fields:
        assert SSM[name].get("default") == getattr(SsmSettings(), name)


def test_ssm_merges_per_key(load: Load) -> None:
    inventory = load(
        f"""
        defaults: {{transport: ssm, ssm: {{region: eu-west-1, s3_bucket: all, keep_output: true}}}}
        targets:
          {ID}: {{ssm: {{region: us-east-1}}}}
          mi-0123456789abcdef0: {{ssm: {{s3_bucket: null}}}}
        groups:
          g: {{targets: [{ID}], defaults: {{ssm: {{s3_bucket: grouped, region: eu-north-1}}}}}}
        """
    )
    assert inventory.targets[ID].ssm == SsmSettings(
        region="us-east-1", s3_bucket="grouped", keep_output=True
    )
    assert inventory.targets["mi-0123456789abcdef0"].ssm == SsmSettings(
        region="eu-west-1", keep_output=True
    )
    assert inventory.defaults.ssm.s3_bucket == "all"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "targets: {a: {ssm: {regoin: x}}}",
            "unknown key 'regoin'; did you mean 'region'? @ $.targets.a.ssm.regoin",
        ),
        (
            "defaults: {ssm: {ping_status: Online}}",
            "unknown key 'ping_status'; known are region, profile, role_arn, external_id,"
            " s3_bucket, s3_prefix, s3_region, keep_output @ $.defaults.ssm.ping_status",
        ),
        (
            "defaults: {ssm: {region: Ireland}}",
            "a region such as eu-west-1 is needed @ $.defaults.ssm.region",
        ),
        (
            "defaults: {ssm: {role_arn: rune}}",
            "the ARN of a role such as arn:aws:iam::123456789012:role/rune is needed"
            " @ $.defaults.ssm.role_arn",
        ),
        (
            "defaults: {ssm: {s3_bucket: 's3://b/x'}}",
            "a bucket's name is needed: 3 to 63 lower-case letters, digits, '-' and '.',"
            " without s3:// and without a path @ $.defaults.ssm.s3_bucket",
        ),
        (
            "defaults: {ssm: {s3_prefix: /x}}",
            "a prefix of keys without a leading '/' is needed @ $.defaults.ssm.s3_prefix",
        ),
        (
            "defaults: {ssm: {external_id: 5}}",
            "5 is not text; put it in quotes @ $.defaults.ssm.external_id",
        ),
        ("defaults: {ssm: 5}", "the value is not a mapping @ $.defaults.ssm"),
        (
            "targets: {web1: {transport: ssm}}",
            "target 'web1' goes over ssm, and 'web1' is not the id of an instance (i-… or mi-…);"
            " write the id under host @ $.targets.web1",
        ),
        (
            "targets: {'n[1-3]': {}}\ndefaults: {transport: ssm}",
            "target 'n1' goes over ssm, and 'n1' is not the id of an instance (i-… or mi-…)"
            ' (nor 2 more of the range); write the id under host @ $.targets["n[1-3]"]',
        ),
        (
            "targets: {a: {host: 10.0.0.1}}\n"
            "groups: {g: {targets: [a], defaults: {transport: ssm}}}",
            "target 'a' goes over ssm, and '10.0.0.1' is not the id of an instance (i-… or mi-…);"
            " write the id under host @ $.targets.a",
        ),
        ("sources: {s: {}}", "the key 'source' is needed @ $.sources.s.source"),
        (
            "sources: {s: {source: gce}}",
            "\"gce\" is not 'ec2' or 'ssm' @ $.sources.s.source",
        ),
        (
            "sources: {s: {source: ec2, region: eu-west-1}}",
            "unknown key 'region'; did you mean 'regions'? @ $.sources.s.region",
        ),
        (
            "sources: {s: {source: ec2, regions: eu-west-1}}",
            '"eu-west-1" is not a list @ $.sources.s.regions',
        ),
        (
            "sources: {s: {source: ec2, filters: {x: []}}}",
            "a text or a list of texts is needed; a filter without values matches nothing"
            " @ $.sources.s.filters.x",
        ),
        (
            "sources: {s: {source: ec2, name: tag:Name}}",
            "a target is named by tags.KEY, computer_name or name @ $.sources.s.name",
        ),
        (
            "sources: {s: {source: ec2, defaults: {ssm: {profile: x}}}}",
            "it is where the instance was found; write profile beside source"
            " @ $.sources.s.defaults.ssm.profile",
        ),
        (
            "sources: {s: {source: ec2, defaults: {prot: 1}}}",
            "unknown key 'prot'; did you mean 'port'? @ $.sources.s.defaults.prot",
        ),
        (
            "sources: {all: {source: ec2}}",
            "'all' is a word of the selectors; choose another name @ $.sources.all",
        ),
        (
            "sources: {s: {source: ec2, resource_group: a b}}",
            "the name or ARN of a resource group is needed @ $.sources.s.resource_group",
        ),
    ],
)
def test_a_fault_says_what_and_where(load: Load, text: str, expected: str) -> None:
    with pytest.raises(RequestError) as caught:
        load(text)
    assert caught.value.reason == "inventory_invalid"
    told = [re.sub(r"^\S*inventory.yaml:\d+: ", "", one) for one in errors(caught.value)]
    assert told == [expected]


def errors(error: RequestError) -> list[str]:
    found: list[str] = error.data["validation_errors"]
    return found


@pytest.mark.parametrize(
    "text",
    [
        "sources: {s: {source: ec2}}\ntargets: {a: {port: 0}}\ngroups: {g: {targets: [b]}}",
        "sources: {s: {source: ec3}}\ngroups: {g: {targets: [b]}}",
    ],
)
def test_a_faulty_file_is_told_before_aws_is_asked(load: Load, text: str) -> None:
    """Without a region the source itself could only fail with ``aws_credentials``."""
    with pytest.raises(RequestError) as caught:
        load(text)
    assert caught.value.reason == "inventory_invalid"
    assert len(errors(caught.value)) == 1  # what groups name is known only afterwards


def test_a_source_stands_once(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.yaml").write_text("sources: {s: {source: ec2}}")
    with pytest.raises(RequestError, match=r"source 's' is already defined in .*a\.yaml"):
        load_inventory(tmp_path)


def test_what_a_source_asks(file: Callable[[str], Path]) -> None:
    """A source's own account wins over that of the defaults, key by key."""
    path = file(
        """
        sources:
          plain: {source: ssm}
          full:
            source: ec2
            regions: [us-east-1, us-west-2, us-east-1]
            role_arn: arn:aws:iam::123456789012:role/rune
            external_id: x42
            filters: {"tag:Role": gpu, instance-state-name: [running, stopped]}
            resource_group: fleet
          reached-by-ssh: {source: ec2, profile: null, defaults: {transport: ssh}}
        defaults: {ssm: {profile: prod, region: eu-west-1, s3_bucket: bucket}}
        """
    )
    role = AwsAccount("us-east-1", "prod", "arn:aws:iam::123456789012:role/rune", "x42")
    filters = {"tag:Role": ["gpu"], "instance-state-name": ["running", "stopped"]}
    assert asked_of_aws(read([path])) == (
        Query("ssm", AwsAccount("eu-west-1", "prod"), {}),
        Query("ec2", role, filters, "fleet"),
        Query("ec2", dataclasses.replace(role, region="us-west-2"), filters, "fleet"),
        Query("ec2", AwsAccount("eu-west-1"), {}, agents=False),
    )


# --- instances given straight --------------------------------------------------------------


DEFAULTS = Target("", user="ops", ssm=SsmSettings(region="eu-west-1", s3_bucket="b"))


@pytest.mark.parametrize(
    ("word", "default", "expected"),
    [
        (ID, "ssh", "ssm"),
        ("mi-0123456789abcdef0", "ssh", "ssm"),
        (ID, "ssm", "ssm"),
        (ID, "local", "ssm"),
        (ID, "openssh", "openssh"),
        (f"ops@{ID}", "ssm", "ssh"),
        (f"{ID}:22", "ssm", "ssh"),
        (f"ssh://{ID}", "ssm", "ssh"),
    ],
)
def test_an_instance_given_straight(word: str, default: str, expected: str) -> None:
    defaults = dataclasses.replace(DEFAULTS, transport=default)
    inventory = Inventory(targets={"web1": Target("web1")}, defaults=defaults)
    (target,) = select([word], inventory)
    assert (target.name, target.transport, target.ssm) == (word, expected, DEFAULTS.ssm)
    assert target.address.endswith(word.strip("sh:/").split("@")[-1].split(":")[0])


def test_a_range_of_instances_given_straight() -> None:
    found = select(["i-0123456[1-3]"], Inventory())
    assert [one.name for one in found] == ["i-01234561", "i-01234562", "i-01234563"]


def test_a_found_instance_answers_to_its_id() -> None:
    inventory = Inventory(targets={"gpu1": Target("gpu1", host=ID)}, instances={ID: "gpu1"})
    assert select([ID], inventory) == [inventory.targets["gpu1"]]
    assert select(
        [f"all and not {ID}", "gpu1"],
        Inventory(targets={"gpu1": Target("gpu1"), "b": Target("b")}, instances={ID: "gpu1"}),
    ) == [Target("gpu1"), Target("b")]


def test_a_host_that_ssm_cannot_reach_is_refused_before_the_run() -> None:
    inventory = Inventory(targets={"web1": Target("web1", host="10.0.0.1")})
    with Orchestrator(inventory=inventory) as orchestrator:
        with pytest.raises(RequestError) as caught:
            orchestrator.plan("noop", "web1", options=RunOptions(transport="ssm"))
        assert caught.value.reason == "invalid_request"
        assert caught.value.message == (
            "'web1' cannot go over ssm: '10.0.0.1' is not the id of an instance (i-… or mi-…);"
            " select it by its id, or write the id under host in the inventory"
        )
        plan = orchestrator.plan("noop", ID, options=RunOptions(transport="ssm"))
        assert plan.steps[0].target.address == ID


def test_the_inventory_of_the_docs_loads(load: Load) -> None:
    (text,) = re.findall(
        r"^```yaml ssm\n(.*?)^```", (DOCS / "inventory.md").read_text(), re.M | re.S
    )
    assert load(text).targets["build"].ssm.region == "us-east-1"


@pytest.mark.parametrize("page", ["inventory.md", "aws.md"])
def test_every_source_of_the_docs_can_be_asked(page: str, tmp_path: Path) -> None:
    fences = re.findall(r"^```yaml sources\n(.*?)^```", (DOCS / page).read_text(), re.M | re.S)
    assert fences
    for number, text in enumerate(fences):
        path = tmp_path / f"{number}.yaml"
        path.write_text(text)
        assert asked_of_aws(read([path]))


def test_the_policies_of_the_docs_allow_what_doctor_tries() -> None:
    text = (DOCS / "aws.md").read_text()
    policies = [json.loads(one) for one in re.findall(r"^```json\n(.*?)^```", text, re.M | re.S)]
    allowed: set[str] = set()
    for statement in policies[0]["Statement"]:
        actions = statement["Action"]
        allowed.update([actions] if isinstance(actions, str) else actions)
    assert {*checks.FOR_RUNS, "ec2:DescribeInstances"} <= allowed
    assert {"s3:PutObject", "s3:GetObject", "s3:DeleteObject", "s3:ListBucket"} <= allowed


def test_the_docs_name_every_key() -> None:
    text = (DOCS / "inventory.md").read_text()
    fields = [*SSM, *RULES["source"]["properties"]]
    assert [name for name in fields if f"`{name}`" not in text] == []
