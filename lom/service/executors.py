"""Who carries a plan out once it is admitted: threads of this process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from lmm.transports import TransportPool
from lom.admission.verdict import Scripts
from lom.execution.events import Event
from lom.execution.locks import FILE_NAME, LockFile
from lom.execution.run import Run
from lom.planning.options import Start
from lom.planning.plan import Plan
from lom.settings.values import Settings, state_folder

if TYPE_CHECKING:
    from lom.ledger.store import Ledger


class Handle(Protocol):
    """A plan that is being carried out, for whoever started it."""

    run_id: str

    def cancel(self) -> None:
        """Start no more targets and have the hosts kill what runs."""

    def wait(self) -> None:
        """Wait for the end; raise what broke the run."""

    def close(self) -> None:
        """Cancel what still runs and wait for it."""


class Executor(Protocol):
    """Starts plans that are admitted. May be used by several threads."""

    def start(
        self,
        plan: Plan,
        scripts: Scripts,
        start: Start,
        *,
        settings: Settings,
        ledger: Ledger | None,
        on_event: Callable[[Event], None] | None,
        on_end: Callable[[Mapping[str, Any]], None],
    ) -> Handle:
        """Start it. Raises RequestError where the ``ledger`` cannot be written.

        ``scripts`` are the bytes that were admitted; ``on_event`` is called for every event,
        ``on_end`` gets the summary of the run.
        """

    def close(self) -> None:
        """Close what is kept from one run to the next."""


class Threads:
    """Carries plans out in threads of this process; keeps connections until closed."""

    def __init__(self) -> None:
        self._transports = TransportPool()

    def start(
        self,
        plan: Plan,
        scripts: Scripts,
        start: Start,
        *,
        settings: Settings,
        ledger: Ledger | None,
        on_event: Callable[[Event], None] | None,
        on_end: Callable[[Mapping[str, Any]], None],
    ) -> Run:
        return Run(
            plan,
            scripts,
            self._transports,
            on_event,
            ledger,
            on_end,
            start=start,
            locks=lambda: LockFile(state_folder(settings) / FILE_NAME, plan.run_id),
            at_once=settings.calls_at_once,
        )

    def close(self) -> None:
        self._transports.close()
