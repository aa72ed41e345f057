"""A run asked for again: under its idempotency key, as a new run, or to be finished."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

from lmm.errors import PolicyDenied, RequestError
from lmm.redact import places
from lom.ledger.records import RunRow, TargetRow
from lom.ledger.store import LedgerReader
from lom.planning.options import RunOptions, Start
from lom.planning.params import pointer_of
from lom.planning.plan import Plan
from lom.service.follow import following
from lom.service.resume import differences, is_open, resumed
from lom.settings.values import FLAG, Settings

if TYPE_CHECKING:
    from lmm.model import SecretRef
    from lom.service.orchestrator import Orchestrator

_T = TypeVar("_T")

# The options that say how a target is run; how the targets are gone through is chosen anew.
_KEPT = (
    *("timeout_s", "concurrency", "transport", "connect_timeout_s", "max_stdout", "max_stderr"),
    *("become", "on_disconnect", "min_version"),
)


def once(
    plan: Plan,
    start: Start,
    execute: Callable[[Plan], _T],
    open_ledger: Callable[[], LedgerReader],
    on_event: Callable[[dict[str, Any]], None],
    answer: Callable[[Mapping[str, Any], int | None], _T],
) -> _T:
    """Return what ``execute`` makes of the plan, or ``answer`` of the run that has the key of
    the ``start``.

    ``answer`` gets that run's result document and exit code, while the ledger is open. A run that
    goes on in another process is waited for, one that was left is taken up. Raises RequestError
    where the run is one of another request (``idempotency_key_used``), PolicyDenied where it waits
    for an approval.
    """
    seq = 0
    while True:
        try:
            return execute(plan)
        except RequestError as error:
            if error.reason == "run_not_resumable" and plan.resumes:
                run_id = plan.run_id  # another process was faster
            elif error.reason == "idempotency_key_used":
                run_id = error.data["run_id"]
            else:
                raise
            used = error
        with open_ledger() as ledger:
            try:
                run = ledger.find(run_id)
            except RequestError:  # it was removed in the meantime
                raise used from None
            _check(plan, start.idempotency_key, run)
            for event in following(ledger, run, seq):
                seq = event["seq"]
                on_event(event)
            run = ledger.find(run_id)
            if run.finished:
                return answer(ledger.document_to_read(run), run.exit_code)
            plan = resumed(plan, run, ledger.targets(run))


def _check(plan: Plan, key: str | None, run: RunRow) -> None:
    if not plan.resumes and (found := differences(plan, run)):
        raise RequestError(
            "idempotency_key_used",
            f"the idempotency key {key!r} is that of the run {run.run_id}, which was asked for"
            f" otherwise; what differs: {', '.join(found)}",
            run_id=run.run_id,
            differences=found,
        )
    if run.status == "waiting":
        raise PolicyDenied(
            "approval_required",
            f"the run with the idempotency key {key!r} waits for `rune approve {run.run_id}`; then"
            f" give the same command again with --approved {run.run_id}",
            run_id=run.run_id,
            plan_hash=run.plan_hash,
        )
    if run.status == "unknown":
        raise RequestError(
            "run_not_resumable",
            f"the run {run.run_id} with the idempotency key {key!r} was begun by the process"
            f" {run.pid} on {run.host}, which cannot be seen from here; if that is gone, take it up"
            f" with `rune runs resume {run.run_id} --yes`",
            run_id=run.run_id,
        )


def chosen(run: RunRow, targets: Iterable[TargetRow], only: Sequence[str]) -> list[str]:
    """Return the names of the targets to run again: those with an outcome or state in ``only``.

    Raises RequestError (``selector_empty``) if there are none, ``invalid_request`` if it goes on.
    """
    if run.status in ("running", "unknown"):
        raise RequestError(
            "invalid_request",
            f"the run {run.run_id} is {run.status}; wait for it, or `rune runs cancel` it first",
        )
    names = [
        target.name for target in targets if not only or (target.outcome or target.state) in only
    ]
    if not names:
        raise RequestError(
            "selector_empty", f"no target of the run {run.run_id} is {' or '.join(only)}"
        )
    return names


def rerun_plan(
    orchestrator: Orchestrator,
    run: RunRow,
    names: Sequence[str],
    secrets: Mapping[str, SecretRef],
    *,
    run_id: str | None = None,
) -> Plan:
    """Return the plan of the run's action and parameters on these targets, as a new run.

    ``secrets`` are all that the run had, ``run_id`` is the id under which the new one waits for its
    approval. Raises as ``parameters`` and ``Orchestrator.plan``.
    """
    before = RunOptions.of(run.options)
    return orchestrator.plan(
        run.action,
        [", ".join(names)],
        parameters(run, secrets),
        secrets=secrets,
        options=orchestrator.options(**{name: getattr(before, name) for name in _KEPT}),
        context={"rerun_of": run.run_id},
        run_id=run_id,
    )


def check_resumable(run: RunRow) -> None:
    """Raise RequestError (``run_not_resumable``) for a run of which nothing is left to do."""
    if run.finished and not run.summary["lost"]:
        raise RequestError(
            "run_not_resumable",
            f"the run {run.run_id} has finished, and none of its targets is lost",
            run_id=run.run_id,
        )


def resume_plan(
    orchestrator: Orchestrator,
    run: RunRow,
    targets: Sequence[TargetRow],
    secrets: Mapping[str, SecretRef],
) -> Plan:
    """Return the plan that finishes a run as the same run.

    Targets that are through need not be known any more. Raises as ``rerun_plan``.
    """
    options = RunOptions.of(run.options)
    params = parameters(run, secrets)

    def plan(names: list[str]) -> Plan:
        return orchestrator.plan(
            run.action, [", ".join(names)], params, secrets=secrets, options=options
        )

    left = [target.name for target in targets if is_open(target)]
    try:
        found = plan([target.name for target in targets])
    except RequestError as error:
        if error.reason != "unknown_target" or len(left) in (0, len(targets)):
            raise
        found = plan(left)
    return resumed(found, run, targets)


def resume_start(
    run: RunRow, *, yes: bool = False, confirm: Callable[[str], bool] | None = None
) -> Start:
    """Return how the plan that finishes a run starts: approved, if the run had to be."""
    return Start(yes=yes, approved=bool(run.plan_hash), confirm=confirm)


def parameters(run: RunRow, given: Mapping[str, SecretRef]) -> dict[str, Any]:
    """Return the run's parameters without its secrets, which must all be ``given`` again.

    Raises RequestError (``secret_unavailable``) naming those that are not.
    """
    params: dict[str, Any] = deepcopy(run.request["payload"]["data"]["input_parameters"])
    known = {pointer_of(key) for key in given}
    missing = []
    for pointer in run.secret_params:
        held = list(places(params, [pointer]))
        if held and pointer not in known:
            missing.append(pointer.strip("/").replace("/", "."))
        for container, key in held:
            if isinstance(container, dict):
                del container[key]
    if missing:
        raise RequestError(
            "secret_unavailable",
            f"the run {run.run_id} had secrets, which the ledger does not keep; give them again: "
            + " ".join(f"--secret {name}=env:NAME" for name in missing),
            missing=missing,
        )
    return params


def settings_of(settings: Settings, run: RunRow, asker: str | None) -> Settings:
    """Return the settings with the run's own inventory and plugins where no flag names others.

    An account that runs RUNE for others, such as an ``asker``, has but one of each.
    """
    if asker is not None:
        return settings
    paths = {
        key: getattr(settings, key)
        if settings.sources[key] == FLAG or not run.options[key]
        else tuple(run.options[key])
        for key in ("inventory", "plugin_path")
    }
    kept = [key for key in paths if paths[key] != getattr(settings, key)]
    sources = {**settings.sources, **dict.fromkeys(kept, f"run {run.run_id}")}
    return replace(
        settings,
        inventory=paths["inventory"],
        plugin_path=paths["plugin_path"],
        sources=MappingProxyType(sources),
    )
