"""What ``rune doctor`` checks of AWS, for each account and region that the inventory uses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from lmm.aws import checks
from lmm.aws.discovery import NOT_MANAGED, agents
from lmm.aws.session import AwsAccount, Clients
from lmm.errors import RuneError, code_table
from lmm.model import SsmSettings, Target
from lom.service.doctor.check import Check, advice_of

if TYPE_CHECKING:
    from lmm.aws.discovery import Query

NAMED = 10  # most targets that a line names
LIMITED = (
    "A policy for tagged instances only denies this trial, too: then look at the targets below."
)


def examine_aws(targets: Sequence[Target], queries: Sequence[Query]) -> Iterator[Check]:
    """Yield the checks for targets that are reached over ``ssm`` and for what sources ask."""
    clients = Clients()
    try:
        needed: dict[AwsAccount, dict[str, None]] = {}
        served: dict[AwsAccount, list[Target]] = {}
        resolved: dict[AwsAccount, AwsAccount | RuneError] = {}

        def account_of(given: AwsAccount) -> AwsAccount | None:
            if given not in resolved:
                try:
                    resolved[given] = checks.resolved(clients, given)
                except RuneError as error:
                    resolved[given] = error
            known = resolved[given]
            return None if isinstance(known, RuneError) else known

        for query in queries:
            if account := account_of(query.account):
                needed.setdefault(account, {}).update(dict.fromkeys(_actions(query)))
        for target in targets:
            if account := account_of(AwsAccount.of(target.ssm)):
                needed.setdefault(account, {}).update(dict.fromkeys(checks.FOR_RUNS))
                served.setdefault(account, []).append(target)
        for given, known in resolved.items():
            if isinstance(known, RuneError):
                yield _failed(f"aws identity ({given})", known)
        for account, actions in needed.items():
            yield from _account(clients, account, actions, served.get(account, []))
    finally:
        clients.close()


def _actions(query: Query) -> Iterator[str]:
    yield "ec2:DescribeInstances"
    if query.agents or query.service == "ssm":
        yield "ssm:DescribeInstanceInformation"


def _account(
    clients: Clients, account: AwsAccount, actions: Mapping[str, None], targets: Sequence[Target]
) -> Iterator[Check]:
    name = f"aws identity ({account})"
    try:
        yield Check(name, "ok", checks.identity(clients, account))
    except RuneError as error:
        yield _failed(name, error)
        return
    allowed = []
    for action, denied in checks.permissions(clients, account, actions):
        if denied is None:
            allowed.append(action)
            continue
        check = _failed(f"aws permission {action} ({account})", denied)
        limited = action == "ssm:SendCommand" and denied.reason == "aws_denied"
        yield Check(
            check.check,
            "fail",
            check.found,
            f"{check.advice} {LIMITED}" if limited else check.advice,
        )
    if allowed:
        yield Check(f"aws permissions ({account})", "ok", f"allowed: {', '.join(allowed)}")
    if targets:
        yield _agents(clients, account, targets)
    for ssm in dict.fromkeys(_storage(target.ssm) for target in targets):
        yield _bucket(clients, account, ssm)


def _agents(clients: Clients, account: AwsAccount, targets: Sequence[Target]) -> Check:
    name = f"aws agents ({account})"
    try:
        known = agents(clients, account, dict.fromkeys(target.address for target in targets))
    except RuneError as error:
        return _failed(name, error)
    status = {
        target.name: known.get(target.address, {}).get("PingStatus", NOT_MANAGED)
        for target in targets
    }
    away = [f"{target} {word}" for target, word in status.items() if word != "Online"]
    found = f"{len(targets) - len(away)} of {len(targets)} online"
    if not away:
        return Check(name, "ok", found)
    more = f" and {len(away) - NAMED} more" if len(away) > NAMED else ""
    return Check(
        name,
        "fail" if len(away) == len(targets) else "warn",
        f"{found}; {', '.join(away[:NAMED])}{more}",
        " ".join(code_table()["ssm_not_online"]["recovery_actions"]),
    )


def _storage(ssm: SsmSettings) -> SsmSettings:
    """Return only what says where objects go, so that each place is tried once."""
    return SsmSettings(s3_bucket=ssm.s3_bucket, s3_prefix=ssm.s3_prefix, s3_region=ssm.s3_region)


def _bucket(clients: Clients, account: AwsAccount, ssm: SsmSettings) -> Check:
    if ssm.s3_bucket is None:
        return Check(
            f"aws bucket ({account})",
            "warn",
            "none: secret parameters and large inputs are refused, long outputs are cut by AWS",
            "Set ssm.s3_bucket to a bucket that RUNE and the instances can read and write.",
        )
    name = f"aws bucket {ssm.s3_bucket} ({account})"
    try:
        checks.bucket(clients, account, ssm)
    except RuneError as error:
        return _failed(name, error)
    return Check(name, "ok", f"objects below {ssm.s3_prefix!r} can be put, listed, got and deleted")


def _failed(name: str, error: RuneError) -> Check:
    return Check(name, "fail", error.message, advice_of(error))
