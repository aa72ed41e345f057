"""What names in AWS look like. Imports nothing of boto3, so that files can be checked without it.

Patterns are those of botocore's service models (ssm, sts, resource-groups) and of the user guides
of IAM and S3.
"""

from __future__ import annotations

import re

_INSTANCE_ID = re.compile(r"i-(\w{8}|\w{17})|mi-\w{17}", re.ASCII)
_REGION = re.compile(r"[a-z]{2,}(-[a-z]+)+-[0-9]{1,2}")
_ROLE_ARN = re.compile(r"arn:aws(-[a-z]+)*:iam::[0-9]{12}:role/[\w+=,.@/-]{1,576}", re.ASCII)
_EXTERNAL_ID = re.compile(r"[\w+=,.@:/-]{2,1224}", re.ASCII)
_BUCKET = re.compile(r"[a-z0-9](?!.*\.\.)[a-z0-9.-]{1,61}[a-z0-9]")
_IPV4 = re.compile(r"[0-9]+(\.[0-9]+){3}")
_GROUP = re.compile(
    r"(arn:aws(-[a-z]+)*:resource-groups:[a-z0-9-]+:[0-9]{12}:group/)?"
    r"[a-zA-Z0-9_.-]{1,300}(/[a-z0-9]{26})?"
)

PREFIX_CHARS = 400  # SendCommand takes 500; run and direction are appended to what is configured


def is_instance_id(text: str) -> bool:
    """Whether Systems Manager takes ``text`` for an EC2 instance or a hybrid managed node."""
    return bool(_INSTANCE_ID.fullmatch(text))


def region_fault(text: str) -> str | None:
    """Return what is wrong with a region, None if it may be one."""
    return None if _REGION.fullmatch(text) else "a region such as eu-west-1 is needed"


def role_fault(text: str) -> str | None:
    """Return what is wrong with the ARN of a role, None if it may be one."""
    if _ROLE_ARN.fullmatch(text):
        return None
    return "the ARN of a role such as arn:aws:iam::123456789012:role/rune is needed"


def external_id_fault(text: str) -> str | None:
    """Return what is wrong with an external id, None if it may be one."""
    if _EXTERNAL_ID.fullmatch(text):
        return None
    return "2 to 1224 letters, digits and characters of _+=,.@:/- are needed"


def bucket_fault(text: str) -> str | None:
    """Return what is wrong with the name of a bucket, None if it may be one."""
    if _BUCKET.fullmatch(text) and not _IPV4.fullmatch(text):
        return None
    return (
        "a bucket's name is needed: 3 to 63 lower-case letters, digits, '-' and '.',"
        " without s3:// and without a path"
    )


def prefix_fault(text: str) -> str | None:
    """Return what is wrong with a prefix of keys, None if it can be used."""
    if not text.isprintable() or text.startswith("/"):
        return "a prefix of keys without a leading '/' is needed"
    if len(text) > PREFIX_CHARS:
        return f"a prefix has at most {PREFIX_CHARS} characters"
    return None


def group_fault(text: str) -> str | None:
    """Return what is wrong with the name or ARN of a resource group, None if it may be one."""
    return None if _GROUP.fullmatch(text) else "the name or ARN of a resource group is needed"
