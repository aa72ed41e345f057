"""Local Mediation Module: carries scripts to targets and brings back validated answers.

Hosts, bytes, scripts, transports and envelopes belong here. What may run, where and when is
decided elsewhere: this package never imports ``lom``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lmm.errors import RuneError
    from lmm.model import (
        Invocation,
        Limits,
        Outcome,
        Result,
        Script,
        SecretRef,
        SshSettings,
        Target,
    )
    from lmm.scope import Scope
    from lmm.transports import Job, Transport, TransportPool

__version__ = "0.1.0"

__all__ = [
    "Invocation",
    "Job",
    "Limits",
    "Outcome",
    "Result",
    "RuneError",
    "Scope",
    "Script",
    "SecretRef",
    "SshSettings",
    "Target",
    "Transport",
    "TransportPool",
    "__version__",
]

_HOMES = {
    "lmm.errors": ("RuneError",),
    "lmm.scope": ("Scope",),
    "lmm.model": (
        "Invocation",
        "Limits",
        "Outcome",
        "Result",
        "Script",
        "SecretRef",
        "SshSettings",
        "Target",
    ),
    "lmm.transports": ("Job", "Transport", "TransportPool"),
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: importing ``lmm`` costs nothing."""
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(home), name)
    raise AttributeError(f"module 'lmm' has no attribute {name!r}")
