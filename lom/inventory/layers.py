"""From layers of settings, one over the other, to a target."""

from __future__ import annotations

from dataclasses import dataclass

from lmm.model import Become, SshSettings, SsmSettings, Target
from lom.inventory.settings import Layer, over


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
        seen=layer.get("seen"),
    )
