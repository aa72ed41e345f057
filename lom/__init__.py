"""Lifecycle Orchestrator Module: decides what runs where, and answers for the results.

Actions, plugins, inventory, policies, runs and surfaces belong here. Connections to hosts do
not: every byte that reaches a target goes through ``lmm``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from lmm import __version__

if TYPE_CHECKING:
    from lmm.errors import RuneError
    from lmm.model import Become, Outcome, Result, SecretRef, Target
    from lom.execution.run import Run
    from lom.inventory.model import Inventory
    from lom.planning.options import RunOptions, Start
    from lom.planning.plan import Plan
    from lom.service.orchestrator import Orchestrator

__all__ = [
    "Become",
    "Inventory",
    "Orchestrator",
    "Outcome",
    "Plan",
    "Result",
    "Run",
    "RunOptions",
    "RuneError",
    "SecretRef",
    "Start",
    "Target",
    "__version__",
]

_HOMES = {
    "lmm.errors": ("RuneError",),
    "lmm.model": ("Become", "Outcome", "Result", "SecretRef", "Target"),
    "lom.inventory.model": ("Inventory",),
    "lom.service.orchestrator": ("Orchestrator",),
    "lom.planning.options": ("RunOptions", "Start"),
    "lom.planning.plan": ("Plan",),
    "lom.execution.run": ("Run",),
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that ``rune --help`` stays fast."""
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(home), name)
    raise AttributeError(f"module 'lom' has no attribute {name!r}")
