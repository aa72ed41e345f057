"""An AWS account with instances of many kinds in two regions, and ``rune`` as a real process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lmm.testing.aws import FakeAws

ROOT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True)
class Fleet:
    """The account, and the ids of its instances by what they are called here."""

    aws: FakeAws
    ids: dict[str, str]

    def names(self, ids: object) -> set[str]:
        """Return what the instances are called here."""
        assert isinstance(ids, list)
        known = {found: name for name, found in self.ids.items()}
        return {known[found] for found in ids}


@pytest.fixture(scope="session")
def fleet() -> Iterator[Fleet]:
    """An account that no test changes; pages have two items. Nothing is ever run in it.

    us-east-1: node1 (gpu), node2 (web), twin1 and twin2 (both tagged twin), bare (gpu, without
    an agent), gone (gpu, terminated), rack (hybrid, gpu); eu-west-1: euro (gpu, offline). The
    resource groups ``gpu`` and ``web`` have the nodes that are tagged so, except bare and gone.
    """
    with FakeAws(instances=2, moto=True, page_size=2) as aws:
        ids = dict(zip(("node1", "node2"), aws.instance_ids, strict=True))
        for name in ("twin1", "twin2"):
            ids[name] = aws.add_instance(tags={"Name": "twin"})
        ids["rack"] = aws.add_instance(hybrid=True, tags={"Name": "rack", "Role": "gpu"})
        europe = {"Name": "euro", "Role": "gpu"}
        ids["euro"] = aws.add_instance(region="eu-west-1", tags=europe, ping="ConnectionLost")
        ids["bare"], ids["gone"] = aws.cloud.run_instances("us-east-1", 2)
        for name in ("bare", "gone"):
            aws.cloud.tag("us-east-1", ids[name], {"Name": name, "Role": "gpu"})
        ec2 = aws.cloud.client("ec2", "us-east-1")
        ec2.terminate_instances(InstanceIds=[ids["gone"]])
        for role in ("gpu", "web"):
            aws.add_group(role, {"Role": role})
        yield Fleet(aws, ids)


@pytest.fixture
def as_fleet(fleet: Fleet) -> Fleet:
    """The account, with the environment of this test set for it."""
    os.environ.update(fleet.aws.environment)
    return fleet


@dataclass(frozen=True)
class Done:
    """An ended ``rune``."""

    code: int
    stdout: str
    stderr: str

    @property
    def document(self) -> Any:
        return json.loads(self.stdout)


@pytest.fixture
def rune(tmp_path: Path) -> Callable[..., Done]:
    """Run ``rune ARGUMENTS`` to its end, in the folder of the test."""

    def rune(*arguments: str) -> Done:
        done = subprocess.run(
            [sys.executable, "-m", "lom.cli", *arguments],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    return rune


@pytest.fixture
def inventory(tmp_path: Path) -> Callable[[str], Path]:
    """Write ``inventory.yaml`` into the folder of the test."""

    def inventory(text: str) -> Path:
        path = tmp_path / "inventory.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return inventory
