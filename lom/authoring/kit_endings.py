"""Checks of the kit: how a plugin ends, and what it leaves behind."""

from __future__ import annotations

import secrets
from pathlib import Path

from lmm.model import OnDisconnect, Outcome, Script
from lom.authoring.findings import Finding, failed, ok
from lom.authoring.kit_subject import Subject, keeps_contract, trouble
from lom.authoring.trials import TrialOptions, TrialResult, Trials
from lom.registry.manifest import Capability

_KILLED = 128 + 9
# When to interrupt, as shares of the time that an undisturbed run takes.
_SHARES = (0.5, 0.7, 0.9)
# A pipe that nobody reads any more in the place of stdout.
_CLOSED = ("bash", "-c", 'exec 3> >(exit 0); wait "$!"; exec "$@" >&3 3>&-', "rune")


def closed_stdout(subject: Subject) -> Finding:
    """Who read its answer is gone: it must end, and not as if all were well."""
    tried = subject.run(before=_CLOSED)
    if tried.result.outcome in (Outcome.TIMED_OUT, Outcome.LOST):
        remedy = "End at the first write that fails; do not catch SIGPIPE and go on."
        return failed("closed-stdout", f"it does not end: {trouble(tried)}", remedy)
    if tried.result.exit_code == 0:
        return failed(
            "closed-stdout",
            "it exits with 0 although nobody got its answer",
            "Flush stdout before the end, and exit with another code than 0 if that fails.",
        )
    return ok("closed-stdout", f"it ends with exit code {tried.result.exit_code}")


def orphans(subject: Subject) -> Finding:
    """Nothing that it started may be alive once it has answered."""
    mark = secrets.token_hex(16)
    tried = subject.run(before=("env", f"RUNE_KIT={mark}"))
    looked = find_orphans(subject.trials, mark)
    if not looked.result.ok:
        return failed("orphans", f"the host cannot be looked at: {trouble(looked)}", "")
    assert looked.result.output_data
    left = looked.result.output_data["left"]
    if left:
        return failed(
            "orphans",
            f"it left running: {', '.join(left)} (now killed)",
            "Wait for what you start, or end it; what must stay belongs to the service manager.",
        )
    return keeps_contract("orphans", tried, "and leaves no process behind", "")


def find_orphans(trials: Trials, mark: str) -> TrialResult:
    """Return the host's answer which processes carry ``RUNE_KIT=MARK``; they are killed."""
    content = Path(__file__).with_name("orphans.sh").read_bytes()
    script = Script("orphans.sh", content)
    return trials.run(_PROBE, {"mark": mark}, None, TrialOptions(script=script))


def sigterm(subject: Subject) -> Finding:
    """A cancel sends TERM to it and all that it started, and KILL to what ignores that."""
    for share in _SHARES:
        tried = subject.run(cancel_after_s=share * subject.base.result.duration_s)
        if tried.result.outcome is Outcome.CANCELLED and tried.result.exit_code is not None:
            return _ended("sigterm", tried, "a cancel")
    return ok("sigterm", "it had ended each time before it could be cancelled")


def deadline(subject: Subject) -> Finding:
    """At the deadline it must be gone, with all that it started."""
    for share in _SHARES:
        tried = subject.run(timeout_s=share * subject.base.result.duration_s)
        if tried.result.outcome is Outcome.TIMED_OUT:
            return _ended("deadline", tried, "the deadline")
    return ok("deadline", "it had ended each time before its deadline")


def _ended(check: str, tried: TrialResult, what: str) -> Finding:
    if tried.result.exit_code == _KILLED:
        return failed(
            check,
            f"at {what} it did not end on TERM and was killed two seconds later",
            "Do not ignore TERM; a handler must end the plugin within two seconds.",
        )
    return ok(check, f"it ends at {what} (exit code {tried.result.exit_code})")


_PROBE = Capability(
    action="orphans",
    description="",
    input_schema={"type": "object", "properties": {"mark": {"type": "string"}}},
    output_schema={
        "type": "object",
        "required": ["left"],
        "properties": {"left": {"type": "array", "items": {"type": "string"}}},
    },
    timeout_s=30.0,
    risk="read",
    requires=(),
    platforms=(),
    retry_safe=True,
    on_disconnect=OnDisconnect.KILL,
)
