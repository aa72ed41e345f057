"""Reads what will be sent to the targets of a plan."""

from __future__ import annotations

from lmm.model import File, Script
from lom.planning.plan import Plan
from lom.registry import files as bundle
from lom.registry.manifest import Capability, Plugin


def load_scripts(plan: Plan) -> dict[Plugin, Script]:
    """Read what will be sent, once for the whole run. Raises RequestError (``local_io_error``)."""
    one_each = {s.plugin: s.capability for s in plan.steps if s.plugin and not s.error}
    return {plugin: load_script(plugin, found) for plugin, found in one_each.items() if found}


def load_script(plugin: Plugin, capability: Capability) -> Script:
    """Read what is sent to run a capability. Raises RequestError (``local_io_error``)."""
    commands = tuple(need for need in capability.requires if "=" not in need)
    found = bundle.read(plugin.files)
    name = plugin.entrypoint.name
    content = found.pop(name)
    files = tuple(File(p, c, bundle.is_executable(plugin.files[p])) for p, c in found.items())
    return Script(name, content, plugin.interpreter, commands, files)
