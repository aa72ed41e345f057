"""What may stand in a policy, and how a fault in it is worded.

Imported only when there is one, for pydantic's sake.
"""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from lmm.errors import RequestError
from lom.documents.document import Document, Location, refuse
from lom.documents.model import M, PathText, Strict, validate
from lom.inventory.selector_syntax import names_file, parse
from lom.settings.policy.hours import Window, parse_window
from lom.settings.policy.rules import Approval, Policy, Rule
from lom.settings.policy.values import AuditLog, Safeguards

LONGEST_S = 30 * 86400.0  # that an approval may hold; requests are kept as long
_UNITS_S = {"m": 60.0, "h": 3600.0, "d": 86400.0}


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _pattern(value: str) -> str:
    if not value.strip("@") or not value.isprintable():
        raise ValueError("a name or a pattern such as ops-* is needed")
    return value


def _duration(value: Any) -> float:
    found = re.fullmatch(r"(\d{1,4})([mhd])", str(value), re.ASCII)
    seconds = int(found[1]) * _UNITS_S[found[2]] if found else 0.0
    if not 0 < seconds <= LONGEST_S:
        raise ValueError("a duration such as 45m, 8h or 7d is needed, at most 30d")
    return seconds


def _window(value: str) -> Window:
    return parse_window(value)


def _selector(value: str) -> str:
    try:
        selector = parse(value)
    except RequestError as error:
        raise ValueError(error.message) from None
    if names_file(selector):
        raise ValueError("a rule's selector names no file; write a group into the inventory")
    return value


_Pattern = Annotated[str, AfterValidator(_pattern)]
_Patterns = Annotated[list[_Pattern], BeforeValidator(_listed), Field(min_length=1)]
_Risks = Annotated[
    list[Literal["read", "change", "destructive"]], BeforeValidator(_listed), Field(min_length=1)
]
_Hours = Annotated[
    list[Annotated[str, AfterValidator(_window)]], BeforeValidator(_listed), Field(min_length=1)
]


class ApprovalModel(Strict):
    """``approval`` of a rule: who may give it, and how long it holds."""

    approvers: _Patterns
    valid_for: Annotated[float, BeforeValidator(_duration)] = 86400.0


class RuleModel(Strict):
    """One rule; what is left out is met by everything. Its ``approval`` is checked by itself."""

    name: Annotated[str, AfterValidator(_pattern)]
    effect: Literal["allow", "deny"]
    users: _Patterns | None = None
    actions: _Patterns | None = None
    risks: _Risks | None = None
    targets: Annotated[str, AfterValidator(_selector)] | None = None
    hours: _Hours | None = None
    max_targets: Annotated[int, Field(ge=1)] | None = None
    approval: Any = None


class PolicyModel(Strict):
    """``policy`` of a configuration file; its rules are checked one by one."""

    default: Literal["allow", "deny"] = "allow"
    inventory: PathText | None = None
    rules: list[Any] = Field(default_factory=list)


class AuditModel(Strict):
    """``audit``, if it is not ``false``: where runs are recorded, and whether all must be."""

    log: PathText | None = None
    required: bool = False


class LockModel(Strict):
    """``plugin_lock``: the lock file that the plugins must match."""

    plugin_lock: PathText


class ApprovalsModel(Strict):
    """``approvals``: the folder in which those who ask and those who approve meet."""

    approvals: PathText


class SystemModel(PolicyModel):
    """The file of the whole machine: a policy with what else cannot be overridden."""

    plugin_lock: PathText | None = None
    approvals: PathText | None = None
    audit: Any = None
    identities: dict[str, Annotated[str, Field(pattern="^[A-Za-z_][A-Za-z0-9_]*$")]] = Field(
        default_factory=dict
    )


def policy_of(document: Document) -> Policy:
    """Return the policy of a configuration file. Raises RequestError (``config_invalid``)."""
    return _policy(_validated(PolicyModel, document, ("policy",)), document, ("policy",))


def lock_of(document: Document) -> str:
    """Return the lock file that a configuration file names. Raises RequestError."""
    given = {"plugin_lock": document.data["plugin_lock"]}
    model = validate(LockModel, given, document, ())
    refuse(document, "config_invalid")
    assert model
    return model.plugin_lock


def approvals_of(document: Document) -> str:
    """Return the folder that a configuration file names for approvals. Raises RequestError."""
    model = validate(ApprovalsModel, {"approvals": document.data["approvals"]}, document, ())
    refuse(document, "config_invalid")
    assert model
    return model.approvals


def audit_of(document: Document) -> tuple[AuditLog | None, bool]:
    """Return the log that ``audit`` names, and whether it wants none. Raises RequestError."""
    at: Location = ("audit",)
    if document.data["audit"] is False:
        return None, True
    model = _validated(AuditModel, document, at)
    if model.required and not model.log:
        document.fault((*at, "required"), "a log that is required has a path, under log")
    refuse(document, "config_invalid")
    return (AuditLog(model.log, model.required) if model.log else None), False


def system_safeguards(document: Document) -> Safeguards:
    """Return what the file of the whole machine asks for. Raises RequestError."""
    model = _validated(SystemModel, document, ())
    policy = _policy(model, document, ())
    for number, rule in enumerate(policy.rules):
        if rule.targets and policy.inventory is None:
            document.fault(
                ("rules", number, "targets"),
                "name the policy's own inventory under inventory: else whoever runs an action"
                " chooses what the groups mean",
            )
        if rule.approval and model.approvals is None:
            document.fault(
                ("rules", number, "approval"),
                "name the folder of the answers under approvals: else whoever runs an action"
                " chooses where they lie",
            )
    refuse(document, "config_invalid")
    audit, silent = audit_of(document) if model.audit is not None else (None, False)
    return Safeguards(
        policies=(policy,),
        locks=(model.plugin_lock,) if model.plugin_lock else (),
        audit=(audit,) if audit else () if silent else None,
        identities=MappingProxyType(model.identities),
        approvals=model.approvals,
    )


def _validated(model: type[M], document: Document, at: Location) -> M:
    data = document.data
    for part in at:
        data = data[part]
    found = validate(model, data, document, at)
    refuse(document, "config_invalid")
    assert found
    return found


def _policy(model: PolicyModel, document: Document, at: Location) -> Policy:
    rules: list[Rule] = []
    for number, entry in enumerate(model.rules):
        place = (*at, "rules", number)
        rule = validate(RuleModel, entry, document, place)
        if rule is None:
            continue
        if rule.name in {one.name for one in rules}:
            document.fault((*place, "name"), f"a rule {rule.name!r} stands here a second time")
        if rule.max_targets is not None and rule.effect == "deny":
            document.fault((*place, "max_targets"), "it limits what a rule allows; this one denies")
        approval = None
        if rule.approval is not None:
            approval = validate(ApprovalModel, rule.approval, document, (*place, "approval"))
            if rule.effect == "deny":
                fault = "it is for what a rule allows; this one denies"
                document.fault((*place, "approval"), fault)
        rules.append(_rule(rule, approval, document.line(place)))
    refuse(document, "config_invalid")
    return Policy(document.file, model.default, tuple(rules), model.inventory)


def _rule(model: RuleModel, approval: ApprovalModel | None, line: int | None) -> Rule:
    return Rule(
        name=model.name,
        effect=model.effect,
        line=line,
        users=tuple(model.users or ()),
        actions=tuple(model.actions or ()),
        risks=tuple(model.risks or ()),
        targets=model.targets,
        hours=tuple(model.hours or ()),  # type: ignore[arg-type]
        max_targets=model.max_targets,
        approval=Approval(tuple(approval.approvers), approval.valid_for) if approval else None,
    )
