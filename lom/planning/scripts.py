"""Reads what will be sent to the targets of a plan."""

from __future__ import annotations

from lmm.model import Script
from lom.planning.plan import Plan
from lom.registry.manifest import Plugin
from lom.registry.scripts import load_script


def load_scripts(plan: Plan) -> dict[Plugin, Script]:
    """Read what will be sent, once for the whole run. Raises RequestError (``local_io_error``)."""
    one_each = {s.plugin: s.capability for s in plan.steps if s.plugin and not s.error}
    return {plugin: load_script(plugin, found) for plugin, found in one_each.items() if found}
