"""The rest of the account, in moto: EC2 instances, buckets, and the agents' uploads to them."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

from lmm.testing.aws.moto import Moto

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "AKIAFAKEFAKEFAKEFAKE",
    "AWS_SECRET_ACCESS_KEY": "fake",
}
REGION = "us-east-1"
IMAGE = "ami-0123456789abcdef0"


class Cloud:
    """moto's server and boto3 clients of its services; a context manager."""

    def __init__(self) -> None:
        self._moto = Moto()
        self._clients: dict[tuple[str, str], Any] = {}
        self._lock = threading.Lock()
        self._uploads = ThreadPoolExecutor(1, "FakeAws-uploads")

    @property
    def environment(self) -> Mapping[str, str]:
        """The variables by which AWS's SDKs find its services."""
        return self._moto.environment

    def __enter__(self) -> Self:
        self._moto.__enter__()
        # Thread, client and connection are there before a test looks at what it leaves behind.
        self._uploads.submit(lambda: self.client("s3", REGION).list_buckets()).result()
        return self

    def __exit__(self, *_: object) -> None:
        self._uploads.shutdown()
        for client in self._clients.values():
            client.close()
        self._clients.clear()
        self._moto.stop()

    def client(self, service: str, region: str) -> Any:
        """Return a boto3 client, kept for the next one who asks."""
        import boto3  # 0.4 s, for those who want moto

        with self._lock:
            if (service, region) not in self._clients:
                session: Any = boto3.session.Session(
                    aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
                    aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
                )
                self._clients[service, region] = session.client(
                    service, region_name=region, endpoint_url=self._moto.endpoint_url
                )
            return self._clients[service, region]

    def run_instances(self, region: str, count: int) -> list[str]:
        """Make EC2 instances and return their ids."""
        answer = self.client("ec2", region).run_instances(
            ImageId=IMAGE, MinCount=count, MaxCount=count
        )
        return [instance["InstanceId"] for instance in answer["Instances"]]

    def tag(self, region: str, instance: str, tags: Mapping[str, str]) -> None:
        """Give an EC2 instance its tags."""
        pairs = [{"Key": key, "Value": value} for key, value in tags.items()]
        if pairs:
            self.client("ec2", region).create_tags(Resources=[instance], Tags=pairs)

    def create_bucket(self, name: str, region: str) -> None:
        """Make a bucket."""
        place = {"CreateBucketConfiguration": {"LocationConstraint": region}}
        self.client("s3", region).create_bucket(Bucket=name, **(place if region != REGION else {}))

    async def upload(self, region: str, bucket: str, key: str, path: Path) -> None:
        """Store a file as an agent does, which only logs what goes wrong."""

        def put() -> None:
            from botocore.exceptions import BotoCoreError, ClientError

            with contextlib.suppress(BotoCoreError, ClientError), path.open("rb") as stream:
                self.client("s3", region).put_object(Bucket=bucket, Key=key, Body=stream)

        await asyncio.get_running_loop().run_in_executor(self._uploads, put)
