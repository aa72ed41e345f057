"""Clients of a FakeAws: boto3, unmodified, and a way to wait for commands."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import boto3
import pytest
from botocore.config import Config

from lmm.testing.aws import FakeAws

PATIENCE_S = 20.0  # only a broken fake takes as long


@dataclass
class Ssm:
    """boto3's client for SSM, and what tests do with it."""

    fake: FakeAws
    client: Any

    def send(
        self, *commands: str, to: Sequence[str] = (), execution_s: int = 3600, **request: Any
    ) -> str:
        """Send commands, to all instances by default, and return the command's id."""
        parameters = {"commands": list(commands), "executionTimeout": [str(execution_s)]}
        wanted: dict[str, Any] = {
            "DocumentName": "AWS-RunShellScript",
            "Parameters": parameters,
            **({} if "Targets" in request else {"InstanceIds": list(to or self.fake.instance_ids)}),
            **request,
        }
        return str(self.client.send_command(**wanted)["Command"]["CommandId"])

    def command(self, command_id: str) -> Any:
        (found,) = self.client.list_commands(CommandId=command_id)["Commands"]
        return found

    def get(self, command_id: str, instance_id: str = "") -> Any:
        return self.client.get_command_invocation(
            CommandId=command_id, InstanceId=instance_id or self.fake.instance_ids[0]
        )

    def plugin(self, command_id: str) -> Any:
        """Return what ListCommandInvocations shows of the command's one plugin."""
        (invocation,) = self.client.list_command_invocations(CommandId=command_id, Details=True)[
            "CommandInvocations"
        ]
        (plugin,) = invocation["CommandPlugins"]
        return plugin

    def until(self, command_id: str, *details: str, instance_id: str = "") -> Any:
        """Return GetCommandInvocation's answer once it shows one of these StatusDetails."""

        def look() -> Any:
            answer = self.get(command_id, instance_id)
            return answer if answer["StatusDetails"] in details else None

        return wait_for(look)

    def done(self, command_id: str) -> Any:
        """Return the command once all its invocations are final."""

        def look() -> Any:
            command = self.command(command_id)
            return command if command["CompletedCount"] == command["TargetCount"] else None

        return wait_for(look)

    def run(self, *commands: str, **request: Any) -> Any:
        """Send commands and return GetCommandInvocation's answer for the first instance."""
        command_id = self.send(*commands, **request)
        self.done(command_id)
        return self.get(command_id)


def wait_for(look: Callable[[], Any]) -> Any:
    """Return what ``look`` returns as soon as it is not None."""
    until = time.monotonic() + PATIENCE_S
    while (found := look()) is None:
        assert time.monotonic() < until, "the awaited state did not come"
        time.sleep(0.01)
    return found


@pytest.fixture(scope="session")
def session() -> Any:
    """A boto3 session: making clients is cheap once it has read the service models."""
    return boto3.session.Session(aws_access_key_id="AKIATEST", aws_secret_access_key="secret")


@pytest.fixture(scope="session")
def marks() -> Mapping[str, str]:
    """What every process of the tests carries, so that none is left unnoticed."""
    return {name: value for name, value in os.environ.items() if name.startswith("PYTEST_LEAK_")}


@pytest.fixture
def until() -> Callable[..., Any]:
    """Wait for a condition: ``until(look)`` returns what ``look`` does, once it is not None."""
    return wait_for


@pytest.fixture
def clients(session: Any) -> Iterator[Callable[..., Any]]:
    """Make clients that give up after the first attempt; closed at the end of the test."""
    made = []

    def make(url: str, service: str = "ssm", region: str = "us-east-1", **settings: Any) -> Any:
        config = Config(retries={"total_max_attempts": 1}, **settings)
        made.append(session.client(service, region_name=region, endpoint_url=url, config=config))
        return made[-1]

    yield make
    for client in made:
        client.close()


@pytest.fixture
def start(clients: Callable[..., Any], marks: Mapping[str, str]) -> Iterator[Callable[..., Ssm]]:
    """Start a FakeAws, with one instance by default, and connect to it."""
    fakes = []

    def make(instances: int = 1, **settings: Any) -> Ssm:
        environment = {**marks, **settings.pop("environment", {})}
        fakes.append(FakeAws(instances, environment=environment, **settings).__enter__())
        return Ssm(fakes[-1], clients(fakes[-1].endpoint_url))

    yield make
    for fake in fakes:
        fake.close()


@pytest.fixture
def ssm(start: Callable[..., Ssm]) -> Ssm:
    """A FakeAws with one instance, and a client."""
    return start()
