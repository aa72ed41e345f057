"""Connections that an account behind sudo keeps: each who asks has their own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from lmm.testing import Sshd, processes

from .service import Service

pytestmark = pytest.mark.needs_root


@pytest.fixture
def sockets(service: Service, sshd: Sshd) -> Iterator[Path]:
    """Where the account keeps connections, with a target ``h`` that it may reach by ``openssh``."""
    for file, name in ((sshd.identity_file, "key"), (sshd.known_hosts, "hosts")):
        service.writes(
            service.account, service.account.home / f".ssh/{name}", file.read_text(), 0o600
        )
    home = service.account.home / ".ssh"
    settings = f"{{identity_files: [{home}/key], known_hosts: [{home}/hosts], config_file: none}}"
    inventory = service.policy.parent / "inventory.yaml"
    before = inventory.read_text()
    inventory.write_text(
        f"targets: {{h: {{host: 127.0.0.1, port: {sshd.port}, user: root, transport: openssh,"
        f" ssh: {settings}}}}}\n"
    )
    folder = Path(f"/tmp/rune-{service.account.uid}")
    yield folder
    processes.end(service.account.pids(), 5.0)
    inventory.write_text(before)
    shutil.rmtree(folder, ignore_errors=True)


def test_nobody_runs_over_a_connection_that_has_the_limits_of_another(
    service: Service, sockets: Path
) -> None:
    def masters() -> set[str]:
        return set(os.listdir(sockets))

    run = ("run", "noop", "-t", "h", "-o", "json")
    limited = service(service.alice, *run, before="ulimit -t 100")
    assert limited.code == 0, limited.stderr
    first = masters()
    assert len(first) == 1
    done = service(service.bob, *run)
    assert done.code == 0, done.stderr
    both = masters()
    assert len(both) == 2
    assert first < both
    assert [service(one, *run).code for one in (service.alice, service.bob)] == [0, 0]
    assert masters() == both  # each is used again by who began it
