"""Adds up what the configuration files and the machine's own policy ask of every run."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from lom.documents.document import Document
from lom.documents.trust import refuse_foreign
from lom.settings.policy.parse import audit_of, path_of, policy_of, system_safeguards
from lom.settings.policy.values import AuditLog, Safeguards


def gather(system: Document | None, files: Sequence[Document], lock: Path | None) -> Safeguards:
    """Return what all of them ask for together; the weakest file stands first.

    Policies and locks add up. Of ``audit`` in several files the last one counts, beside the
    machine's own; of ``approvals`` the machine's own, else the last one. Raises RequestError
    (``config_invalid`` with file, line and field, or for an inventory or a lock file of the
    machine's policy that others may change, ``untrusted_path`` for another lock file of that kind).
    """
    found = system_safeguards(system) if system else Safeguards()
    for named in (*found.locks, *(one.inventory for one in found.policies)):
        if named is not None:
            refuse_foreign(named, machine=True)
    _refuse_foreign_files(one.inventory for one in found.policies if one.inventory)
    policies, locks = list(found.policies), list(found.locks)
    own: AuditLog | None = None
    silent = False
    approvals: str | None = None
    for document in files:
        if (policy := document.data.get("policy")) is not None:
            policies.append(policy_of(document, policy, ("policy",)))
        if (named := path_of(document, "plugin_lock")) is not None:
            locks.append(named)
            refuse_foreign(named)
        if document.data.get("audit") is not None:
            own, silent = audit_of(document)
        approvals = path_of(document, "approvals") or approvals
    if own is not None:  # not the log itself, which people may share
        refuse_foreign(os.path.dirname(own.path))
    if lock is not None:
        refuse_foreign(lock)
        locks.append(str(lock))
    audit = found.audit
    if own is not None:
        audit = (*(audit or ()), own)
    elif silent:
        audit = audit or ()
    return found._replace(
        policies=tuple(policies),
        locks=tuple(dict.fromkeys(locks)),
        audit=audit,
        approvals=found.approvals or approvals,
    )


def _refuse_foreign_files(inventories: Iterable[str]) -> None:
    """Refuse a file of somebody else also within a folder: no list of trusted ones excepts it."""
    for named in inventories:
        if os.path.isdir(named):
            from lom.inventory.files import files_of

            for file in files_of(Path(named)):
                refuse_foreign(file, machine=True)
