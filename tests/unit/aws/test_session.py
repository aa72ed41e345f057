"""Every error that a call of boto3 may raise becomes one of ours, with a reason of the table."""

from __future__ import annotations

import botocore.exceptions
import pytest
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from lmm.aws import session
from lmm.aws.session import AwsAccount, Clients
from lmm.errors import Unreachable, code_table


def client_error(code: str, status: int = 400) -> ClientError:
    response = {
        "Error": {"Code": code, "Message": "why"},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    return ClientError(response, "Op")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (client_error("AccessDeniedException"), "aws_denied"),
        (client_error("UnauthorizedOperation", 403), "aws_denied"),
        (client_error("ThrottlingException"), "aws_throttled"),
        (client_error("InternalServerError", 500), "aws_unreachable"),
        (client_error("ValidationException"), "aws_refused"),
        (botocore.exceptions.NoCredentialsError(), "aws_credentials"),
        (botocore.exceptions.NoRegionError(), "aws_credentials"),
        (botocore.exceptions.ProfileNotFound(profile="x"), "aws_credentials"),
        (
            botocore.exceptions.CredentialRetrievalError(provider="x", error_msg="y"),
            "aws_credentials",
        ),
        (botocore.exceptions.SSOTokenLoadError(error_msg="expired"), "aws_credentials"),
        (botocore.exceptions.EndpointConnectionError(endpoint_url="x"), "aws_unreachable"),
        (botocore.exceptions.ReadTimeoutError(endpoint_url="x"), "aws_unreachable"),
        (ResponseParserError("not XML\n<html>"), "aws_unreachable"),
    ],
)
def test_reasons(error: Exception, reason: str) -> None:
    assert isinstance(error, session.CALL_ERRORS)
    told = session.fault(error, "to try")
    assert (type(told), told.reason) == (Unreachable, reason)
    assert "to try" in told.message
    assert told.message.isprintable()


def test_every_error_of_botocore_has_a_reason() -> None:
    kinds = [
        kind
        for kind in vars(botocore.exceptions).values()
        if isinstance(kind, type) and issubclass(kind, BotoCoreError)
    ]
    assert len(kinds) > 50
    for kind in kinds:
        error = kind.__new__(kind)
        Exception.__init__(error, "words")
        assert session.fault(error, "to try").reason in code_table()


@pytest.mark.parametrize(
    ("variables", "account", "told"),
    [
        ({}, AwsAccount(), "You must specify a region"),
        ({}, AwsAccount(profile="nobody"), "The config profile (nobody) could not be found"),
        ({"AWS_ENDPOINT_URL": "nonsense"}, AwsAccount("eu-west-1"), "Invalid endpoint: nonsense"),
    ],
)
def test_a_configuration_that_cannot_hold(
    variables: dict[str, str], account: AwsAccount, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    clients = Clients()
    with pytest.raises(Unreachable) as caught:
        clients.get(account, "ssm")
    clients.close()
    assert caught.value.reason == "aws_credentials"
    assert told in caught.value.message
