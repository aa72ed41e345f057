"""Makes the rules, the log and the rest of a policy from what stands in a file.

What may stand there is for ``specs/policy_v1.json`` and ``config_v1.json`` to say, by which the
files were checked when they were read. What no schema can tell is refused here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeVar

from lmm.errors import RequestError
from lom.documents.document import Document, Location, refuse
from lom.inventory.selector_syntax import names_file, parse
from lom.settings.policy.hours import parse_window
from lom.settings.policy.rules import Approval, Policy, Rule
from lom.settings.policy.values import AuditLog, Safeguards

_UNITS_S = {"m": 60.0, "h": 3600.0, "d": 86400.0}

T = TypeVar("T")


def system_safeguards(document: Document) -> Safeguards:
    """Return what the file of the whole machine asks for. Raises RequestError."""
    given = document.data
    policy = policy_of(document, given, ())
    audit, silent = audit_of(document)
    return Safeguards(
        policies=(policy,),
        locks=tuple(map(document.path, filter(None, [given.get("plugin_lock")]))),
        audit=(audit,) if audit else () if silent else None,
        identities=MappingProxyType(given.get("identities", {})),
        approvals=path_of(document, "approvals"),
    )


def path_of(document: Document, key: str) -> str | None:
    """Return the path that stands under a key of a file, if one does."""
    text = document.data.get(key)
    return None if text is None else document.path(text)


def audit_of(document: Document) -> tuple[AuditLog | None, bool]:
    """Return the log that ``audit`` names, and whether it wants none."""
    audit = document.data.get("audit")
    if not isinstance(audit, dict) or audit.get("log") is None:
        return None, audit is False
    return AuditLog(document.path(audit["log"]), audit.get("required", False)), False


def policy_of(document: Document, given: Mapping[str, Any], at: Location) -> Policy:
    """Return the policy that stands in a file at a place. Raises RequestError
    (``config_invalid``)."""
    rules: list[Rule] = []
    for number, entry in enumerate(given.get("rules", ())):
        place = (*at, "rules", number)
        if entry["name"] in {one.name for one in rules}:
            fault = f"a rule {entry['name']!r} stands here a second time"
            document.fault((*place, "name"), fault)
        rules.append(_rule(entry, document, place))
    refuse(document, "config_invalid")
    inventory = given.get("inventory")
    return Policy(
        document.file,
        given.get("default", "allow"),
        tuple(rules),
        None if inventory is None else document.path(inventory),
    )


def _rule(entry: Mapping[str, Any], document: Document, place: Location) -> Rule:
    approval, most = entry.get("approval"), entry.get("max_targets")
    listed = isinstance(entry.get("hours"), list)
    windows = (
        _tried(parse_window, text, document, (*place, "hours", *((number,) if listed else ())))
        for number, text in enumerate(_listed(entry.get("hours")))
    )
    if entry.get("targets") is not None:
        _tried(_check_selector, entry["targets"], document, (*place, "targets"))
    return Rule(
        name=entry["name"],
        effect=entry["effect"],
        line=document.line(place),
        users=_listed(entry.get("users")),
        actions=_listed(entry.get("actions")),
        risks=_listed(entry.get("risks")),
        targets=entry.get("targets"),
        hours=tuple(window for window in windows if window),
        max_targets=None if most is None else int(most),
        approval=approval
        and Approval(_listed(approval["approvers"]), _seconds(approval.get("valid_for", "24h"))),
    )


def _tried(make: Callable[[str], T], text: str, document: Document, place: Location) -> T | None:
    """Return what ``make`` makes of a text, None after noting why it cannot."""
    try:
        return make(text)
    except ValueError as error:
        document.fault(place, str(error))
    except RequestError as error:
        document.fault(place, error.message)
    return None


def _check_selector(text: str) -> None:
    if names_file(parse(text)):
        raise ValueError("a rule's selector names no file; write a group into the inventory")


def _seconds(duration: str) -> float:
    return int(duration[:-1]) * _UNITS_S[duration[-1]]


def _listed(value: str | Sequence[str] | None) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value or ())
