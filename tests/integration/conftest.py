"""What the tests of whole commands share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lmm.model import Target
from lmm.testing import Sshd
from lmm.transports import disconnect
from tests.integration.cli.conftest import Rune
from tests.integration.ssh_client import Client
from tests.support.forks import Forks


@pytest.fixture(scope="session", autouse=True)
def _forks() -> Iterator[None]:
    """The process of which the commands of this worker are forks."""
    with Forks() as Rune.forks:
        yield
    Rune.forks = None


@pytest.fixture
def client(sshd: Sshd) -> Iterator[Client]:
    """What runs scripts, while connections are kept."""
    made = Client()
    yield made
    made.pool.close()
    disconnect()


@pytest.fixture(params=["ssh", "openssh"])
def target(request: pytest.FixtureRequest, sshd: Sshd) -> Target:
    """A host that is reached by ssh and by openssh, and not waited for long."""
    settings = {"connect_timeout_s": 1.0, "banner_timeout_s": 2.0, "auth_timeout_s": 5.0}
    return sshd.target("node1", transport=request.param, settings=settings)
