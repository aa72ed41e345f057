"""What the settings and the machine's own policy say to admission: who asks, where it records."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from lmm.errors import RequestError
from lom.admission.caller import Caller, current_caller, user_name
from lom.settings.load import system_safeguards
from lom.settings.policy.values import AuditLog, Safeguards
from lom.settings.values import Settings, state_folder

if TYPE_CHECKING:
    from lom.admission.approvals.standing import Demand
    from lom.admission.approvals.store import ApprovalStore

AUDIT_FILE = "audit.jsonl"


def safeguards_of(settings: Settings) -> Safeguards:
    """Return what stands between plans and runs. Raises RequestError (``config_invalid``)."""
    return (settings.safeguards or system_safeguards)()


def settled(settings: Settings) -> Settings:
    """Return the settings with what stands between plans and runs at this moment.

    One decision looks at them several times, and must see the same each time. Raises RequestError
    (``config_invalid``).
    """
    found = safeguards_of(settings)
    return replace(settings, safeguards=lambda: found)


def caller_of(settings: Settings) -> Caller:
    """Return who this process acts for.

    Raises RequestError (``config_invalid``; ``invalid_request`` for an identity that is no name).
    """
    return current_caller(os.environ, safeguards_of(settings).identities)


def audit_logs(settings: Settings) -> tuple[AuditLog, ...]:
    """Return where runs are recorded: what the files say, else in the state directory.

    All are required of an account that runs RUNE for others: these could keep them from being
    written, by limits of their processes.
    """
    safeguards = safeguards_of(settings)
    logs = safeguards.audit
    if logs is None:
        logs = _default_log(settings)
    if user_name(os.getuid()) in safeguards.identities:
        logs = tuple(log._replace(required=True) for log in logs)
    return logs


def _default_log(settings: Settings) -> tuple[AuditLog, ...]:
    """Return the log in the state directory; where the default one cannot be used and no ledger
    is wanted, a run goes without."""
    is_bound = user_name(os.getuid()) in safeguards_of(settings).identities
    try:
        return (AuditLog(str(state_folder(settings) / AUDIT_FILE)),)
    except RequestError as error:
        if settings.ledger or settings.state_dir is not None or is_bound:
            raise
        import logging

        logging.getLogger("rune").warning("warning: no audit log is kept: %s", error.message)
        return ()


def approval_store(settings: Settings, demand: Demand | None = None) -> ApprovalStore:
    """Return where requests and approvals are.

    Raises RequestError (``config_invalid``) where no folder is named, in which nobody could give
    the approval that is asked for, or that a rule demands.
    """
    from lom.admission.approvals.folder import ApprovalFolder

    safeguards = safeguards_of(settings)
    if safeguards.approvals is not None:
        return ApprovalFolder(safeguards.approvals, safeguards.identities)
    why = f"rule {demand.rule!r} of {demand.policy} demands an approval, and " if demand else ""
    raise RequestError(
        "config_invalid",
        f"{why}no folder is named in which another user can approve; name one under approvals",
        field="$.approvals",
        **({"file": demand.policy} if demand else {}),
    )
