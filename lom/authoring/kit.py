"""The conformance kit: what every plugin must bear, each check a real run of it.

``checks_of`` lists the checks of a plugin; whoever shows them (the command line, pytest) runs
them one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from lmm.errors import RequestError
from lom.authoring import inputs, kit_answers, kit_endings
from lom.authoring.cases import Case, difference, filled
from lom.authoring.findings import Finding, failed, ok, skipped
from lom.authoring.kit_subject import Subject, advice, trouble
from lom.authoring.trials import TrialResult, Trials
from lom.names import did_you_mean
from lom.registry.manifest import Capability

KIT: Mapping[str, Callable[[Subject], Finding]] = {
    "output": kit_answers.output,
    "exit-code": kit_answers.exit_code,
    "unread-stdin": kit_answers.unread_stdin,
    "empty": kit_answers.empty,
    "huge": kit_answers.huge,
    "unicode": kit_answers.unicode,
    "secrets": kit_answers.secrets,
    "closed-stdout": kit_endings.closed_stdout,
    "orphans": kit_endings.orphans,
    "sigterm": kit_endings.sigterm,
    "deadline": kit_endings.deadline,
}
# These make parameters up, or break off what was begun.
_HARMFUL = frozenset(
    {"empty", "huge", "unicode", "secrets", "closed-stdout", "sigterm", "deadline"}
)


@dataclass(frozen=True, slots=True)
class KitCheck:
    """One check of one action, ready to run; ``name`` is unique for the action.

    ``run`` raises Cancelled.
    """

    name: str
    action: str
    run: Callable[[], Finding]


def checks_of(trials: Trials, cases: Sequence[Case], most_risk: str = "read") -> list[KitCheck]:
    """Return all checks of a plugin, for each action its own cases first.

    An action of a greater risk than ``most_risk`` is run with the parameters of its cases only
    and never interrupted, one that is destructive not at all, unless a case has stand-ins for
    commands.
    """
    checks = []
    for capability in trials.plugin.capabilities:
        action = capability.action
        subject = Subject(trials, capability, cases, most_risk)
        for case in cases:
            if case.action == action:
                run = partial(run_case, trials, case, most_risk)
                checks.append(KitCheck(f"case {case.name}", action, run))
        for name, check in KIT.items():
            checks.append(KitCheck(name, action, partial(_guarded, name, check, subject)))
    return checks


def run_case(trials: Trials, case: Case, most_risk: str = "read") -> Finding:
    """Run one case of a plugin and compare."""
    name, action = f"case {case.name}", case.action
    if case.needs_stage and not trials.is_here:
        return skipped(name, "it needs a host made for it, which only this machine can be", action)
    capability = trials.plugin.capability(action)
    assert capability
    if not Subject(trials, capability, [case], most_risk).may_run:
        return skipped(name, _too_risky(capability), action)
    try:
        tried = trials.run(capability, case.input_parameters, case)
    except RequestError as error:
        return failed(name, error.message, "Mend the case.", action)
    problem = case_difference(tried, case)
    if problem is None:
        return ok(name, case.description, action)
    remedy = advice(tried) or "Mend the plugin, or what the case expects."
    return failed(name, problem, remedy, action)


def case_difference(tried: TrialResult, case: Case) -> str | None:
    """Return how an answer differs from what a case expects, None if it does not."""
    if not tried.answered:
        return trouble(tried)
    own = tried.result.problem.get("data", {}).get("details")
    if tried.result.exit_code != case.exit_code:
        told = f": {own['message']}" if own else ""
        return f"the exit code is {tried.result.exit_code}, not {case.exit_code}{told}"
    found = {"output_data": tried.result.output_data, "error": own}
    wanted = filled({"output_data": case.output_data, "error": case.error}, tried.places)
    parts = [
        difference(found[part], wanted[part], f"$.{part}")
        for part in found
        if wanted[part] is not None
    ]
    return next(filter(None, parts), None)


def _guarded(name: str, check: Callable[[Subject], Finding], subject: Subject) -> Finding:
    """Run a check if it makes sense for the subject."""
    capability = subject.capability
    if subject.case is None and inputs.refusal(capability, {}) is not None:
        return skipped(name, "no case shows which parameters it takes", capability.action)
    if not (subject.may_harm or (subject.may_run and name not in _HARMFUL)):
        return skipped(name, _too_risky(capability), capability.action)
    try:
        return replace(check(subject), action=capability.action)
    except RequestError as error:
        return failed(name, error.message, "Mend the case.", capability.action)


def _too_risky(capability: Capability) -> str:
    return (
        f"its risk is {capability.risk} and nothing stands in for what it works on; where it may do"
        f" harm, allow it with --risk {capability.risk}"
    )


def chosen(checks: Sequence[KitCheck], only: Sequence[str]) -> list[KitCheck]:
    """Return the checks named in ``only``, all without any. Raises RequestError for another one."""
    known = {one.name for one in checks}
    for name in only:
        if name not in known:
            raise RequestError(
                "invalid_request", f"there is no check {name!r}{did_you_mean(name, known)}"
            )
    return [one for one in checks if not only or one.name in only]
