"""A wall clock that jumps, for the processes that are started with its environment."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Clock:
    """A wall clock of its own for all processes with this environment."""

    file: Path
    library: Path

    @property
    def environment(self) -> dict[str, str]:
        return {"LD_PRELOAD": str(self.library)}

    def set_to(self, seconds: int) -> str:
        """Return the shell command that makes the clock differ by so much from the true time."""
        return f"echo {seconds} >{self.file}.$$ && mv {self.file}.$$ {self.file}"


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    made = Clock(tmp_path / "jump", tmp_path / "clock.so")
    source = Path(__file__).with_name("clock.c")
    name = f'-DJUMP="{made.file}"'
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", name, "-o", made.library, source], check=True)
    return made
