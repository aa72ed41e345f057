"""How often a test repeats what goes wrong once in many times."""

from __future__ import annotations

import os

# Read once: each test runs without the RUNE_… variables of whoever started the suite.
SCALE = float(os.environ.get("RUNE_TEST_SCALE", "1"))


def repeats(count: int) -> int:
    """Return ``count`` for the suite; ``RUNE_TEST_SCALE`` multiplies it (``make soak``: 50)."""
    return max(1, round(count * SCALE))
