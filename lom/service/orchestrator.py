"""The door that every surface and every library user goes through: plan an action, run it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmm.envelope import timestamp
from lmm.errors import PolicyDenied, RequestError, RuneError
from lmm.model import SecretRef, Target
from lom.admission.admit import Admission, Decision, admit, judge, refuse
from lom.admission.audit.records import waits
from lom.admission.bound import Bound, bound_account, chosen_place
from lom.admission.caller import Caller
from lom.admission.safeguards import caller_of, settled
from lom.admission.verdict import Grounds, Scripts
from lom.documents.places import home
from lom.inventory.load import find_inventory, load_inventory
from lom.inventory.model import Inventory
from lom.inventory.selector_syntax import names_file, parse
from lom.inventory.selectors import select
from lom.planning.options import RunOptions, Start, check_start, options_of
from lom.planning.plan import Plan, facts_of
from lom.planning.planner import Known, PlanRequest, make_plan
from lom.planning.scripts import load_scripts
from lom.registry.places import default_registry
from lom.registry.registry import Registry
from lom.settings.load import load_settings
from lom.settings.values import Settings, is_named, state_folder

if TYPE_CHECKING:
    from lom.execution.events import Event
    from lom.execution.run import Run
    from lom.ledger.store import Ledger
    from lom.service.executors import Threads

_STARTS = {field.name for field in fields(Start)}


class Orchestrator:
    """Validates actions, picks plugins and runs them on targets; keeps connections until closed.

    ``inventory`` is a path, several, or a loaded one; by default what the settings name, else
    ``./inventory.yaml``, ``./inventory/`` or ``~/.config/rune/inventory.yaml``. Nothing is read
    before it is needed. Several threads may use one at the same time. Use it as a context manager,
    or call ``close``::

        with Orchestrator() as rune:
            for result in rune.run("host.info", "gpu and not rack3"):
                print(result.target, result.outcome, result.output_data)
    """

    def __init__(
        self,
        inventory: Inventory | str | Path | Sequence[str | Path] | None = None,
        *,
        plugin_paths: Sequence[str | Path] = (),
        settings: Settings | None = None,
    ) -> None:
        self._inventory = inventory
        self._plugin_paths = tuple(plugin_paths)
        self._settings = settings
        self._threads: Threads | None = None
        self._planned = False
        self._lock = threading.RLock()  # for what is read at the first need
        self._read: Inventory | None = None
        self._plugins: Registry | None = None

    def __enter__(self) -> Orchestrator:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def settings(self) -> Settings:
        """The settings in force.

        Raises RequestError (``config_invalid``); PolicyDenied if this account runs RUNE for others
        and inventory, plugins or state directory are not its own.
        """
        with self._lock:
            if self._settings is None:
                self._settings = load_settings({}, os.environ, Path.cwd(), home())
            settings = self._settings
        if self._bound is not None:
            given = "inventory" if self._inventory is not None else None
            given = given or ("plugin_path" if self._plugin_paths else None)
            given = given or chosen_place(self._bound, settings)
            if given is not None:
                raise self._refused(settings, given)
        return settings

    @cached_property
    def _bound(self) -> Bound | None:
        return bound_account()

    def _refused(self, settings: Settings, what: str, caller: Caller | None = None) -> PolicyDenied:
        assert self._bound is not None
        why = f"the account {self._bound.account} runs RUNE for others, who name no {what}"
        return refuse(settings, caller or self._bound.caller, what, why)

    @property
    def inventory(self) -> Inventory:
        """The known targets. Raises RequestError (``inventory_invalid``, ``aws_…``)."""
        if isinstance(self._inventory, Inventory):
            return self._inventory
        with self._lock:
            if self._read is None:
                self._read = load_inventory(self._inventory_paths(), found=self._found("inventory"))
            return self._read

    @property
    def registry(self) -> Registry:
        """The known plugins. May be set."""
        with self._lock:
            if self._plugins is None:
                listed = self.settings.plugin_path
                found = listed if self._found("plugin_path") else ()
                paths = (*self._plugin_paths, *listed)
                self._plugins = default_registry(paths, found=found)
            return self._plugins

    @registry.setter
    def registry(self, plugins: Registry) -> None:
        with self._lock:
            self._plugins = plugins

    def options(self, **given: Any) -> RunOptions:
        """Return run options: what is given and not None, else the settings, else the defaults."""
        return options_of(self.settings, **given)

    def select(self, selectors: Sequence[str], inventory: Inventory | None = None) -> list[Target]:
        """Return the targets that selectors pick, in the order of the inventory.

        Raises RequestError (``selector_…``, ``unknown_target``); PolicyDenied for ``@file`` where
        this account runs RUNE for others.
        """
        self._refuse_files(selectors)
        return select(selectors, self.inventory if inventory is None else inventory)

    def plan(
        self,
        action: str,
        targets: str | Sequence[str] | None = None,
        params: Mapping[str, Any] | None = None,
        assignments: Sequence[str] = (),
        secrets: Mapping[str, SecretRef] | None = None,
        *,
        options: RunOptions | None = None,
        context: Mapping[str, Any] | None = None,
        run_id: str | None = None,
        caller: Caller | None = None,
    ) -> Plan:
        """Return what a run would do; nothing is connected to.

        ``targets`` are selectors, none means this machine; ``params`` are values,
        ``assignments`` texts such as ``a.b=1``, ``secrets`` references by parameter, ``context``
        what the request says of itself, ``run_id`` the id under which it waits for its approval.
        The ``caller`` is whom a refusal is recorded for. Raises RequestError with the reason that
        fits.
        """
        selectors = (targets,) if isinstance(targets, str) else tuple(targets or ())
        self._refuse_files(selectors, caller)
        request = PlanRequest(
            action,
            selectors,
            params,
            tuple(assignments),
            secrets or {},
            options,
            context or {},
            run_id,
        )
        return make_plan(request, self._known(with_inventory=bool(selectors)))

    def start(
        self,
        plan: Plan,
        on_event: Callable[[Event], None] | None = None,
        *,
        start: Start = Start(),
        caller: Caller | None = None,
    ) -> Run:
        """Carry out a plan for the caller, by default who this process acts for.

        Raises before anything is touched: PolicyDenied, RequestError where
        the ledger cannot be written, has a run with the same idempotency key
        (``idempotency_key_used``), or the run of a plan that ``resumes`` goes on or is through
        (``run_not_resumable``)."""
        check_start(start, plan.options)
        scripts = load_scripts(plan)
        key, ledger = start.idempotency_key, self._ledger(caller)
        if ledger is not None and key is not None:
            ledger.check_key(plan.run_id, key)
        elif ledger is None and (plan.resumes or key is not None):
            raise RequestError("invalid_request", "without a ledger no run is found again")
        try:
            admission = admit(plan, start, partial(self._asked, scripts, caller))
        except PolicyDenied as error:
            if ledger and waits(plan, start, error):
                ledger.wait(facts_of(plan, timestamp(), key), error.data["plan_hash"])
            raise
        has_waited = ledger is not None and start.approved and not plan.resumes
        try:
            if ledger and has_waited:
                ledger.approved(plan.run_id, admission.approved_by)
                has_waited = False
            return self._executor.start(
                plan,
                scripts,
                start,
                settings=self.settings,
                ledger=ledger,
                on_event=on_event,
                on_end=admission.record_end,
            )
        except RuneError as error:
            admission.record_failure(error, has_waited)
            raise

    def judge(
        self, plan: Plan, start: Start = Start(), *, caller: Caller | None = None
    ) -> Decision:
        """Return whether the judges would admit a plan, and why; nothing is recorded."""
        check_start(start, plan.options)
        return judge(plan, start, *self._asked(load_scripts(plan), caller))

    def admit(
        self, plan: Plan, start: Start = Start(), *, caller: Caller | None = None
    ) -> Admission:
        """Have a plan admitted, and that recorded, for who carries it out by other means."""
        return admit(plan, start, partial(self._asked, load_scripts(plan), caller))

    def run(
        self,
        action: str,
        targets: str | Sequence[str] | None = None,
        params: Mapping[str, Any] | None = None,
        *,
        on_event: Callable[[Event], None] | None = None,
        run_id: str | None = None,
        caller: Caller | None = None,
        **options: Any,
    ) -> Run:
        """Plan and start at once; ``options`` are fields of ``RunOptions`` and ``Start``."""
        start = Start(**{key: options.pop(key) for key in _STARTS & options.keys()})
        plan = self.plan(
            action, targets, params, options=self.options(**options), run_id=run_id, caller=caller
        )
        return self.start(plan, on_event, start=start, caller=caller)

    def close(self) -> None:
        """Close all kept connections."""
        if self._threads is not None:
            self._threads.close()

    # -- inside --------------------------------------------------------------------------------

    @property
    def _executor(self) -> Threads:
        with self._lock:
            if self._threads is None:
                # Imported here: a third of what a command costs that only looks.
                from lom.service.executors import Threads

                self._threads = Threads()
            return self._threads

    def _asked(self, scripts: Scripts, caller: Caller | None) -> tuple[Caller, Grounds]:
        """Return who asks, and what judges may need, as it is at this moment."""
        grounds = Grounds(settled(self.settings), scripts, lambda: self.inventory)
        return caller or caller_of(grounds.settings), grounds

    def _ledger(self, caller: Caller | None) -> Ledger | None:
        if not self.settings.ledger:
            return None
        if caller is None and self._bound is not None:
            caller = self._bound.caller
        from lom.ledger import ledger_in

        ledger = ledger_in(state_folder(self.settings), caller and caller.asker)
        ledger.prepare()
        return ledger

    def _known(self, with_inventory: bool) -> Known:
        """Return what stands at this moment. An inventory with sources asks them for every plan.

        One that was named is read also where it is not needed: it must be good.
        """
        named = self._inventory is not None or self.settings.sources.get("inventory") == "flag"
        inventory = Inventory()
        if with_inventory or named:
            with self._lock:
                if with_inventory and self._planned and self.inventory.asked:
                    self._read = None
                self._planned = self._planned or with_inventory
                inventory = self.inventory
        return Known(self.settings, inventory, self.registry, self._origin())

    def _refuse_files(self, selectors: Sequence[str], caller: Caller | None = None) -> None:
        """Raise PolicyDenied for ``@file`` where this account runs RUNE for others."""
        settings = self.settings
        if self._bound is not None and any(names_file(parse(text)) for text in selectors):
            raise self._refused(settings, "file of selectors", caller)

    def _inventory_paths(self) -> tuple[str, ...]:
        if isinstance(self._inventory, Inventory):
            return ()
        named = self._inventory or self.settings.inventory or find_inventory()
        listed = (named,) if isinstance(named, str | Path) else named
        return tuple(map(str, listed))

    def _found(self, key: str) -> bool:
        """Whether the paths of a setting in force were found, or stand in a file."""
        if key == "inventory" and self._inventory:
            return False
        return not (getattr(self.settings, key) and is_named(self.settings, key))

    def _origin(self) -> dict[str, tuple[str, ...]]:
        paths = {
            "inventory": self._inventory_paths(),
            "plugin_path": (*map(str, self._plugin_paths), *self.settings.plugin_path),
        }
        return {key: tuple(map(os.path.abspath, found)) for key, found in paths.items()}
