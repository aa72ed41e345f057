"""The part of a plan that an approval is bound to, as JSON values (``specs/approval_v1.json``)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from lmm.model import Become, Script, SecretRef, SshSettings, SsmSettings, Target
from lom.planning.plan import Plan, Step
from lom.registry.manifest import Plugin

VERSION = 1
# Of a target: what is told beside its settings, what its plugin never sees, what changes by itself.
_LEFT_OUT = ("name", "host", "transport", "vars", "groups", "seen")


def subject_of(plan: Plan, scripts: Mapping[Plugin, Script]) -> dict[str, Any]:
    """Return all of a plan that decides what runs where; secrets are masked, not hashed.

    ``scripts`` are the bytes that would be sent. Left out are what a target's plugin never sees
    (variables, groups) and what changes by itself.
    """
    return {
        "version": VERSION,
        "action": plan.action,
        "parameters": plan.request["payload"]["data"]["input_parameters"],
        "secret_parameters": sorted(plan.secret_params),
        "plugins": [
            {
                "name": plugin.name,
                "version": plugin.version,
                "sha256": script.sha256(),
                "manifest_sha256": hashlib.sha256(plugin.manifest).hexdigest(),
            }
            for plugin, script in sorted(scripts.items(), key=lambda one: one[0].name)
        ],
        "targets": [_target(step) for step in plan.steps],
        "options": plan.options.document(),
    }


def _target(step: Step) -> dict[str, Any]:
    target = step.target
    return {
        "name": target.name,
        "address": target.address,
        "transport": target.transport,
        "plugin": step.plugin.name if step.plugin else None,
        "settings": _set(target, Target(""), _LEFT_OUT),
    }


def _set(value: Any, default: Any, without: Sequence[str] = ()) -> dict[str, Any]:
    """Return the fields of a dataclass that are not as they are by default."""
    found = {one.name: getattr(value, one.name) for one in fields(value) if one.name not in without}
    return {name: _plain(one) for name, one in found.items() if one != getattr(default, name)}


def _plain(value: Any) -> Any:
    match value:
        case SshSettings() | SsmSettings():
            return _set(value, type(value)())
        case Become():
            return {"user": value.user, "password": value.password and value.password.reference}
        case SecretRef():
            return value.reference
        case Mapping():
            return dict(value)
        case tuple():
            return list(value)
    return value
