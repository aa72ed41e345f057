"""The manifest of a bash plugin for one action."""

from __future__ import annotations

from typing import Any


def manifest_of(action: str, *, version: str = "1.0.0", **fields: Any) -> dict[str, Any]:
    """Return a manifest whose script is ``main.sh``; ``fields`` are those of its action."""
    capability = {
        "action": action,
        "description": f"Does {action}.",
        "input_schema": {"type": "object"},
        "output_schema": {"type": "object"},
        "risk": "read",
    }
    return {
        "module_name": action.replace(".", "-"),
        "module_version": version,
        "description": f"Offers {action}.",
        "runtime": "bash",
        "entrypoint": "main.sh",
        "capabilities": [{**capability, **fields}],
    }
