"""What stands in a line of the audit log. No secret: parameters are those of the masked request."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from lmm.envelope import timestamp
from lmm.errors import RuneError, shortened
from lmm.model import Script
from lom.admission.caller import Caller
from lom.planning.options import Start
from lom.planning.plan import Plan
from lom.registry.manifest import Plugin

MOST_NAMES = 1000  # of targets in a line; of more their number and a hash
MOST_BYTES = 64 * 1024  # of parameters, or of those names; of more their size or number and a hash
MOST_CHARACTERS = 16 * 1024  # of a message in a line


def decided(
    event: str,
    plan: Plan,
    caller: Caller,
    scripts: Mapping[Plugin, Script],
    rules: Sequence[Mapping[str, Any]],
    error: RuneError | None,
    approval: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the record of a decision, as ``event_of`` or, of what was admitted and cannot begin,
    ``run.denied``; ``approval`` is what is known of one."""
    record = {
        "time": timestamp(),
        "event": event,
        "run_id": plan.run_id,
        "who": _who(caller),
        "action": plan.action,
        "parameters": _parameters(plan.request["payload"]["data"]["input_parameters"]),
        "plugins": [
            {
                "name": plugin.name,
                "version": plugin.version,
                "sha256": script.sha256(),
            }
            for plugin, script in scripts.items()
        ],
        "targets": _targets([step.target.name for step in plan.steps]),
        "rules": list(rules),
    }
    if approval:
        record["approval"] = dict(approval)
    if error:
        record |= _why(error)
    return record


def finished(summary: Mapping[str, Any], caller: Caller) -> dict[str, Any]:
    """Return the record of how a run ended, from the summary of its result document."""
    return {
        "time": timestamp(),
        "event": "run.finished",
        "run_id": summary["run_id"],
        "who": _who(caller),
        "action": summary["action"],
        "status": summary["status"],
        "summary": summary["summary"],
    }


def refused(command: str, caller: Caller, error: RuneError) -> dict[str, Any]:
    """Return the record of what a bound account was asked for and does not do.

    ``command`` has words and names of options: a value may be a secret.
    """
    return {
        "time": timestamp(),
        "event": "command.refused",
        "who": _who(caller),
        "command": command,
        **_why(error),
    }


def answered(
    run_id: str, subject: Mapping[str, Any], answer: Mapping[str, Any], caller: Caller
) -> dict[str, Any]:
    """Return the record of an answer to a request: ``approval.given`` or ``approval.denied``."""
    return {
        "time": timestamp(),
        "event": "approval.given" if answer["approved"] else "approval.denied",
        "run_id": run_id,
        "who": _who(caller),
        "action": subject["action"],
        "targets": _targets([target["name"] for target in subject["targets"]]),
        "approval": dict(answer),
    }


def event_of(plan: Plan, start: Start, error: RuneError | None) -> str:
    """Return what becomes of a plan that the judges have seen: ``run.admitted``, ``run.resumed``,
    ``run.waiting``, ``run.denied``; or ``approval.refused``: the run with that id may be another's,
    and may have begun."""
    if error is None:
        return "run.resumed" if plan.resumes else "run.admitted"
    if start.approved and not plan.resumes:
        return "approval.refused"
    return "run.waiting" if waits(plan, start, error) else "run.denied"


def waits(plan: Plan, start: Start, error: RuneError) -> bool:
    """Whether a plan that is refused with ``error`` waits for an approval from now on."""
    asked_before = plan.resumes or start.approved
    return error.reason == "approval_required" and not asked_before


def _who(caller: Caller) -> dict[str, Any]:
    return {
        "user": caller.user,
        "os_user": caller.os_user,
        "uid": caller.uid,
        "login_uid": caller.login_uid,
        "identity": caller.identity,
        "trusted": caller.trusted,
        "host": os.uname().nodename,
        "pid": os.getpid(),
    }


def _why(error: RuneError) -> dict[str, Any]:
    return {"reason": error.reason, "message": shortened(error.message, MOST_CHARACTERS)}


def _parameters(values: Mapping[str, Any]) -> dict[str, Any]:
    text = json.dumps(values, sort_keys=True).encode()
    if len(text) <= MOST_BYTES:
        return {"values": dict(values)}
    return {"bytes": len(text), "sha256": hashlib.sha256(text).hexdigest()}


def _targets(names: Sequence[str]) -> dict[str, Any]:
    if len(names) <= MOST_NAMES and len(json.dumps(names)) <= MOST_BYTES:
        return {"count": len(names), "names": list(names)}
    joined = "\n".join(sorted(names)).encode("utf-8", "surrogateescape")
    return {"count": len(names), "sha256": hashlib.sha256(joined).hexdigest()}
