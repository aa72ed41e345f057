"""What names in AWS look like. Imports nothing of boto3, so that files can be checked without it.

Patterns are those of botocore's service models (ssm, sts, resource-groups) and of the user guides
of IAM and S3.
"""

from __future__ import annotations

import re

_INSTANCE_ID = re.compile(r"i-(\w{8}|\w{17})|mi-\w{17}", re.ASCII)


def is_instance_id(text: str) -> bool:
    """Whether Systems Manager takes ``text`` for an EC2 instance or a hybrid managed node."""
    return bool(_INSTANCE_ID.fullmatch(text))
