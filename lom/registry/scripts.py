"""Reads what is sent to run a capability of a plugin."""

from __future__ import annotations

from lmm.model import File, Script
from lom.registry import files as bundle
from lom.registry.manifest import Capability, Plugin


def load_script(plugin: Plugin, capability: Capability) -> Script:
    """Read what is sent to run a capability. Raises RequestError (``local_io_error``)."""
    commands = tuple(need for need in capability.requires if "=" not in need)
    found = bundle.read(plugin.files)
    name = plugin.entrypoint.name
    content = found.pop(name)
    files = tuple(File(p, c, bundle.is_executable(plugin.files[p])) for p, c in found.items())
    return Script(name, content, plugin.interpreter, commands, files)
