"""How the service shows what it remembers: the structures of its output shapes."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from lmm.testing.aws import document
from lmm.testing.aws.errors import ACCOUNT
from lmm.testing.aws.output import stderr_content, stdout_content
from lmm.testing.aws.records import Command, CommandInvocation, ManagedInstance

AGENT_VERSION = "3.3.1142.0"
PLATFORM_NAMES = {"Linux": "Amazon Linux", "Windows": "Microsoft Windows Server", "MacOS": "macOS"}


def command_view(command: Command) -> dict[str, Any]:
    """Return a Command."""
    request = command.request
    return {
        "CommandId": command.id,
        "DocumentName": document.NAME,
        "DocumentVersion": request.get("DocumentVersion", "$DEFAULT"),
        "Comment": request.get("Comment", ""),
        "ExpiresAfter": command.expires,
        "Parameters": request.get("Parameters", {}),
        "InstanceIds": request.get("InstanceIds", []),
        "Targets": request.get("Targets", []),
        "RequestedDateTime": command.requested,
        "Status": command.status,
        "StatusDetails": command.details,
        "OutputS3Region": request.get("OutputS3Region"),
        "OutputS3BucketName": request.get("OutputS3BucketName", ""),
        "OutputS3KeyPrefix": request.get("OutputS3KeyPrefix", ""),
        "MaxConcurrency": request.get("MaxConcurrency", "50"),
        "MaxErrors": request.get("MaxErrors", "0"),
        "TargetCount": len(command.invocations),
        "CompletedCount": sum(one.final for one in command.invocations.values()),
        "ErrorCount": command.errors,
        "DeliveryTimedOutCount": command.count("DeliveryTimedOut"),
        "TimeoutSeconds": request.get("TimeoutSeconds", 3600),
    }


def invocation_view(
    command: Command, invocation: CommandInvocation, details: bool
) -> dict[str, Any]:
    """Return a CommandInvocation; ``details`` adds its one plugin and that plugin's output."""
    view = {
        "CommandId": command.id,
        "InstanceId": invocation.instance.id,
        "InstanceName": invocation.instance.tags.get("Name", ""),
        "Comment": command.request.get("Comment", ""),
        "DocumentName": document.NAME,
        "DocumentVersion": command.request.get("DocumentVersion", "$DEFAULT"),
        "RequestedDateTime": command.requested,
        "Status": invocation.status,
        "StatusDetails": invocation.details,
        "StandardOutputUrl": output_url(command, invocation, "stdout"),
        "StandardErrorUrl": output_url(command, invocation, "stderr"),
        "CommandPlugins": [],
    }
    if details and invocation.started:
        view["CommandPlugins"] = [
            {
                "Name": document.PLUGIN,
                # CommandPluginStatus has no Cancelling.
                "Status": invocation.status if invocation.final else "InProgress",
                "StatusDetails": invocation.details if invocation.final else "InProgress",
                "ResponseCode": invocation.code,
                "ResponseStartDateTime": invocation.started,
                "ResponseFinishDateTime": invocation.ended,
                "Output": invocation.output,
                "StandardOutputUrl": output_url(command, invocation, "stdout"),
                "StandardErrorUrl": output_url(command, invocation, "stderr"),
                "OutputS3Region": s3_region(command),
                "OutputS3BucketName": command.request.get("OutputS3BucketName", ""),
                "OutputS3KeyPrefix": command.request.get("OutputS3KeyPrefix", ""),
            }
        ]
    return view


def result_view(command: Command, invocation: CommandInvocation) -> dict[str, Any]:
    """Return GetCommandInvocation's result."""
    elapsed = ""
    if invocation.started and invocation.ended:
        elapsed = f"PT{(invocation.ended - invocation.started).total_seconds():.3f}S"
    return {
        "CommandId": command.id,
        "InstanceId": invocation.instance.id,
        "Comment": command.request.get("Comment", ""),
        "DocumentName": document.NAME,
        "DocumentVersion": command.request.get("DocumentVersion", "$DEFAULT"),
        "PluginName": document.PLUGIN,
        "ResponseCode": invocation.code,
        "ExecutionStartDateTime": _iso(invocation.started),
        "ExecutionElapsedTime": elapsed,
        "ExecutionEndDateTime": _iso(invocation.ended),
        "Status": invocation.status,
        "StatusDetails": invocation.details,
        "StandardOutputContent": stdout_content(invocation.stdout),
        "StandardOutputUrl": output_url(command, invocation, "stdout"),
        "StandardErrorContent": stderr_content(invocation.stderr),
        "StandardErrorUrl": output_url(command, invocation, "stderr"),
        "CloudWatchOutputConfig": {"CloudWatchLogGroupName": "", "CloudWatchOutputEnabled": False},
    }


def instance_view(instance: ManagedInstance) -> dict[str, Any]:
    """Return an InstanceInformation."""
    hybrid = instance.id.startswith("mi-")
    return {
        "InstanceId": instance.id,
        "PingStatus": instance.ping,
        "LastPingDateTime": instance.registered,
        "AgentVersion": AGENT_VERSION,
        "IsLatestVersion": True,
        "PlatformType": instance.platform,
        "PlatformName": PLATFORM_NAMES[instance.platform],
        "PlatformVersion": "2023" if instance.platform == "Linux" else "",
        "RegistrationDate": instance.registered if hybrid else None,
        "ResourceType": "ManagedInstance" if hybrid else "EC2Instance",
        "Name": instance.tags.get("Name", "") if hybrid else None,
        "IPAddress": "127.0.0.1",
        "ComputerName": f"{instance.id}.internal",
        "SourceId": instance.id,
        "SourceType": "AWS::SSM::ManagedInstance" if hybrid else "AWS::EC2::Instance",
    }


def resource_view(instance: ManagedInstance) -> dict[str, str]:
    """Return a ResourceIdentifier."""
    hybrid = instance.id.startswith("mi-")
    service, kind = ("ssm", "managed-instance") if hybrid else ("ec2", "instance")
    return {
        "ResourceArn": f"arn:aws:{service}:{instance.region}:{ACCOUNT}:{kind}/{instance.id}",
        "ResourceType": "AWS::SSM::ManagedInstance" if hybrid else "AWS::EC2::Instance",
    }


def s3_region(command: Command) -> str:
    """Return the region of the bucket for output."""
    return str(command.request.get("OutputS3Region", command.region))


def s3_key(command: Command, invocation: CommandInvocation, name: str) -> str:
    """Return the key under which the agent stores ``stdout`` or ``stderr``."""
    prefix = command.request.get("OutputS3KeyPrefix", "").strip("/")
    parts = [prefix, command.id, invocation.instance.id, document.PLACE, name]
    return "/".join(part for part in parts if part)


def output_url(command: Command, invocation: CommandInvocation, name: str) -> str:
    """Return where the output is, or would be had there been any; "" without a bucket."""
    bucket = command.request.get("OutputS3BucketName")
    if not bucket:
        return ""
    key = s3_key(command, invocation, name)
    return f"https://s3.{s3_region(command)}.amazonaws.com/{bucket}/{key}"


def _iso(moment: datetime | None) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z" if moment else ""
