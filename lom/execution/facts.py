"""What the ledger is told of a plan before it is carried out."""

from __future__ import annotations

from lmm import __version__
from lom.ledger.records import RunFacts
from lom.planning.plan import Plan


def facts_of(plan: Plan, started_at: str, idempotency_key: str | None) -> RunFacts:
    """Return what is known of a plan that is carried out from this instant on, or waits."""
    return RunFacts(
        run_id=plan.run_id,
        action=plan.action,
        request=plan.request,
        secret_params=sorted(plan.secret_params),
        options={**plan.options.document(), **plan.origin},
        version=__version__,
        started_at=started_at,
        targets=[
            (step.target.name, step.target.transport, step.plugin.name if step.plugin else None)
            for step in plan.steps
        ],
        idempotency_key=idempotency_key,
    )
