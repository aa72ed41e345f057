"""Reads what will be sent to the targets of a plan."""

from __future__ import annotations

from lmm.errors import RequestError
from lmm.model import Script
from lom.manifest import Plugin
from lom.plan import Plan, Step


def load_scripts(plan: Plan) -> dict[Plugin, Script]:
    """Read what will be sent, once for the whole run. Raises RequestError (``local_io_error``)."""
    one_each = {s.plugin: s for s in plan.steps if s.plugin and not s.error}
    return {plugin: _load_script(step) for plugin, step in one_each.items()}


def _load_script(step: Step) -> Script:
    assert step.plugin
    assert step.capability
    path = step.plugin.entrypoint
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RequestError("local_io_error", f"cannot read {path}: {error.strerror}") from None
    commands = tuple(need for need in step.capability.requires if "=" not in need)
    return Script(path.name, content, step.plugin.interpreter, commands)
