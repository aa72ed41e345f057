"""Adds up what the configuration files and the machine's own policy ask of every run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from lmm.errors import RequestError
from lom.config import ConfigText
from lom.inventory_files import Document
from lom.policy.schema import (
    approvals_of,
    audit_of,
    lock_of,
    policy_of,
    system_safeguards,
)
from lom.policy.values import AuditLog, Safeguards


def gather(system: ConfigText | None, files: Sequence[ConfigText], lock: Path | None) -> Safeguards:
    """Return what all of them ask for together; the weakest file stands first.

    Policies and locks add up. Of ``audit`` in several files the last one counts, beside the
    machine's own; of ``approvals`` the machine's own, else the last one. Raises RequestError
    (``config_invalid``) with file, line and field.
    """
    found = system_safeguards(_document(system)) if system else Safeguards()
    policies, locks = list(found.policies), list(found.locks)
    own: AuditLog | None = None
    silent = False
    approvals: str | None = None
    for file in files:
        document = _document(file)
        if file.values.get("policy") is not None:
            policies.append(policy_of(document))
        if file.values.get("plugin_lock") is not None:
            locks.append(lock_of(document))
        if file.values.get("audit") is not None:
            own, silent = audit_of(document)
        if file.values.get("approvals") is not None:
            approvals = approvals_of(document)
    if lock is not None:
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


def _document(file: ConfigText) -> Document:
    try:  # YAML has dates and other values that JSON lacks; a schema then sees their text
        data = json.loads(json.dumps(dict(file.values), default=str, skipkeys=True))
    except (ValueError, RecursionError):
        raise RequestError(
            "config_invalid", f"{file.path} holds an alias inside of itself", file=str(file.path)
        ) from None
    return Document(str(file.path), file.path.absolute().parent, data, file.root)
