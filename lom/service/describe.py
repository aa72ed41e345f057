"""What is known, as JSON values: what a surface can show of actions, plugins, targets, settings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, fields, is_dataclass
from typing import TYPE_CHECKING, Any

from lmm.model import SecretRef, Target
from lom.inventory.load import EXAMPLE
from lom.settings.values import KEYS, Settings

if TYPE_CHECKING:
    from lom.registry.manifest import Capability, Plugin
    from lom.registry.registry import Registry
    from lom.service.orchestrator import Orchestrator

NO_TARGETS = f"the inventory is empty; write inventory.yaml, such as `{EXAMPLE}`"


def actions(registry: Registry) -> Iterator[dict[str, Any]]:
    """Yield every action with its risk and description, and the plugins that offer it."""
    for name in registry.actions():
        candidates = registry.candidates(name)
        capability = candidates[0][1]
        yield {
            "action": name,
            "risk": capability.risk,
            "plugins": [plugin.name for plugin, _ in candidates],
            "description": capability.description,
        }


def action(registry: Registry, name: str) -> dict[str, Any]:
    """Return all offers of an action with their schemas. Raises RequestError for another one."""
    offers = [_offer(plugin, capability) for plugin, capability in registry.candidates(name)]
    if not offers:
        raise registry.unknown(name)
    return {"action": name, "offers": offers}


def _offer(plugin: Plugin, capability: Capability) -> dict[str, Any]:
    return {
        "plugin": plugin.name,
        "version": plugin.version,
        "description": capability.description,
        "risk": capability.risk,
        "timeout_s": capability.timeout_s,
        "retry_safe": capability.retry_safe,
        "on_disconnect": str(capability.on_disconnect),
        "requires": list(capability.requires),
        "platforms": list(capability.platforms),
        "directory": str(plugin.directory),
        "input_schema": capability.input_schema,
        "output_schema": capability.output_schema,
    }


def plugins(registry: Registry) -> Iterator[dict[str, Any]]:
    """Yield all plugins: those that may be run, shadowed ones, and broken ones with the reason.

    Installed ones tell where they are from, and whether they were changed since.
    """
    records = None
    for one in registry.plugins:
        row = _plugin(one, "ok")
        if one.origin == "installed":
            from lom.registry.installed import change, read_records

            if records is None:
                records = read_records(one.directory.parent)
            record = records.get(one.name)
            row["reason"] = change(one, records)
            row["status"] = "changed" if row["reason"] else "ok"
            row["installed"] = asdict(record) if record else None
        yield row
    for one in registry.shadowed:
        yield _plugin(one, "shadowed")
    for broken in registry.broken:
        yield {
            "plugin": broken.directory.name,
            "version": None,
            "status": "broken",
            "origin": broken.origin,
            "actions": [],
            "directory": str(broken.directory),
            "reason": broken.error.message,
        }


def _plugin(one: Plugin, status: str) -> dict[str, Any]:
    return {
        "plugin": one.name,
        "version": one.version,
        "status": status,
        "origin": one.origin,
        "actions": [capability.action for capability in one.capabilities],
        "directory": str(one.directory),
        "reason": None,
    }


def settings(known: Settings) -> Iterator[dict[str, Any]]:
    """Yield every setting, its value and where that came from."""
    for key in KEYS:
        yield {
            "setting": key,
            "value": _plain(getattr(known, key)),
            "source": known.sources[key],
        }


def targets(orchestrator: Orchestrator, selectors: Sequence[str]) -> dict[str, Any]:
    """Return the targets that selectors pick, in short, all without any; groups and sources."""
    inventory = orchestrator.inventory
    everything = inventory.targets.values()
    chosen: Iterable[Target] = orchestrator.select(selectors) if selectors else everything
    return {
        "targets": [_brief(target) for target in chosen],
        "groups": {name: list(members) for name, members in inventory.groups.items()},
        "sources": list(inventory.sources),
    }


def target(one: Target) -> dict[str, Any]:
    """Return all that is known of a target; secrets show as their references."""
    return {
        **_brief(one),
        "host": one.address,
        "port": one.port,
        "user": one.user,
        "vars": _plain(one.vars),
        "ssh": _plain(one.ssh),
        "ssm": {**_plain(one.ssm), "ping_status": one.seen},
        "become": _plain(one.become),
    }


def _brief(one: Target) -> dict[str, Any]:
    address = one.address if one.port is None else f"{one.address}:{one.port}"
    return {
        "target": one.name,
        "transport": one.transport,
        "address": address if one.user is None else f"{one.user}@{address}",
        "groups": list(one.groups),
        "ping_status": one.seen,
    }


def _plain(value: Any) -> Any:
    """Return the value as JSON values; a secret shows as its reference."""
    if isinstance(value, SecretRef):
        return value.reference
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
