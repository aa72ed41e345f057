"""The inventory as the rest of RUNE sees it: the known targets and their groups."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lmm.model import Target

if TYPE_CHECKING:
    from lmm.aws.discovery import Query


@dataclass(frozen=True, slots=True)
class Inventory:
    """Targets by name in the order of the files; groups with all their members, nested included.

    ``defaults`` is a target without a name: its settings are those of hosts that a selector gives
    straight. ``sources`` are the files that were read, ``asked`` what was asked of AWS for it;
    ``instances`` leads from the ids of instances to their targets where these have other names.
    """

    targets: Mapping[str, Target] = field(default_factory=dict)
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    defaults: Target = field(default_factory=lambda: Target(""))
    sources: tuple[str, ...] = ()
    instances: Mapping[str, str] = field(default_factory=dict)
    asked: tuple[Query, ...] = ()
