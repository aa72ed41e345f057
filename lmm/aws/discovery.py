"""Finds instances: EC2's own, or the managed nodes of Systems Manager, with what is known of each.

Regions and accounts are asked at the same time. One call that fails fails its whole query: half
of a fleet is never taken for all of it.
"""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from lmm.aws import session
from lmm.aws.names import is_instance_id
from lmm.aws.session import CALL_ERRORS, AwsAccount, Clients
from lmm.errors import RuneError
from lmm.model import JSON
from lmm.threads import started

AT_ONCE = 8
EC2_PAGE = 1000  # DescribeInstances: most instances in one answer
EC2_VALUES = 200  # most values of one filter
SSM_PAGE = 50  # DescribeInstanceInformation: most nodes in one answer
NOT_MANAGED = "NotManaged"  # the ping status of an instance that no agent has registered
GONE = ("shutting-down", "terminated")
MACHINES = {"arm64": "aarch64", "arm64_mac": "aarch64", "x86_64_mac": "x86_64"}  # as uname -m


@dataclass(frozen=True, slots=True)
class Query:
    """What to look for in one region of one account.

    ``filters`` are those of DescribeInstances (``ec2``) or DescribeInstanceInformation (``ssm``):
    name to values. With ``resource_group`` only its members count. ``agents`` asks for the state
    of the agents, too; ``ssm`` does so anyway.
    """

    service: Literal["ec2", "ssm"]
    account: AwsAccount
    filters: Mapping[str, Sequence[str]]
    resource_group: str | None = None
    agents: bool = True


@dataclass(frozen=True, slots=True)
class FoundInstance:
    """An EC2 instance or managed node. ``account`` has the region it was found in.

    ``ping_status`` is Online, ConnectionLost, Inactive or NotManaged, None if it was not asked.
    """

    instance_id: str
    account: AwsAccount
    vars: Mapping[str, JSON]
    private_address: str | None
    public_address: str | None
    ping_status: str | None


def discover(queries: Sequence[Query]) -> list[list[FoundInstance] | RuneError]:
    """Return what each query found, or why it could not be answered."""
    clients = Clients()
    answers: dict[int, list[FoundInstance] | RuneError] = {}
    crashed: list[BaseException] = []
    todo = deque(enumerate(queries))

    def work() -> None:
        while True:
            try:
                index, query = todo.popleft()
            except IndexError:
                return
            try:
                answers[index] = _Asking(clients, query).instances()
            except RuneError as error:
                answers[index] = error
            except BaseException as error:
                crashed.append(error)
                return

    # Daemons: after Ctrl-C nobody waits for a service that does not answer.
    threads = [
        threading.Thread(target=work, name=f"aws-{number}", daemon=True)
        for number in range(min(AT_ONCE, len(queries)))
    ]
    try:
        running = [thread for thread in threads if started(thread)]
        if not running:
            work()
        for thread in running:
            thread.join()
    finally:
        todo.clear()
        clients.close()
    if crashed:
        raise crashed[0]
    return [answers[index] for index in range(len(queries))]


def agents(
    clients: Clients,
    account: AwsAccount,
    instances: Iterable[str] | None = None,
    filters: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, Mapping[str, Any]]:
    """Return what Systems Manager knows of the instances, or of all nodes that match the filters.

    Those that no agent has registered are missing. Raises Unreachable.
    """
    client = clients.get(account, "ssm")
    given = [{"Key": key, "Values": list(values)} for key, values in (filters or {}).items()]
    pages = client.get_paginator("describe_instance_information")
    known: dict[str, Mapping[str, Any]] = {}
    try:
        for part in _chunks(instances, SSM_PAGE):
            chosen = [{"Key": "InstanceIds", "Values": part}] if part else []
            for page in pages.paginate(Filters=[*given, *chosen], MaxResults=SSM_PAGE):
                known |= {one["InstanceId"]: one for one in page["InstanceInformationList"]}
    except CALL_ERRORS as error:
        raise session.fault(error, f"to list managed nodes ({account})") from None
    return known


class _Asking:
    """The calls of one query."""

    def __init__(self, clients: Clients, query: Query) -> None:
        self._clients = clients
        self._query = query
        region = clients.get(query.account, "ssm").meta.region_name
        self._account = replace(query.account, region=region)

    def instances(self) -> list[FoundInstance]:
        members = self._members()
        if self._query.service == "ssm":
            nodes = agents(self._clients, self._account, members, self._query.filters)
            ours = [name for name in nodes if name.startswith("i-")]
            described = {one["InstanceId"]: one for one in self._described(ours, {})}
            return [
                self._instance(name, described.get(name, {}), node)
                for name, node in nodes.items()
                if name in described or not name.startswith("i-")
            ]
        described = {
            one["InstanceId"]: one for one in self._described(members, self._query.filters)
        }
        nodes = agents(self._clients, self._account, described) if self._query.agents else {}
        return [self._instance(name, one, nodes.get(name)) for name, one in described.items()]

    def _members(self) -> list[str] | None:
        """Return the ids of the resource group's instances, None if no group was given."""
        group = self._query.resource_group
        if group is None:
            return None
        client = self._clients.get(self._account, "resource-groups")
        members = []
        try:
            # Not filtered by type: that is an error for a group whose query lacks the type.
            for page in client.get_paginator("list_group_resources").paginate(Group=group):
                for one in page["Resources"]:
                    members.append(one["Identifier"]["ResourceArn"].rpartition("/")[2])
        except CALL_ERRORS as error:
            raise session.fault(
                error, f"to list the members of resource group {group!r} ({self._account})"
            ) from None
        return [name for name in members if is_instance_id(name)]

    def _described(
        self, instances: Iterable[str] | None, filters: Mapping[str, Sequence[str]]
    ) -> Iterator[dict[str, Any]]:
        """Yield EC2's description of the instances that match, without those that are gone."""
        client = self._clients.get(self._account, "ec2")
        given = [{"Name": key, "Values": list(values)} for key, values in filters.items()]
        pages = client.get_paginator("describe_instances")
        try:
            for part in _chunks(instances, EC2_VALUES):
                chosen = [{"Name": "instance-id", "Values": part}] if part else []
                for page in pages.paginate(Filters=[*given, *chosen], MaxResults=EC2_PAGE):
                    for reservation in page["Reservations"]:
                        for one in reservation["Instances"]:
                            if one["State"]["Name"] not in GONE:
                                yield {**one, "OwnerId": reservation.get("OwnerId")}
        except CALL_ERRORS as error:
            raise session.fault(error, f"to list instances ({self._account})") from None

    def _instance(
        self, name: str, described: Mapping[str, Any], node: Mapping[str, Any] | None
    ) -> FoundInstance:
        asked = self._query.service == "ssm" or self._query.agents
        node = node or {}
        status = node.get("PingStatus", NOT_MANAGED) if asked else None
        known = {
            "instance_id": name,
            "region": self._account.region,
            **_of_ec2(described),
            **_of_ssm(node),
            "ssm_ping_status": status,
        }
        return FoundInstance(
            instance_id=name,
            account=self._account,
            vars={key: value for key, value in known.items() if value is not None},
            private_address=described.get("PrivateIpAddress") or node.get("IPAddress"),
            public_address=described.get("PublicIpAddress"),
            ping_status=status,
        )


def _of_ec2(described: Mapping[str, Any]) -> dict[str, JSON]:
    if not described:
        return {}
    system = "windows" if described.get("Platform") else "linux"
    machine = described.get("Architecture", "")
    if machine.endswith("_mac"):
        system = "macos"
    machine = MACHINES.get(machine, machine)
    return {
        "account": described.get("OwnerId"),
        "availability_zone": described.get("Placement", {}).get("AvailabilityZone"),
        "image_id": described.get("ImageId"),
        "instance_type": described.get("InstanceType"),
        "platform": f"{system}/{machine}" if machine else system,
        "private_ip": described.get("PrivateIpAddress"),
        "public_ip": described.get("PublicIpAddress"),
        "state": described["State"]["Name"],
        "tags": {one["Key"]: one["Value"] for one in described.get("Tags", ())},
    }


def _of_ssm(node: Mapping[str, Any]) -> dict[str, JSON]:
    """Return what only the agent says, and of a hybrid node what EC2 says of its own."""
    known = {
        "computer_name": node.get("ComputerName"),
        "name": node.get("Name"),
        "platform_name": node.get("PlatformName"),
        "platform_version": node.get("PlatformVersion"),
        "ssm_agent_version": node.get("AgentVersion"),
    }
    if node.get("InstanceId", "").startswith("mi-"):
        known["platform"] = node.get("PlatformType", "").lower() or None
        known["private_ip"] = node.get("IPAddress")
    return known


def _chunks(items: Iterable[str] | None, size: int) -> Iterator[list[str]]:
    """Yield the items in lists of ``size``; None stands for one call without a choice."""
    if items is None:
        yield []
        return
    rest = iter(items)
    while part := list(itertools.islice(rest, size)):
        yield part
