"""Reads what will be sent to the targets of a plan."""

from __future__ import annotations

from lmm.model import File, Script
from lom import bundle
from lom.manifest import Plugin
from lom.plan import Plan, Step


def load_scripts(plan: Plan) -> dict[Plugin, Script]:
    """Read what will be sent, once for the whole run. Raises RequestError (``local_io_error``)."""
    one_each = {s.plugin: s for s in plan.steps if s.plugin and not s.error}
    return {plugin: _load_script(step) for plugin, step in one_each.items()}


def _load_script(step: Step) -> Script:
    assert step.plugin
    assert step.capability
    plugin, commands = step.plugin, [need for need in step.capability.requires if "=" not in need]
    found = bundle.read(plugin.files)
    content = found.pop(plugin.entrypoint.name)
    files = [File(p, c, bundle.is_executable(plugin.files[p])) for p, c in found.items()]
    name = plugin.entrypoint.name
    return Script(name, content, plugin.interpreter, tuple(commands), tuple(files))
