"""Layers of settings: what one place of an inventory gives, one over the other, to a target.

``vars``, ``ssh``, ``ssh.options``, ``ssm`` and ``become`` merge per key, all else is replaced.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lmm.model import Become, SshSettings, SsmSettings, Target
from lom.inventory_model import SettingsModel

Layer = Mapping[str, Any]  # settings that are given in one place; the merged ones are mappings


def layer_of(settings: SettingsModel) -> Layer:
    """Return the settings that are given, as a mapping; null takes a setting back."""
    layer = {name: getattr(settings, name) for name in settings.model_fields_set}
    for name in ("ssh", "ssm", "become"):
        block = layer.get(name)
        if block is not None:
            layer[name] = {key: getattr(block, key) for key in block.model_fields_set}
    ssh = layer.get("ssh")
    if ssh:
        for name in ("identity_files", "known_hosts"):
            if name in ssh:
                ssh[name] = tuple(ssh[name])
    return layer


def over(base: Layer, layer: Layer) -> Layer:
    """Return ``base`` with ``layer`` over it."""
    if not layer or not base:
        return layer or base
    merged = {**base, **layer}
    for name in ("vars", "ssh", "ssm", "become"):
        below, above = base.get(name), layer.get(name)
        if below and above is not None:
            merged[name] = {**below, **above}
            if name == "ssh" and "options" in below and "options" in above:
                merged[name]["options"] = {**below["options"], **above["options"]}
    return merged


@dataclass(frozen=True, slots=True)
class Base:
    """What all targets of the same groups share, made once."""

    layer: Layer
    ssh: SshSettings
    ssm: SsmSettings

    @classmethod
    def of(cls, layer: Layer) -> Base:
        return cls(layer, SshSettings(**layer.get("ssh", {})), SsmSettings(**layer.get("ssm", {})))


def target_of(name: str, groups: tuple[str, ...], base: Base, own: Layer) -> Target:
    """Return the target with its own settings over the base's.

    What a source found is reached by ``instance_id`` over ``ssm``, by ``host`` otherwise.
    """
    layer = over(base.layer, own)
    become = layer.get("become")
    transport = layer.get("transport") or "ssh"
    host = layer.get("host")
    return Target(
        name=name,
        host=layer.get("instance_id", host) if transport == "ssm" else host,
        transport=transport,
        port=layer.get("port"),
        user=layer.get("user"),
        vars=layer.get("vars", {}),
        groups=groups,
        ssh=SshSettings(**layer.get("ssh", {})) if "ssh" in own else base.ssh,
        ssm=SsmSettings(**layer.get("ssm", {})) if "ssm" in own else base.ssm,
        become=None
        if become is None
        else Become(become.get("user") or "root", become.get("password")),
    )
