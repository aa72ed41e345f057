"""What goes through S3: inputs too large or too secret for the service, outputs cut by it."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Iterator

from lmm.aws import session
from lmm.aws.session import CALL_ERRORS, AwsAccount, Clients
from lmm.errors import RuneError
from lmm.model import SsmSettings

URL_MARGIN_S = 300
OUTPUT_PAUSES_S = (0.0, 0.5, 1.0, 2.0, 4.0)  # for an object that the agent has just put
DELETED_AT_ONCE = 1000  # DeleteObjects: most keys in one call


class Storage:
    """The objects of one run in one bucket. Inputs are removed by ``close`` in any case."""

    def __init__(
        self, clients: Clients, account: AwsAccount, ssm: SsmSettings, run_id: str
    ) -> None:
        assert ssm.s3_bucket
        self.bucket = ssm.s3_bucket
        self.region = ssm.s3_region or ssm.region
        self._client = clients.get(account, "s3", region=self.region)
        self._top = f"{ssm.s3_prefix.strip('/')}/{run_id}".lstrip("/")
        self._keep = ssm.keep_output
        self._lock = threading.Lock()
        self._urls: dict[bytes, str] = {}
        self._inputs: list[str] = []

    @property
    def output_prefix(self) -> str:
        """The key prefix that the agents are told; they add command, instance and plugin."""
        return f"{self._top}/out"

    def put(self, data: bytes, valid_s: float) -> str:
        """Store an input and return an address that opens it for ``valid_s`` seconds and more.

        Equal data is stored once. Raises Unreachable.
        """
        with self._lock:
            if data in self._urls:
                return self._urls[data]
            key = f"{self._top}/in/{secrets.token_hex(16)}"
            self._inputs.append(key)
            try:
                self._client.put_object(Bucket=self.bucket, Key=key, Body=data)
            except CALL_ERRORS as error:
                raise self._fault(error, "to put an object into") from None
            self._urls[data] = self._client.generate_presigned_url(
                "get_object",
                Params={"Bucket": self.bucket, "Key": key},
                ExpiresIn=int(valid_s) + URL_MARGIN_S,
            )
            return self._urls[data]

    def output(self, command: str, instance: str, most: int) -> str | None:
        """Return what the script printed, at most so many characters; None when the agent has put
        no such object.

        The agent's layout is PREFIX/COMMAND/INSTANCE/PLUGIN/STEP/stdout; plugin and step are
        looked up, not guessed. Raises Unreachable.
        """
        for pause in OUTPUT_PAUSES_S:
            time.sleep(pause)
            try:
                for key in self._keys(f"{self.output_prefix}/{command}/{instance}/"):
                    if key.endswith("/stdout"):
                        body = self._client.get_object(Bucket=self.bucket, Key=key)["Body"]
                        with body:
                            return str(body.read(most).decode("ascii", "replace"))
            except CALL_ERRORS as error:
                raise self._fault(error, "to read") from None
        return None

    def close(self, commands: list[str]) -> None:
        """Remove the inputs, and the outputs of the commands unless they are to be kept.

        Raises Unreachable when something may be left behind.
        """
        try:
            keys = list(self._inputs)
            for command in [] if self._keep else commands:
                keys += self._keys(f"{self.output_prefix}/{command}/")
            for at in range(0, len(keys), DELETED_AT_ONCE):
                objects = [{"Key": key} for key in keys[at : at + DELETED_AT_ONCE]]
                self._client.delete_objects(
                    Bucket=self.bucket, Delete={"Objects": objects, "Quiet": True}
                )
        except CALL_ERRORS as error:
            raise self._fault(error, "to remove objects from") from None

    def _keys(self, prefix: str) -> Iterator[str]:
        pages = self._client.get_paginator("list_objects_v2")
        for page in pages.paginate(Bucket=self.bucket, Prefix=prefix):
            for one in page.get("Contents", ()):
                yield one["Key"]

    def _fault(self, error: BaseException, doing: str) -> RuneError:
        return session.fault(error, f"{doing} s3://{self.bucket}/{self._top}")
