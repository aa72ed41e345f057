"""How a variable of a target is compared with what people write of it."""

from __future__ import annotations

import json
import re
from typing import Any

_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]{1,3})?")


def spelt(value: Any) -> str:
    """Return a value as JSON spells it, a text as it is."""
    return value if isinstance(value, str) else json.dumps(value, default=str)


def is_same(value: Any, text: str) -> bool:
    """Whether a text is the value: so spelt, or the same number, as 1.10 is 1.1."""
    if spelt(value) == text:
        return True
    if isinstance(value, bool) or not isinstance(value, int | float) or not _NUMBER.fullmatch(text):
        return False
    from decimal import Decimal

    return Decimal(spelt(value)) == Decimal(text)
