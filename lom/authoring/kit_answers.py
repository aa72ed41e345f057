"""Checks of the kit: what a plugin answers, whatever it is given."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from lmm.redact import MASK
from lom.authoring import inputs
from lom.authoring.findings import Finding, Status, failed, ok, skipped, warn
from lom.authoring.kit_subject import Subject, keeps_contract, trouble


def output(subject: Subject) -> Finding:
    return keeps_contract(
        "output",
        subject.base,
        "with exactly one JSON object that its output schema allows",
        "Print one JSON object on stdout and everything else on stderr.",
    )


def exit_code(subject: Subject) -> Finding:
    """An answer and the exit code must agree, for a payload and for an error."""
    failing = next((case for case in subject.cases if case.exit_code), None)
    runs = [subject.base]
    if failing is not None and failing is not subject.case:
        runs.append(subject.trials.run(subject.capability, failing.input_parameters, failing))
    for tried in runs:
        if tried.result.reason == "output_exit_code_mismatch":
            remedy = "Exit with 0 after a payload, with error.code after an error."
            return failed("exit-code", trouble(tried), remedy)
    if failing is None:
        return warn(
            "exit-code",
            "no case shows an error",
            "Add a case that fails: its exit code must be the code of the error.",
        )
    told = ", ".join(str(tried.result.exit_code) for tried in runs)
    return ok("exit-code", f"the exit code says what the answer says ({told})")


def unread_stdin(subject: Subject) -> Finding:
    return keeps_contract(
        "unread-stdin",
        subject.run(context={"padding": "x" * inputs.HUGE_BYTES}),
        "when more than 1 MiB comes on stdin",
        "Read stdin to its end or not at all, and ignore fields that you do not know.",
    )


def empty(subject: Subject) -> Finding:
    refusal = inputs.refusal(subject.capability, {})
    if refusal is not None:
        return skipped("empty", f"RUNE refuses it before it runs: {refusal}")
    return keeps_contract(
        "empty",
        subject.run({}),
        "without parameters",
        "Give each parameter that is not required a default, or treat its absence.",
    )


def huge(subject: Subject) -> Finding:
    made = inputs.huge(subject.capability, subject.parameters)
    remedy = (
        "A value over 32 KiB is in no environment variable: read it from stdin, or bound it with"
        " maxLength."
    )
    return _each("huge", subject, made, "a text as long as it may be", remedy)


def unicode(subject: Subject) -> Finding:
    made = inputs.hostile(subject.capability, subject.parameters)
    remedy = (
        "Quote every variable, evaluate none, put -- before arguments, and have an encoder write"
        " the JSON."
    )
    return _each("unicode", subject, made, "a hostile text", remedy)


def secrets(subject: Subject) -> Finding:
    """A secret that comes back would be masked by RUNE: the mask gives the plugin away."""
    made = inputs.with_secret(subject.capability, subject.parameters)
    if made is None:
        return skipped("secrets", "it has no text parameter that is writeOnly")
    name, parameters = made
    tried = subject.run(parameters)
    places = {
        "the answer": json.dumps([tried.result.output_data, tried.result.error]),
        "stderr": tried.result.stderr,
        "an event": json.dumps(tried.events),
    }
    leaks = [place for place, text in places.items() if MASK in text]
    if leaks:
        return failed(
            "secrets",
            f"the secret {name} comes back in {leaks[0]}",
            "Print no secret. RUNE masks it, but other readers of the host's output may not.",
        )
    return keeps_contract("secrets", tried, f"and keeps the secret {name} to itself", "")


def _each(
    check: str, subject: Subject, made: Mapping[str, Mapping[str, Any]], kind: str, remedy: str
) -> Finding:
    if not made:
        return skipped(check, f"no parameter of the input schema takes {kind}")
    for name, parameters in made.items():
        finding = keeps_contract(check, subject.run(parameters), f"with {kind} as {name}", remedy)
        if finding.status is not Status.OK:
            return finding
    return ok(check, f"it answers with {kind} as {', '.join(made)}")
