"""What stands between a plan and a run, as values: made from files by ``gather``.

Every run makes these, so they are tuples: a dataclass takes five times as long to define.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from lom.settings.policy.rules import Policy


class AuditLog(NamedTuple):
    """Where runs are recorded; a run is refused if a ``required`` log cannot be written."""

    path: str
    required: bool = False


class Safeguards(NamedTuple):
    """All that stands between a plan and a run; every policy and every lock must agree.

    ``identities`` names, by OS user, the environment variable in which that user's processes say
    for whom they ask. ``audit`` is None where nothing is said: then it is in the state directory.
    ``approvals`` is the folder of requests and approvals; without one nobody can approve.
    """

    policies: tuple[Policy, ...] = ()
    locks: tuple[str, ...] = ()
    audit: tuple[AuditLog, ...] | None = None
    identities: Mapping[str, str] = MappingProxyType({})
    approvals: str | None = None
