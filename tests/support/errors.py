"""The error of a result, of a command that has ended, or of a document."""

from __future__ import annotations

from typing import Any


def error_of(found: Any) -> Any:
    """Return code, message and data of the error: of a result, or on a command's stdout."""
    document = found.document if hasattr(found, "document") else found.error
    assert document is not None, found
    return document["error_data"]["error"]


def reason(found: Any) -> str:
    """Return why it failed."""
    return str(error_of(found)["data"]["reason"])
