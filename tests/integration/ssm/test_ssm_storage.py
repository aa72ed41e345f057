"""What the ``ssm`` transport sends and fetches through S3, and what becomes of it without."""

from __future__ import annotations

import base64
import gzip
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import pytest

from lmm.aws import payload
from lmm.model import Outcome, SsmSettings
from lmm.testing.aws import FakeAws
from tests.integration.ssm.conftest import OK, Fleet, text

Make = Callable[[FakeAws], Fleet]

BUCKET = SsmSettings(s3_bucket="rune", s3_prefix="some/prefix")
LARGE = """
text=$(head -c %d /dev/urandom | base64 -w0)
printf '{"payload":{"result":"success","output_data":{"text":"%%s"}}}' "$text"
"""
SECRET = "correct-horse/battery+staple"
HIDDEN = frozenset({"/token"})
ECHO_LENGTH = """
import json, sys
token = json.load(sys.stdin)["payload"]["input_parameters"]["token"]
print(json.dumps({"payload": {"result": "success", "output_data": {"length": len(token)}}}))
"""


def keys(ssm: SsmSettings = BUCKET) -> list[str]:
    """Return the objects below the prefix; a RUNE that others have killed leaves some elsewhere."""
    make: Any = boto3.client
    client = make("s3")
    try:
        found = client.list_objects_v2(Bucket=ssm.s3_bucket, Prefix=f"{ssm.s3_prefix}/")
        return [one["Key"] for one in found.get("Contents", ())]
    finally:
        client.close()


def sent_scripts() -> list[str]:
    """Return what the command history shows of every command."""
    make: Any = boto3.client
    client = make("ssm")
    try:
        pages = client.get_paginator("list_commands").paginate()
        return [c["Parameters"]["commands"][0] for page in pages for c in page["Commands"]]
    finally:
        client.close()


def in_clear(script: str) -> str:
    """Return a script with all that is packed in it unpacked."""
    packed = re.findall(r"printf %s ([A-Za-z0-9+/=]+) \| base64 -d \| gzip -dc", script)
    unpacked = (gzip.decompress(base64.b64decode(one)) for one in packed)
    return script + "".join(one.decode(errors="replace") for one in unpacked)


def test_a_large_answer_comes_whole_and_nothing_stays(fleet_of: Make, aws: FakeAws) -> None:
    result = fleet_of(aws).one(LARGE % 200_000, ssm=BUCKET)
    assert result.output_data is not None
    assert len(result.output_data["text"]) == 266_668
    assert keys() == []


def test_an_answer_between_the_two_limits_needs_no_bucket(fleet_of: Make, aws: FakeAws) -> None:
    result = fleet_of(aws).one(LARGE % 8_000)
    assert result.output_data is not None
    assert len(result.output_data["text"]) == 10_668


def test_without_a_bucket_a_large_answer_is_an_error(fleet_of: Make, aws: FakeAws) -> None:
    result = fleet_of(aws).one(LARGE % 40_000)
    assert (result.outcome, result.reason) == (Outcome.INVALID_OUTPUT, "ssm_output_missing")
    assert "ssm.s3_bucket" in text(result)


def test_outputs_are_kept_by_choice(fleet_of: Make, aws: FakeAws) -> None:
    kept = SsmSettings(s3_bucket="rune", s3_prefix="kept", keep_output=True)
    assert fleet_of(aws).one(ssm=kept).ok
    (key,) = keys(kept)
    assert re.fullmatch(
        rf"kept/run-1/out/[0-9a-f-]{{36}}/{aws.instance_ids[0]}"
        r"/awsrunShellScript/0\.awsrunShellScript/stdout",
        key,
    )
    aws.cloud.client("s3", "us-east-1").delete_object(Bucket="rune", Key=key)


def test_agents_that_may_not_put_objects_are_named_as_the_reason(
    fleet_of: Make, aws: FakeAws, caplog: pytest.LogCaptureFixture
) -> None:
    nowhere = SsmSettings(s3_bucket="no-such-bucket")
    fleet = fleet_of(aws)
    assert fleet.one(ssm=nowhere).ok  # what fits does not need the bucket
    assert "NoSuchBucket" in caplog.text
    result = fleet.one(LARGE % 40_000, ssm=nowhere)
    assert (result.outcome, result.reason) == (Outcome.INVALID_OUTPUT, "ssm_output_missing")
    assert "s3://no-such-bucket/" in text(result)


def test_a_large_plugin_goes_through_the_bucket_once(fleet_of: Make, aws: FakeAws) -> None:
    ballast = base64.b64encode(os.urandom(300_000)).decode()
    plugin = f"{OK}\nexit\n{ballast}\n"
    results = fleet_of(aws).run(plugin, ssm=BUCKET)
    assert all(result.ok for result in results.values())
    assert keys() == []
    assert all(len(script) < payload.SCRIPT_CHARS for script in sent_scripts())


def test_without_a_bucket_a_large_plugin_is_refused(fleet_of: Make, aws: FakeAws) -> None:
    before = aws.calls["SendCommand"]
    ballast = base64.b64encode(os.urandom(60_000)).decode()
    results = fleet_of(aws).run(f"{OK}\nexit\n{ballast}\n")
    assert {result.reason for result in results.values()} == {"ssm_too_large"}
    assert all(str(payload.SCRIPT_CHARS) in text(result) for result in results.values())
    assert aws.calls["SendCommand"] == before


def test_messages_that_differ_much_take_more_commands(fleet_of: Make) -> None:
    with FakeAws(12) as account:
        fleet = fleet_of(account)
        todo = [
            fleet.invocations(
                params={"text": base64.b64encode(os.urandom(6_000)).decode()}, instances=[instance]
            )[0]
            for instance in account.instance_ids
        ]
        assert all(result.ok for result in fleet.carry(todo).values())
        assert 2 <= account.calls["SendCommand"] <= 4


def test_a_secret_goes_through_the_bucket_and_leaves_no_trace(
    fleet_of: Make, aws: FakeAws, tmp_path: Path
) -> None:
    watch = f"cat /proc/[0-9]*/cmdline >{tmp_path}/argv 2>/dev/null"
    results = fleet_of(aws).run(
        f"import os; os.system({watch!r})\n{ECHO_LENGTH}",
        {"token": SECRET},
        ssm=BUCKET,
        interpreter=("python3",),
        write_only=HIDDEN,
    )
    assert {str(result.output_data) for result in results.values()} == {"{'length': 28}"}
    assert keys() == []
    history = "\n".join(map(in_clear, sent_scripts()))
    assert "input_parameters" in history  # other tests' commands can be read like this
    assert SECRET not in history
    assert "X-Amz-Signature" in history
    argv = (tmp_path / "argv").read_bytes()
    assert b"python3" in argv
    assert SECRET.encode() not in argv
    assert b"X-Amz-Signature" not in argv


def test_a_bucket_that_takes_no_secret_sends_nothing(fleet_of: Make, aws: FakeAws) -> None:
    before = aws.calls["SendCommand"]
    result = fleet_of(aws).one(
        ECHO_LENGTH,
        {"token": SECRET},
        ssm=SsmSettings(s3_bucket="no-such-bucket"),
        interpreter=("python3",),
        write_only=HIDDEN,
    )
    assert (result.outcome, result.reason) == (Outcome.UNREACHABLE, "aws_refused")
    assert "s3://no-such-bucket/" in text(result)
    assert SECRET not in json.dumps(result.error)
    assert aws.calls["SendCommand"] == before


def test_a_role_is_assumed(fleet_of: Make, aws: FakeAws) -> None:
    """moto gives a role keys of its own; the account's own key is denied what the role may."""
    own = aws.environment["AWS_ACCESS_KEY_ID"]
    aws.faults.deny("SendCommand", own)
    try:
        fleet = fleet_of(aws)
        role = SsmSettings(role_arn="arn:aws:iam::123456789012:role/fleet", external_id="x1")
        assert fleet.one(ssm=role).ok
        assert fleet.one().reason == "aws_denied"
    finally:
        aws.faults.allow("SendCommand", own)


def test_no_credentials_are_said_to_be_missing(
    fleet_of: Make, aws: FakeAws, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = fleet_of(aws)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    result = fleet.one()
    assert (result.outcome, result.reason) == (Outcome.UNREACHABLE, "aws_credentials")
    unknown = fleet.one(ssm=SsmSettings(profile="nobody"))
    assert unknown.reason == "aws_credentials"
    assert "nobody" in text(unknown)
