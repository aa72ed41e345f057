"""What the tests of mediation share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

Write = Callable[..., str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a file, `{dir}` standing for its directory; return its path."""

    def write_file(text: str, name: str = "config") -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace("{dir}", str(tmp_path)), encoding="utf-8")
        return str(path)

    return write_file
