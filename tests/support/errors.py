"""The error of a command that has ended, or of a document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def error_of(found: Any) -> Any:
    """Return code, message and data of the error on stdout, of a document or of a result in one."""
    document = found if isinstance(found, Mapping) else found.document
    return document.get("error", document)["error_data"]["error"]


def reason(found: Any) -> str:
    """Return why it failed."""
    return str(error_of(found)["data"]["reason"])
