"""What the tests of whole commands share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.cli.conftest import Rune
from tests.support.forks import Forks


@pytest.fixture(scope="session", autouse=True)
def _forks() -> Iterator[None]:
    """The process of which the commands of this worker are forks."""
    with Forks() as Rune.forks:
        yield
    Rune.forks = None
