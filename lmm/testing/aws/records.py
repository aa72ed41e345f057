"""What the service remembers: instances, commands and their invocations, and how states add up.

Statuses and details are those of "Understanding command statuses" in the Systems Manager user
guide.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from lmm.testing.aws.document import DocumentScript

# Final StatusDetails of an invocation -> its Status. That Undeliverable counts as Failed has been
# seen of the service; the guide says "canceled by the system" of Terminated.
ENDS = {
    "Success": "Success",
    "Failed": "Failed",
    "Cancelled": "Cancelled",
    "ExecutionTimedOut": "TimedOut",
    "DeliveryTimedOut": "TimedOut",
    "Undeliverable": "Failed",
    "InvalidPlatform": "Failed",
    "AccessDenied": "Failed",
    "Terminated": "Cancelled",
}
# Further StatusDetails that only a command as a whole has. The service has been seen to call a
# command without instances a success.
OVERALL = {"Incomplete": "Failed", "NoInstancesInTag": "Success"}


@dataclass(eq=False)
class ManagedInstance:
    """A managed instance; ``end`` is the fate of every command to it, without being run."""

    id: str
    region: str
    tags: Mapping[str, str]
    platform: str
    ping: str
    delivery_delay_s: float
    end: str | None
    delayed: bool  # while it cannot be reached its invocations are Delayed, not Pending
    registered: datetime = field(default_factory=lambda: datetime.now(UTC))
    online: asyncio.Event = field(default_factory=asyncio.Event)
    reboots: int = 0


@dataclass(eq=False)
class CommandInvocation:
    """A command on one instance."""

    instance: ManagedInstance
    status: str = "Pending"
    details: str = "Pending"
    code: int = -1
    started: datetime | None = None
    ended: datetime | None = None
    stdout: bytes = b""
    stderr: bytes = b""
    output: str = ""  # both streams, shortened
    cancel: asyncio.Event = field(default_factory=asyncio.Event)
    over: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def final(self) -> bool:
        return self.details in ENDS

    def become(self, details: str) -> None:
        """Enter a state; the first final one stays."""
        if not self.final:
            self.details = details
            self.status = ENDS.get(details, details)
            if self.final:
                self.over.set()


@dataclass(eq=False)
class Command:
    """One SendCommand; ``request`` is its input, as it came."""

    id: str
    serial: int
    region: str
    request: Mapping[str, Any]
    script: DocumentScript
    delivery_s: int
    requested: datetime
    expires: datetime
    visible_at: float  # time.monotonic()
    invocations: Mapping[str, CommandInvocation]

    @property
    def visible(self) -> bool:
        return time.monotonic() >= self.visible_at

    @property
    def max_errors(self) -> int:
        return share(self.request.get("MaxErrors", "0"), len(self.invocations))

    @property
    def errors(self) -> int:
        """What counts as ErrorCount and against MaxErrors."""
        return self.count("Failed", "ExecutionTimedOut")

    def count(self, *details: str) -> int:
        """Return how many invocations are in one of these states."""
        return sum(invocation.details in details for invocation in self.invocations.values())

    @property
    def details(self) -> str:
        """The command's own StatusDetails."""
        states = Counter(invocation.details for invocation in self.invocations.values())
        if not states:
            return "NoInstancesInTag"
        if set(states) <= {"Pending", "Delayed"}:
            return "Pending"
        if not states.keys() <= ENDS.keys():
            return "Cancelling" if states["Cancelling"] else "InProgress"
        if states.total() == states["Success"]:
            return "Success"
        if states["Cancelled"]:
            return "Cancelled"
        for details in ("Failed", "ExecutionTimedOut", "DeliveryTimedOut"):
            if states[details] > self.max_errors:
                return details
        return "Incomplete"

    @property
    def status(self) -> str:
        details = self.details
        return OVERALL.get(details) or ENDS.get(details, details)


def share(limit: str, count: int) -> int:
    """Return a MaxErrors or MaxConcurrency, a number or a percentage of ``count``."""
    return count * int(limit[:-1]) // 100 if limit.endswith("%") else int(limit)
