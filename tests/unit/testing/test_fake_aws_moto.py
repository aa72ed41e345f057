"""FakeAws with moto, and as a command: what takes a second to start."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lmm.testing.aws import FakeAws

ROOT = Path(__file__).resolve().parents[3]
COMMAND = [sys.executable, "-m", "lmm.testing.aws"]


@pytest.fixture
def service(session: Any) -> Iterator[Any]:
    """Make clients that find the fake by the environment alone."""
    made = []

    def make(name: str, region: str | None = None) -> Any:
        made.append(session.client(name, region_name=region))
        return made[-1]

    yield make
    for client in made:
        client.close()


def test_instances_are_the_same_in_ec2_and_ssm(start: Any, service: Any) -> None:
    fake = start(3, moto=True).fake
    os.environ.update(fake.environment)
    odd = fake.add_instance(tags={"Role": "db"}, region="eu-west-1")
    hybrid = fake.add_instance(hybrid=True)

    def in_ec2(region: str | None = None, **filters: str) -> Any:
        pairs = [{"Name": f"tag:{key}", "Values": [value]} for key, value in filters.items()]
        pages = service("ec2", region).get_paginator("describe_instances").paginate(Filters=pairs)
        return [
            one["InstanceId"]
            for page in pages
            for reservation in page["Reservations"]
            for one in reservation["Instances"]
        ]

    first, second, third, *_ = fake.instance_ids
    assert in_ec2() == [first, second, third]
    assert in_ec2(Role="gpu") == [first, third]
    assert in_ec2(Name="node2") == [second]
    assert in_ec2("eu-west-1", Role="db") == [odd]
    described = service("ssm").describe_instance_information()["InstanceInformationList"]
    assert [one["InstanceId"] for one in described] == [first, second, third, hybrid]
    assert service("sts").get_caller_identity()["Account"] == "123456789012"


def test_output_is_in_the_bucket_before_the_command_is_done(start: Any) -> None:
    ssm = start(moto=True)
    ssm.fake.cloud.create_bucket("rune", "us-east-1")
    s3 = ssm.fake.cloud.client("s3", "us-east-1")
    (instance,) = ssm.fake.instance_ids

    def keys() -> list[str]:
        return [one["Key"] for one in s3.list_objects_v2(Bucket="rune").get("Contents", ())]

    answer = ssm.run(
        "head -c 100000 /dev/zero | tr '\\0' x",
        OutputS3BucketName="rune",
        OutputS3KeyPrefix="a/b",
    )
    key = f"a/b/{answer['CommandId']}/{instance}/awsrunShellScript/0.awsrunShellScript/stdout"
    assert keys() == [key]  # and no empty stderr
    body = s3.get_object(Bucket="rune", Key=key)["Body"].read()
    assert body == b"x" * 100_000
    assert answer["StandardOutputUrl"] == f"https://s3.us-east-1.amazonaws.com/rune/{key}"

    failed = ssm.run("echo oops >&2; exit 1", OutputS3BucketName="rune")
    key = f"{failed['CommandId']}/{instance}/awsrunShellScript/0.awsrunShellScript/stderr"
    assert key in keys()
    body = s3.get_object(Bucket="rune", Key=key)["Body"].read()
    assert body == b"oops\nfailed to run commands: exit status 1"

    missing = ssm.run("echo out", OutputS3BucketName="no-such-bucket")
    assert missing["Status"] == "Success"
    assert ssm.plugin(missing["CommandId"])["OutputS3BucketName"] == "no-such-bucket"


def test_without_moto_there_is_no_bucket_and_commands_succeed_all_the_same(ssm: Any) -> None:
    assert ssm.run("echo out", OutputS3BucketName="rune")["StandardOutputContent"] == "out\n"
    assert "AWS_ENDPOINT_URL_S3" not in ssm.fake.environment


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_the_command_prints_what_a_shell_needs(service: Any, stop: signal.Signals) -> None:
    with subprocess.Popen(
        [*COMMAND, "--instances", "2", "--offline", "1"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stderr.readline().startswith("3 instances; paste these lines")
        lines = [process.stdout.readline() for _ in range(10)]
        assert all(line.startswith("export AWS_") for line in lines)
        pairs = [line.strip().removeprefix("export ").partition("=") for line in lines]
        os.environ.update({name: value for name, _, value in pairs})
        found = service("ssm").describe_instance_information()["InstanceInformationList"]
        assert [one["PingStatus"] for one in found] == ["Online", "Online", "ConnectionLost"]
        assert [one["Name"] for one in service("s3").list_buckets()["Buckets"]] == ["rune"]
        moto = os.environ["AWS_ENDPOINT_URL_S3"]
        process.send_signal(stop)
        rest = process.communicate(timeout=20)
    assert (process.returncode, rest[0]) == (0, "")
    assert "Traceback" not in rest[1]
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(moto)


def test_the_command_keeps_an_env_file_while_it_runs(tmp_path: Path, until: Any) -> None:
    file = tmp_path / "aws.env"
    with subprocess.Popen(
        [*COMMAND, "--no-moto", "--env-file", str(file)], cwd=ROOT, stderr=subprocess.PIPE
    ) as process:
        until(lambda: (file.exists() and file.read_text()) or None)
        shell = ["sh", "-c", f". {file}; echo $AWS_ENDPOINT_URL_SSM"]
        shown = subprocess.run(shell, capture_output=True, text=True, check=True).stdout
        assert shown.startswith("http://127.0.0.1:")
        process.terminate()
        process.communicate(timeout=20)
    assert not file.exists()


def refused(*argv: str, code: str = "") -> str:
    """Return stderr of a command that must fail without a traceback."""
    run = [sys.executable, "-c", code] if code else COMMAND
    done = subprocess.run([*run, *argv], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert "Traceback" not in done.stderr
    return done.stderr


def test_a_taken_port_is_said(ssm: Any) -> None:
    port = ssm.fake.endpoint_url.rpartition(":")[2]
    assert f"port {port} of 127.0.0.1: Address already in use" in refused(
        "--no-moto", "--port", port
    )


def test_a_missing_moto_is_said() -> None:
    without = "import sys; sys.modules['moto'] = None; from lmm.testing.aws.__main__ import main"
    said = refused(code=f"{without}; main()")
    assert "pip install 'rune-orchestrator[test]'" in said
    assert "--no-moto" in said


def test_a_fake_that_does_not_start_leaves_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        fake = FakeAws(port=taken.getsockname()[1])
        with pytest.raises(Exception, match="Address already in use"):
            fake.__enter__()
