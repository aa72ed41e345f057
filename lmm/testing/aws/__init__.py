"""A fake AWS account whose instances really run what SSM Run Command sends them.

:class:`FakeAws` is an HTTP endpoint on 127.0.0.1 that boto3 and the AWS CLI talk to unmodified, by
``AWS_ENDPOINT_URL_SSM``. S3, EC2 and STS come from moto, if wanted.

Faithful about: AWS JSON 1.1 and its errors, checked against the service model that botocore ships
(types, lengths, ranges, patterns, enumerations); SendCommand, ListCommands,
ListCommandInvocations, GetCommandInvocation, CancelCommand, DescribeInstanceInformation and
Resource Groups' ListGroupResources; pages; regions; what AWS-RunShellScript takes, also
``{{ ssm:NAME }}``; all states of a command and its invocations; delivery and its timeout;
MaxConcurrency and MaxErrors; how the agent runs a script, stops it, cuts and reports its output,
uploads it to S3, and what exit codes 137, 168, 169 and 194 do; eventual consistency. The modules
name their sources.

On top of that come faults that a test plans: throttling, HTTP 500, denied operations, and requests
or answers that are lost or late.

Left out: other documents, their versions and hashes, signatures (one must be there and is not
verified), accounts (a region tells instances apart, an access key only what is denied to it),
CloudWatch, notifications, alarms, service roles, output larger than one S3 upload.

What belongs here: doubles of AWS services for tests and demonstrations. The product imports
nothing of it.
"""

from __future__ import annotations

from lmm.testing.aws.errors import ServiceError
from lmm.testing.aws.fake import FakeAws

__all__ = ["FakeAws", "ServiceError"]
