"""Whether somebody else has approved of a plan, as the rules demand; and that only once.

What answers come to is in ``standing`` beside this module, what keeps them in ``store``.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from lmm.errors import PolicyDenied
from lom.admission.approvals.standing import Answer, Demand, differences, plan_hash, standing
from lom.admission.approvals.store import ApprovalRequest, ApprovalStore, may_see
from lom.admission.approvals.subject import subject_of
from lom.admission.caller import Caller
from lom.admission.safeguards import approval_store, safeguards_of
from lom.admission.verdict import Consent, Grounds, Verdict
from lom.planning.plan import Plan


class Approvals:
    """Refuses a plan of which nobody has approved as ``demands`` want it.

    ``approved`` says that the plan waited under its id; it is compared with what waited.
    """

    def __init__(self, demands: Sequence[Demand], grounds: Grounds, approved: bool) -> None:
        self._store = approval_store(grounds.settings, demands[0] if demands else None)
        self._identities = safeguards_of(grounds.settings).identities
        self._demands = tuple(demands)
        self._scripts = grounds.scripts
        self._approved = approved

    def judge(self, plan: Plan, caller: Caller, now: datetime) -> Verdict:
        """Return the verdict. Raises RequestError (``unknown_run``, ``local_io_error``)."""
        subject = subject_of(plan, self._scripts)
        digest, run_id = plan_hash(subject), plan.run_id

        def refused(
            reason: str, why: str, request: ApprovalRequest | None = None, **data: Any
        ) -> Verdict:
            words = f"{plan.action} on {len(plan.steps)} target(s) may not run: {why}"
            error = PolicyDenied(reason, words, run_id=run_id, plan_hash=digest, **data)
            return Verdict(error, consent=Consent(digest, request=request))

        answers: list[Answer] = []
        if self._approved:
            used = self._store.is_used(run_id)
            asked = self._store.read(
                run_id,
                lambda one: may_see(one, caller, self._identities),
                used=used or plan.resumes,
            )
            if asked.user != caller.user:
                why = f"{asked.user} asked for {run_id}, not {caller.user}"
                return refused("policy_denied", why)
            if used and not plan.resumes:
                return refused("approval_void", f"the approval of {run_id} was used")
            if asked.plan_hash != digest:
                found = differences(asked.subject, subject)
                why = f"this is not the plan of {run_id}; what differs: {', '.join(found)}"
                return refused("approval_void", why, differences=found)
            answers = self._store.answers(run_id)
        reached = standing(self._demands, answers, caller.user, digest, now)
        if reached.reason is None:
            return Verdict(consent=Consent(digest, reached.approved_by))
        if self._approved or plan.resumes:
            return refused(reached.reason, reached.why)
        words = (
            f"{reached.why}; it waits as {run_id} for `rune approve {run_id}`, then give the"
            f" same command again with --approved {run_id}"
        )
        request = ApprovalRequest(run_id, caller.user, now, self._demands, subject)
        return refused(reached.reason, words, request)


def use_up(store: ApprovalStore, run_id: str) -> PolicyDenied | None:
    """Mark an approval as used; return why not if another process was faster.

    Raises RequestError (``local_io_error``).
    """
    if store.use(run_id):
        return None
    why = f"the approval of {run_id} was used by another process"
    return PolicyDenied("approval_void", why, run_id=run_id)
