"""Tries what RUNE needs of AWS by calls that change nothing, and says which of them are denied."""

from __future__ import annotations

import contextlib
import secrets
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from lmm.aws import session
from lmm.aws.session import CALL_ERRORS, READ_TIMEOUT_S, AwsAccount, Clients
from lmm.errors import RuneError, Unreachable
from lmm.model import SsmSettings

NOBODY = "i-00000000000000000"  # well formed, and never an instance
URL_VALID_S = 60

FOR_RUNS = (
    "ssm:DescribeInstanceInformation",
    "ssm:SendCommand",
    "ssm:ListCommands",
    "ssm:ListCommandInvocations",
    "ssm:GetCommandInvocation",
    "ssm:CancelCommand",
)


@dataclass(frozen=True, slots=True)
class _Trial:
    """A call that tells whether an action is allowed: it succeeds, or fails with one of
    ``allowed``, which the service only says to those who may."""

    service: str
    call: Callable[[Any], object]
    allowed: tuple[str, ...] = ()


_TRIALS = {
    "ec2:DescribeInstances": _Trial(
        "ec2", lambda client: client.describe_instances(DryRun=True), ("DryRunOperation",)
    ),
    "ssm:DescribeInstanceInformation": _Trial(
        "ssm", lambda client: client.describe_instance_information(MaxResults=5)
    ),
    "ssm:SendCommand": _Trial(
        "ssm",
        lambda client: client.send_command(
            InstanceIds=[NOBODY],
            DocumentName="AWS-RunShellScript",
            Parameters={"commands": ["true"]},
        ),
        ("InvalidInstanceId",),
    ),
    "ssm:ListCommands": _Trial("ssm", lambda client: client.list_commands(MaxResults=1)),
    "ssm:ListCommandInvocations": _Trial(
        "ssm", lambda client: client.list_command_invocations(MaxResults=1)
    ),
    "ssm:GetCommandInvocation": _Trial(
        "ssm",
        lambda client: client.get_command_invocation(
            CommandId=str(uuid.uuid4()), InstanceId=NOBODY
        ),
        ("InvocationDoesNotExist", "InvalidCommandId", "InvalidInstanceId"),
    ),
    "ssm:CancelCommand": _Trial(
        "ssm",
        lambda client: client.cancel_command(CommandId=str(uuid.uuid4())),
        ("InvalidCommandId",),
    ),
}


def resolved(clients: Clients, account: AwsAccount) -> AwsAccount:
    """Return the account with its region, from the AWS configuration where none is given.

    Raises Unreachable (``aws_credentials``).
    """
    return replace(account, region=clients.get(account, "ssm").meta.region_name)


def identity(clients: Clients, account: AwsAccount) -> str:
    """Return the ARN of whom AWS takes us for. Raises Unreachable."""
    try:
        return str(clients.get(account, "sts").get_caller_identity()["Arn"])
    except CALL_ERRORS as error:
        raise session.fault(error, f"to say who calls ({account})") from None


def permissions(
    clients: Clients, account: AwsAccount, actions: Iterable[str]
) -> Iterator[tuple[str, RuneError | None]]:
    """Yield each action, and why it cannot be done; None: it can.

    A policy that allows commands on tagged instances only denies the trial of ``ssm:SendCommand``.
    """
    for action in actions:
        trial = _TRIALS[action]
        try:
            trial.call(clients.get(account, trial.service))
        except CALL_ERRORS as error:
            if session.code_of(error) not in trial.allowed:
                yield action, session.fault(error, action)
                continue
        yield action, None


def bucket(clients: Clients, account: AwsAccount, ssm: SsmSettings) -> None:
    """Put, list, fetch and delete a small object below the prefix, as a run does.

    Raises Unreachable that names the step.
    """
    region = ssm.s3_region or account.region
    name, top = ssm.s3_bucket, ssm.s3_prefix.strip("/")
    key = f"{top}/doctor/{secrets.token_hex(8)}".lstrip("/")
    where = {"Bucket": name, "Key": key}
    content = secrets.token_bytes(64)
    client = clients.get(account, "s3", region=region)
    step = "s3:PutObject"
    try:
        client.put_object(**where, Body=content)
        try:
            step = "s3:ListBucket"
            client.list_objects_v2(Bucket=name, Prefix=key)
            step = "s3:GetObject"
            url = client.generate_presigned_url("get_object", Params=where, ExpiresIn=URL_VALID_S)
            with urllib.request.urlopen(url, timeout=READ_TIMEOUT_S) as answer:
                fetched = answer.read()
        finally:
            with contextlib.suppress(*CALL_ERRORS):
                client.delete_object(**where)
        step = "s3:DeleteObject"
        client.delete_object(**where)
    except CALL_ERRORS as error:
        raise session.fault(error, f"{step} on s3://{name}/{key}") from None
    except urllib.error.HTTPError as error:
        with error:
            raise Unreachable(
                "aws_denied" if error.code == 403 else "aws_refused",
                f"the presigned address of s3://{name}/{key} answers {error.code} {error.reason}",
            ) from None
    except OSError as error:
        raise Unreachable(
            "aws_unreachable", f"the presigned address of s3://{name}/{key}: {error}"
        ) from None
    if fetched != content:
        raise Unreachable("aws_refused", f"s3://{name}/{key} gave back something else than was put")
