"""Says whether a plan may be carried out. Asked once for every run, before any connection."""

from __future__ import annotations

from lmm.errors import PolicyDenied
from lom.plan import Plan


def admit(plan: Plan) -> None:
    """Return if the plan may run; a destructive action must be confirmed.

    Raises PolicyDenied (``confirmation_required`` or ``policy_denied``).
    """
    destructive = [
        step for step in plan.steps if step.capability and step.capability.risk == "destructive"
    ]
    if not destructive or plan.options.yes:
        return
    count = len(destructive)
    question = f"{plan.action} is destructive and will run on {count} target(s)"
    if plan.options.confirm is None:
        raise PolicyDenied("confirmation_required", f"{question}; confirm with --yes")
    if not plan.options.confirm(question):
        raise PolicyDenied("policy_denied", f"{question}; it was not confirmed")
