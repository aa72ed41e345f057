"""The operations of Run Command, over instances and commands of all regions."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from lmm.testing.aws import document
from lmm.testing.aws.course import Course
from lmm.testing.aws.errors import ServiceError, unknown_instances
from lmm.testing.aws.listing import Wanted, command_filters, cut, instance_filters, targets
from lmm.testing.aws.records import Command, CommandInvocation, ManagedInstance
from lmm.testing.aws.server import Operation, SignedCaller
from lmm.testing.aws.views import (
    command_view,
    instance_view,
    invocation_view,
    resource_view,
    result_view,
)

# SendCommand in the API reference: TimeoutSeconds' default.
DELIVERY_TIMEOUT = 3600


class FakeSystemsManager:
    """SSM's state and operations. Its methods run in one event loop and need no locks."""

    def __init__(
        self,
        course: Course,
        parameters: Mapping[str, str],
        *,
        visible_after_s: float,
        cancel_delay_s: float,
        page_size: int,
    ) -> None:
        self.instances: dict[str, ManagedInstance] = {}
        self.groups: dict[str, Wanted] = {}
        self._course = course
        self._parameters = parameters
        self._visible_after_s = visible_after_s
        self._cancel_delay_s = cancel_delay_s
        self._page_size = page_size
        self._commands: dict[str, Command] = {}

    @property
    def operations(self) -> Mapping[str, Operation]:
        """The operations by their names. Each raises ServiceError."""
        return {
            "SendCommand": self.send,
            "ListCommands": self.list_commands,
            "ListCommandInvocations": self.list_invocations,
            "GetCommandInvocation": self.get_invocation,
            "CancelCommand": self.cancel,
            "DescribeInstanceInformation": self.describe_instances,
            "ListGroupResources": self.list_group,
        }

    def send(self, caller: SignedCaller, given: dict[str, Any]) -> dict[str, Any]:
        """SendCommand."""
        if given["DocumentName"].rpartition("/")[2] != document.NAME:
            raise ServiceError("InvalidDocument", f"Document {given['DocumentName']} not found.")
        if given.get("DocumentVersion", "$DEFAULT") not in document.VERSIONS:
            raise ServiceError("InvalidDocumentVersion", "The document version does not exist.")
        script = document.read_parameters(given.get("Parameters", {}), self._parameters)
        instances = self._addressed(caller, given)
        delivery_s = given.get("TimeoutSeconds", DELIVERY_TIMEOUT)
        now = datetime.now(UTC)
        command = Command(
            id=str(uuid.uuid4()),
            serial=len(self._commands) + 1,
            region=caller.region,
            request=given,
            script=script,
            delivery_s=delivery_s,
            requested=now,
            # "Understanding command timeout values" in the user guide: the total timeout.
            expires=now + timedelta(seconds=delivery_s + script.timeout_s),
            visible_at=time.monotonic() + self._visible_after_s,
            invocations={instance.id: CommandInvocation(instance) for instance in instances},
        )
        self._commands[command.id] = command
        self._course.begin(command)
        return {"Command": command_view(command)}

    def list_commands(self, caller: SignedCaller, given: dict[str, Any]) -> dict[str, Any]:
        """ListCommands: the newest first."""
        filters = command_filters(given)
        found = [
            ([command.serial], command)
            for command in self._visible(caller, given.get("CommandId"))
            if given.get("InstanceId") in (None, *command.invocations)
            and all(chosen(command, command) for chosen in filters)
        ]
        page, token = cut("ListCommands", found[::-1], given, self._page_size)
        return {"Commands": [command_view(command) for command in page], "NextToken": token}

    def list_invocations(self, caller: SignedCaller, given: dict[str, Any]) -> dict[str, Any]:
        """ListCommandInvocations: those of the newest command first."""
        filters = command_filters(given)
        found = [
            ([command.serial, -number], (command, invocation))
            for command in reversed(self._visible(caller, given.get("CommandId")))
            for number, invocation in enumerate(command.invocations.values())
            if given.get("InstanceId") in (None, invocation.instance.id)
            and all(chosen(command, invocation) for chosen in filters)
        ]
        page, token = cut("ListCommandInvocations", found, given, self._page_size)
        details = given.get("Details", False)
        views = [invocation_view(command, invocation, details) for command, invocation in page]
        return {"CommandInvocations": views, "NextToken": token}

    def get_invocation(self, caller: SignedCaller, given: dict[str, Any]) -> dict[str, Any]:
        """GetCommandInvocation."""
        if given.get("PluginName", document.PLUGIN) != document.PLUGIN:
            raise ServiceError("InvalidPluginName", "The plugin name isn't valid.")
        for command in self._visible(caller, given["CommandId"]):
            if invocation := command.invocations.get(given["InstanceId"]):
                return result_view(command, invocation)
        raise ServiceError("InvocationDoesNotExist")

    def cancel(self, caller: SignedCaller, given: dict[str, Any]) -> dict[str, Any]:
        """CancelCommand: at once what was not delivered, by its agent what runs."""
        command = self._commands.get(given["CommandId"])
        if command is None or command.region != caller.region:
            raise ServiceError("InvalidCommandId")
        ids = given.get("InstanceIds") or list(command.invocations)
        _refuse_duplicates(ids)
        if unknown := [name for name in ids if name not in command.invocations]:
            raise unknown_instances(unknown)
        for invocation in (command.invocations[name] for name in ids):
            if invocation.status == "InProgress":
                invocation.become("Cancelling")
                loop = asyncio.get_running_loop()
                loop.call_later(self._cancel_delay_s, invocation.cancel.set)
            elif invocation.status in ("Pending", "Delayed"):
                invocation.become("Cancelled")
        return {}

    def describe_instances(self, caller: SignedCaller, given: dict[str, Any]) -> dict[str, Any]:
        """DescribeInstanceInformation."""
        filters = instance_filters(given)
        found = [
            ([-number], instance)
            for number, instance in enumerate(self.instances.values())
            if instance.region == caller.region and all(wanted(instance) for wanted in filters)
        ]
        page, token = cut("DescribeInstanceInformation", found, given, self._page_size)
        views = [instance_view(instance) for instance in page]
        return {"InstanceInformationList": views, "NextToken": token}

    def list_group(self, caller: SignedCaller, given: dict[str, Any]) -> dict[str, Any]:
        """Resource Groups' ListGroupResources, which moto does not have."""
        name = (given.get("Group") or given.get("GroupName") or "").rpartition("/")[2]
        if name not in self.groups:
            raise ServiceError("NotFoundException", f"Cannot find group: {name}", 404)
        found = [
            ([-number], instance)
            for number, instance in enumerate(self.instances.values())
            if instance.region == caller.region and self.groups[name](instance)
        ]
        page, token = cut("ListGroupResources", found, given, self._page_size)
        identifiers = [resource_view(instance) for instance in page]
        return {
            "Resources": [{"Identifier": one} for one in identifiers],
            "ResourceIdentifiers": identifiers,
            "NextToken": token,
        }

    def _addressed(self, caller: SignedCaller, given: dict[str, Any]) -> list[ManagedInstance]:
        here = {key: one for key, one in self.instances.items() if one.region == caller.region}
        ids, wanted = given.get("InstanceIds", []), given.get("Targets", [])
        if bool(ids) == bool(wanted):
            raise ServiceError("ValidationException", "Give either InstanceIds or Targets.")
        if wanted:
            means = targets(wanted, self.groups)
            return [one for one in here.values() if all(meant(one) for meant in means)]
        _refuse_duplicates(ids)
        if unknown := [name for name in ids if name not in here]:
            raise unknown_instances(unknown)
        return [here[name] for name in ids]

    def _visible(self, caller: SignedCaller, command_id: str | None) -> list[Command]:
        return [
            command
            for command in self._commands.values()
            if command.region == caller.region
            and command_id in (None, command.id)
            and command.visible
        ]


def _refuse_duplicates(ids: list[str]) -> None:
    if twice := [name for name, count in Counter(ids).items() if count > 1]:
        raise ServiceError("DuplicateInstanceId", f"{twice} are given more than once.")
