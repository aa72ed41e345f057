"""Whether somebody else has approved of a plan, as the rules demand; and that only once.

What answers come to is in ``standing`` beside this module, the files in ``folder``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from lmm.errors import PolicyDenied, RequestError
from lmm.model import Script
from lom.admission.approvals import folder as approvals
from lom.admission.approvals.standing import Answer, Demand, differences, plan_hash, standing
from lom.admission.approvals.subject import subject_of
from lom.admission.caller import Caller
from lom.planning.plan import Plan
from lom.registry.manifest import Plugin


@dataclass(frozen=True, slots=True)
class Consent:
    """Who has approved of the plan with this hash, or why it may not run.

    ``request`` is what could be approved, where nothing was asked for yet.
    """

    plan_hash: str
    approved_by: tuple[Answer, ...] = ()
    error: PolicyDenied | None = None
    request: approvals.Request | None = None

    def document(self) -> dict[str, Any]:
        """Return what the audit log and ``--dry-run`` tell of it, as JSON values."""
        answers = [one.document() for one in self.approved_by]
        return {"plan_hash": self.plan_hash, "approved_by": answers}


def consent(
    plan: Plan,
    scripts: Mapping[Plugin, Script],
    caller: Caller,
    demands: tuple[Demand, ...],
    folder: str,
    identities: Mapping[str, str],
) -> Consent:
    """Return what was approved under the id that the plan names, if it names one.

    Raises RequestError (``unknown_run``, ``local_io_error``).
    """
    subject, now = subject_of(plan, scripts), datetime.now(UTC)
    digest, run_id = plan_hash(subject), plan.options.approved

    def refused(reason: str, why: str, **data: Any) -> Consent:
        words = f"{plan.action} on {len(plan.steps)} target(s) may not run: {why}"
        error = PolicyDenied(reason, words, run_id=plan.run_id, plan_hash=digest, **data)
        return Consent(digest, error=error)

    answers: list[Answer] = []
    if run_id is not None:
        if approvals.is_used(folder, run_id) and not plan.resumes:
            return refused("approval_void", f"the approval of {run_id} was used")
        asked = approvals.read(folder, run_id, identities, used=plan.resumes)
        if asked.user != caller.user:
            return refused("policy_denied", f"{asked.user} asked for {run_id}, not {caller.user}")
        if asked.plan_hash != digest:
            found = differences(asked.subject, subject)
            why = f"this is not the plan of {run_id}; what differs: {', '.join(found)}"
            return refused("approval_void", why, differences=found)
        answers = approvals.answers(folder, run_id, identities)
    reached = standing(demands, answers, caller.user, digest, now)
    if reached.reason is None:
        return Consent(digest, reached.approved_by)
    if run_id is not None or plan.resumes:
        return refused(reached.reason, reached.why)
    words = (
        f"{reached.why}; it waits as {plan.run_id} for `rune approve {plan.run_id}`, then give the"
        f" same command again with --approved {plan.run_id}"
    )
    request = approvals.Request(plan.run_id, caller.user, now, demands, subject)
    return Consent(digest, error=refused(reached.reason, words).error, request=request)


def use_up(folder: str, run_id: str) -> PolicyDenied | None:
    """Mark an approval as used; return why not if another process was faster.

    Raises RequestError (``local_io_error``).
    """
    if approvals.use(folder, run_id):
        return None
    why = f"the approval of {run_id} was used by another process"
    return PolicyDenied("approval_void", why, run_id=run_id)


def no_folder(demand: Demand | None = None) -> RequestError:
    """Return the error for an approval, or for a rule that demands one, that nobody could give."""
    why = f"rule {demand.rule!r} of {demand.policy} demands an approval, and " if demand else ""
    return RequestError(
        "config_invalid",
        f"{why}no folder is named in which another user can approve; name one under approvals",
        field="$.approvals",
        **({"file": demand.policy} if demand else {}),
    )
