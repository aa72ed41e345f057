"""What ``rune doctor`` finds out about accounts, permissions, agents and buckets."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import pytest

from lmm.aws.discovery import Query
from lmm.aws.session import AwsAccount
from lmm.model import SsmSettings, Target
from lmm.testing.aws import FakeAws
from lom.service.doctor.aws import examine_aws
from lom.service.doctor.check import Check
from lom.service.doctor.examine import examine
from lom.service.orchestrator import Orchestrator
from lom.settings.values import Settings

EAST = AwsAccount("us-east-1")
HERE = "(region us-east-1)"


def target(host: str, name: str = "", **ssm: Any) -> Target:
    settings = SsmSettings(**{"region": "us-east-1", "s3_bucket": "rune", **ssm})
    return Target(name or host, host=host, transport="ssm", ssm=settings)


def checks(targets: Sequence[Target] = (), queries: Sequence[Query] = ()) -> dict[str, Check]:
    found = list(examine_aws(targets, queries))
    named = {one.check: one for one in found}
    assert len(named) == len(found)
    assert all(one.advice for one in found if one.status != "ok")
    return named


def test_a_sound_account(
    aws: FakeAws, inventory: Callable[[str], Path], rune: Callable[..., Any]
) -> None:
    os.environ.update(aws.environment)
    inventory(
        "defaults: {ssm: {s3_bucket: rune}}\n"
        "sources: {nodes: {source: ssm, filters: {'tag:Name': [node1, node2]}}}\n"
    )
    done = rune("doctor", "-o", "json")
    found = {one["check"]: one for one in done.document["checks"]}
    assert done.code == 0, done.stdout
    assert found[f"aws identity {HERE}"]["found"].startswith("arn:aws:")
    assert found[f"aws permissions {HERE}"]["found"] == (
        "allowed: ec2:DescribeInstances, ssm:DescribeInstanceInformation, ssm:SendCommand,"
        " ssm:ListCommands, ssm:ListCommandInvocations, ssm:GetCommandInvocation,"
        " ssm:CancelCommand"
    )
    assert found[f"aws agents {HERE}"]["found"] == "2 of 2 online"
    assert found[f"aws bucket rune {HERE}"]["status"] == "ok"
    reached = [one["found"] for name, one in found.items() if name.startswith("target ")]
    assert [text.startswith("answered over ssm in ") for text in reached] == [True, True]
    listed = aws.cloud.client("s3", "us-east-1").list_objects_v2(
        Bucket="rune", Prefix="rune/doctor"
    )
    assert listed["KeyCount"] == 0


def test_what_is_denied_is_named_with_what_to_do(as_fleet: Any) -> None:
    own = os.environ["AWS_ACCESS_KEY_ID"] = "AKIAMAYNOTSEND"
    for operation in ("SendCommand", "CancelCommand"):
        as_fleet.aws.faults.deny(operation, own)
    found = checks([target(as_fleet.ids["node1"], s3_bucket=None)])
    for action in ("ssm:SendCommand", "ssm:CancelCommand"):
        denied = found[f"aws permission {action} {HERE}"]
        assert denied.status == "fail"
        assert denied.found.startswith(f"AWS denied {action}: ")
        assert "the permission that the message names" in denied.advice
    assert "tagged instances" in found[f"aws permission ssm:SendCommand {HERE}"].advice
    allowed = found[f"aws permissions {HERE}"].found
    assert "ssm:GetCommandInvocation" in allowed
    assert "ssm:SendCommand" not in allowed
    assert found[f"aws bucket {HERE}"].status == "warn"


def test_nothing_is_sent_to_find_that_out(as_fleet: Any) -> None:
    make: Any = boto3.client
    ssm = make("ssm")
    try:
        checks([target(as_fleet.ids["node1"])])
        assert ssm.list_commands()["Commands"] == []
    finally:
        ssm.close()


def test_agents_that_are_away_are_named(as_fleet: Any) -> None:
    ids = as_fleet.ids
    euro = target(ids["euro"], "euro", region="eu-west-1")
    found = checks([target(ids["node1"]), target(ids["bare"], "bare"), euro])
    here, away = found[f"aws agents {HERE}"], found["aws agents (region eu-west-1)"]
    assert (here.status, here.found) == ("warn", "1 of 2 online; bare NotManaged")
    assert (away.status, away.found) == ("fail", "0 of 1 online; euro ConnectionLost")


def test_many_that_are_away_are_counted(as_fleet: Any) -> None:
    absent = [target(f"i-{number:017x}", f"n{number}") for number in range(13)]
    told = checks(absent)[f"aws agents {HERE}"].found
    assert told.startswith("0 of 13 online; n0 NotManaged, n1 NotManaged")
    assert told.endswith("n9 NotManaged and 3 more")


def test_what_a_source_needs(as_fleet: Any) -> None:
    found = checks(queries=[Query("ec2", EAST, {}, agents=False)])
    assert found[f"aws permissions {HERE}"].found == "allowed: ec2:DescribeInstances"
    found = checks(queries=[Query("ssm", EAST, {}), Query("ec2", EAST, {})])
    assert found[f"aws permissions {HERE}"].found == (
        "allowed: ec2:DescribeInstances, ssm:DescribeInstanceInformation"
    )


@pytest.mark.parametrize(
    ("without", "account", "told"),
    [
        ("AWS_ACCESS_KEY_ID", EAST, "Unable to locate credentials"),
        ("AWS_DEFAULT_REGION", AwsAccount(), "You must specify a region"),
        ("", AwsAccount("us-east-1", "nobody"), "The config profile (nobody) could not be found"),
    ],
)
def test_an_account_that_cannot_be_used(
    as_fleet: Any, without: str, account: AwsAccount, told: str
) -> None:
    os.environ.pop(without, None)
    if without == "AWS_ACCESS_KEY_ID":
        del os.environ["AWS_SECRET_ACCESS_KEY"]
    (check,) = checks(queries=[Query("ec2", account, {})]).values()
    assert (check.check, check.status) == (f"aws identity ({account})", "fail")
    assert told in check.found


def test_a_source_that_cannot_be_asked_is_explained(
    as_fleet: Any, inventory: Callable[[str], Path], tmp_path: Path
) -> None:
    own = os.environ["AWS_ACCESS_KEY_ID"] = "AKIAMAYNOTLOOK"
    as_fleet.aws.faults.deny("DescribeInstanceInformation", own)
    settings = Settings(inventory=(str(inventory("sources: {nodes: {source: ssm}}\n")),))
    with Orchestrator(settings=settings) as orchestrator:
        found = {one.check: one for one in examine(orchestrator, environ={}, home=tmp_path)}
    assert found["inventory"].status == "fail"
    action = f"aws permission ssm:DescribeInstanceInformation {HERE}"
    assert [one for one in found if one.startswith("aws")] == [
        f"aws identity {HERE}",
        action,
        f"aws permissions {HERE}",
    ]
    assert found[action].found.startswith("AWS denied ssm:DescribeInstanceInformation: ")
    assert not any(name.startswith("target") for name in found)


def test_a_bucket_that_is_not_there(as_fleet: Any) -> None:
    found = checks([target(as_fleet.ids["node1"], s3_bucket="nowhere", s3_prefix="a/b")])
    check = found[f"aws bucket nowhere {HERE}"]
    assert check.status == "fail"
    assert check.found.startswith("AWS refused s3:PutObject on s3://nowhere/a/b/doctor/")


class _Storage(BaseHTTPRequestHandler):
    """S3 for one object, which may be put, listed and deleted but gives back ``answer``."""

    answer: tuple[int, bytes] = 200, b""
    deleted: list[str]

    def _reply(self, status: int, body: bytes = b"") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", "0")))
        self._reply(200)

    def do_GET(self) -> None:
        if "list-type=2" in self.path:
            self._reply(200, b"<ListBucketResult/>")
        else:
            self._reply(*self.answer)

    def do_DELETE(self) -> None:
        self.deleted.append(self.path)
        self._reply(204)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def storage() -> Iterator[type[_Storage]]:
    """A service of S3, set in the environment."""
    handler = type("Storage", (_Storage,), {"deleted": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        os.environ["AWS_ENDPOINT_URL_S3"] = f"http://127.0.0.1:{server.server_port}"
        yield handler
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ((403, b"<Error/>"), "answers 403 Forbidden"),
        ((404, b"<Error/>"), "answers 404 Not Found"),
        ((200, b"something else"), "gave back something else than was put"),
    ],
)
def test_an_object_that_the_signed_address_does_not_give(
    as_fleet: Any, storage: type[_Storage], answer: tuple[int, bytes], told: str
) -> None:
    storage.answer = answer
    check = checks([target(as_fleet.ids["node1"])])[f"aws bucket rune {HERE}"]
    assert (check.status, told in check.found) == ("fail", True)
    assert storage.deleted  # whatever happened
