"""Which of many are meant, and how many at once: targets, filters and pages."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

from lmm.testing.aws.document import NAME
from lmm.testing.aws.errors import ServiceError
from lmm.testing.aws.records import Command, CommandInvocation, ManagedInstance

T = TypeVar("T")
Wanted = Callable[[ManagedInstance], bool]
# A command, and what is listed: the command itself or one of its invocations.
Chosen = Callable[[Command, Command | CommandInvocation], bool]

UNDER_WAY = ("Pending", "InProgress", "Delayed", "Cancelling")

# How DescribeInstanceInformation's filters read an instance. It has two lists of filters, with
# keys of their own spelling; both mean the same.
PROPERTIES: dict[str, Callable[[ManagedInstance], str]] = {
    "InstanceIds": lambda instance: instance.id,
    "PingStatus": lambda instance: instance.ping,
    "PlatformTypes": lambda instance: instance.platform,
    "PlatformType": lambda instance: instance.platform,
    "ResourceType": lambda instance: (
        "ManagedInstance" if instance.id.startswith("mi-") else "EC2Instance"
    ),
}


def cut(
    operation: str, found: Iterable[tuple[list[int], T]], given: Mapping[str, Any], page_size: int
) -> tuple[list[T], str | None]:
    """Return a page of what was found, and the token for the next one or ``None``.

    Each item comes with its place, in falling order, so that what is added meanwhile neither
    repeats nor hides an item. A page has at most ``page_size`` items, whatever MaxResults asks.
    """
    size = min(given.get("MaxResults", page_size), page_size)
    after = _after(operation, given.get("NextToken"))
    left = [(place, item) for place, item in found if after is None or place < after]
    page = left[:size]
    token = None
    if len(left) > size:
        token = base64.b64encode(json.dumps([operation, page[-1][0]]).encode()).decode()
    return [item for _, item in page], token


def _after(operation: str, token: str | None) -> list[int] | None:
    if token is None:
        return None
    try:
        made_for, place = json.loads(base64.b64decode(token, validate=True))
    except ValueError:
        made_for, place = None, None
    if made_for != operation:
        raise ServiceError("InvalidNextToken", "The specified token isn't valid.")
    return [int(number) for number in place]


def command_filters(given: Mapping[str, Any]) -> list[Chosen]:
    """Return ListCommands' and ListCommandInvocations' filters."""
    return [_chosen(one["key"], one["value"]) for one in given.get("Filters", ())]


def _chosen(key: str, value: str) -> Chosen:
    if key in ("InvokedAfter", "InvokedBefore"):
        moment = _moment(value)
        later = key == "InvokedAfter"
        return lambda command, _: (
            command.requested > moment if later else command.requested < moment
        )
    if key == "Status":
        return lambda _, one: value in (one.status, one.details)
    if key == "DocumentName":
        return lambda *_: value == NAME
    return lambda _, one: value == ("Executing" if one.status in UNDER_WAY else "Complete")


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ServiceError("InvalidFilterKey", f"{text!r} is no timestamp.") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def instance_filters(given: Mapping[str, Any]) -> list[Wanted]:
    """Return DescribeInstanceInformation's filters."""
    pairs = [
        (one["key"], one["valueSet"]) for one in given.get("InstanceInformationFilterList", ())
    ]
    pairs += [(one["Key"], one["Values"]) for one in given.get("Filters", ())]
    return [_wanted(key, values) for key, values in pairs]


def _wanted(key: str, values: Sequence[str]) -> Wanted:
    if key == "tag-key":
        return lambda instance: any(value in instance.tags for value in values)
    if key.startswith("tag:"):
        return lambda instance: instance.tags.get(key[4:]) in values
    if key not in PROPERTIES:
        raise ServiceError("InvalidFilterKey", f"The key {key} isn't valid.")
    return lambda instance: PROPERTIES[key](instance) in values


def targets(given: Sequence[Mapping[str, Any]], groups: Mapping[str, Wanted]) -> list[Wanted]:
    """Return SendCommand's Targets; an instance must be meant by all of them."""
    wanted = []
    for target in given:
        key, values = target["Key"], target["Values"]
        if key == "resource-groups:Name":
            if unknown := [value for value in values if value not in groups]:
                raise ServiceError("InvalidTarget", f"There is no resource group {unknown}.")
            chosen = [groups[value] for value in values]
            wanted.append(_any_of(chosen))
        elif key in ("InstanceIds", "tag-key") or key.startswith("tag:"):
            wanted.append(_wanted(key, values))
        else:
            raise ServiceError("InvalidTarget", f"The target key {key} isn't supported.")
    return wanted


def _any_of(chosen: Sequence[Wanted]) -> Wanted:
    return lambda instance: any(want(instance) for want in chosen)
