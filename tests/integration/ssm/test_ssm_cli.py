"""``rune run`` over AWS Systems Manager gives the document that SSH gives."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lmm.contract import spec_validator
from lmm.testing import Sshd
from lmm.testing.aws import FakeAws
from tests.support.errors import error_of

ROOT = Path(__file__).resolve().parents[3]
SECRET = "correct-horse/battery+staple"


@pytest.fixture
def inventory(tmp_path: Path, sshd: Sshd, aws: FakeAws) -> Path:
    ssh = sshd.target("node1")
    path = tmp_path / "inventory.yaml"
    targets = {
        "over-ssh": {
            "host": ssh.host,
            "port": ssh.port,
            "user": ssh.user,
            "ssh": {
                "identity_files": list(ssh.ssh.identity_files),
                "known_hosts": list(ssh.ssh.known_hosts),
            },
        },
        "over-ssm": {
            "host": aws.instance_ids[0],
            "transport": "ssm",
            "ssm": {"s3_bucket": "rune"},
        },
        "no-bucket": {"host": aws.instance_ids[1], "transport": "ssm"},
    }
    path.write_text(json.dumps({"targets": targets}))
    return path


def rune(aws: FakeAws, *words: str, **env: str) -> tuple[int, dict[str, Any], str]:
    done = subprocess.run(
        [sys.executable, "-m", "lom.cli", *words, "-o", "json"],
        cwd=ROOT,
        env={**os.environ, **aws.environment, **env},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    return done.returncode, json.loads(done.stdout), done.stderr


def test_the_same_document(inventory: Path, aws: FakeAws) -> None:
    params = ["-p", "text={{ssm:x}} ü 'quoted' $(reboot)", "-p", "number=1.5"]
    where = ["-i", str(inventory), "-t", "over-ssh", "-t", "over-ssm"]
    code, document, _ = rune(aws, "run", "noop", *where, *params)
    assert code == 0
    assert spec_validator("result_v1").violations(document) == []
    by_ssh, by_ssm = document["results"]
    for result in (by_ssh, by_ssm):
        del result["target"], result["duration_s"]
    assert by_ssh == by_ssm
    assert by_ssm["output_data"]["text"] == "{{ssm:x}} ü 'quoted' $(reboot)"


def test_a_failing_plugin_fails_alike(inventory: Path, aws: FakeAws) -> None:
    where = ["-i", str(inventory), "-t", "over-ssh", "-t", "over-ssm"]
    code, document, _ = rune(aws, "run", "host.exec", *where, "-p", "command=exit 194")
    assert code == 1
    errors = [error_of(result) for result in document["results"]]
    for error in errors:
        del error["data"]["target"]
    assert errors[0] == errors[1]
    assert aws.reboots(aws.instance_ids[0]) == 0


def test_a_secret_needs_a_bucket(inventory: Path, aws: FakeAws) -> None:
    secret = ["--secret", "token=env:TOKEN"]
    where = ["-i", str(inventory), "-t", "over-ssm"]
    code, document, _ = rune(aws, "run", "noop", *where, *secret, TOKEN=SECRET)
    assert code == 0
    assert SECRET not in json.dumps(document)

    where = ["-i", str(inventory), "-t", "no-bucket", "-t", "over-ssm"]
    before = aws.calls["SendCommand"]
    code, document, stderr = rune(aws, "run", "noop", *where, *secret, TOKEN=SECRET)
    assert code == 2
    error = error_of(document)
    assert error["data"]["reason"] == "secret_needs_s3"
    assert "ssm.s3_bucket" in error["message"]
    assert SECRET not in json.dumps(document) + stderr
    assert aws.calls["SendCommand"] == before
