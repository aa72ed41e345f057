"""Programs that a test needs of the machine."""

from __future__ import annotations

import os
import shutil

import pytest

MORE = {"fio", "go", "nvcc", "rustc"}  # large: installed by `make test-more`, nvcc by nobody

# Read once: each test runs without the RUNE_… variables of whoever started the suite.
_INSTALLED = {"fio", "go", "rustc"} if "RUNE_TEST_MORE" in os.environ else set[str]()


def need(tool: str) -> None:
    """Skip the test where the machine lacks a program; fail where it was to be installed."""
    if shutil.which(tool) is None:
        if tool in _INSTALLED or ("CI" in os.environ and tool not in MORE):
            pytest.fail(f"this must be tested here, and the machine has no {tool}")
        pytest.skip(f"this machine has no {tool}")
