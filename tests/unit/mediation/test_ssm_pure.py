"""What the ``ssm`` transport decides by values alone."""

from __future__ import annotations

import botocore.session
import pytest
from botocore.exceptions import (
    ClientError,
    ConnectionClosedError,
    ConnectTimeoutError,
    EndpointConnectionError,
    NoCredentialsError,
    NoRegionError,
    ProfileNotFound,
    ReadTimeoutError,
)

from lmm.aws import session
from lmm.aws.commands import FINAL, Timeouts, ended_without_reply
from lmm.aws.payload import SCRIPT_CHARS, STDOUT_CHARS
from lmm.errors import Unreachable, code_table
from lmm.failures import outcome_of
from lmm.model import Outcome
from lmm.transports.ssm import INSTANCE_ID
from lmm.transports.ssm_watch import IDLE_S, LONGEST_S, SHORTEST_S, interval

# StatusDetails of GetCommandInvocation in the API reference, those that are final
DETAILS = {
    "Success": Outcome.LOST,
    "Failed": Outcome.LOST,
    "Cancelled": Outcome.CANCELLED,
    "DeliveryTimedOut": Outcome.UNREACHABLE,
    "ExecutionTimedOut": Outcome.TIMED_OUT,
    "Terminated": Outcome.UNREACHABLE,
    "Undeliverable": Outcome.UNREACHABLE,
    "AccessDenied": Outcome.UNREACHABLE,
    "InvalidPlatform": Outcome.FAILED,
    "SomethingNew": Outcome.LOST,
}


@pytest.mark.parametrize(("details", "outcome"), DETAILS.items())
def test_every_last_status_has_an_outcome(details: str, outcome: Outcome) -> None:
    error = ended_without_reply(details, 1)
    assert outcome_of(error) is outcome
    assert error.reason in code_table()


def test_every_status_of_the_service_is_final_or_known_not_to_be() -> None:
    model = botocore.session.get_session().get_service_model("ssm")
    statuses = set(model.shape_for("CommandInvocationStatus").metadata["enum"])
    assert statuses - set(FINAL) == {"Pending", "InProgress", "Delayed", "Cancelling"}


@pytest.mark.parametrize(
    ("timeout_s", "delivery_s", "execution_s"),
    [
        (0.5, 30, 11),
        (60, 60, 70),
        (59.2, 60, 70),
        (3600, 600, 3610),
        (172_790, 600, 172_800),
        (172_800, 600, 172_800),
    ],
)
def test_timeouts_stay_within_the_services_bounds(
    timeout_s: float, delivery_s: int, execution_s: int
) -> None:
    assert Timeouts.of(timeout_s, 10.0) == Timeouts(delivery_s, execution_s)


def test_intervals_grow_to_a_bound() -> None:
    times = [interval(second / 4) for second in range(800)]
    assert times == sorted(times)
    assert (times[0], interval(100), times[-1]) == (SHORTEST_S, LONGEST_S, IDLE_S)


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("i-12345678", True),
        ("i-0123456789abcdef0", True),
        ("mi-0123456789abcdef0", True),
        ("mi-12345678", False),
        ("i-123", False),
        ("i-0123456789abcdef0; reboot", False),
        ("web1", False),
        ("", False),
    ],
)
def test_instance_ids(text: str, is_one: bool) -> None:
    assert bool(INSTANCE_ID.fullmatch(text)) is is_one


def client_error(code: str, status: int = 400) -> ClientError:
    return ClientError(
        {
            "Error": {"Code": code, "Message": "because"},
            "ResponseMetadata": {
                "HTTPStatusCode": status,
                "RequestId": "",
                "HostId": "",
                "HTTPHeaders": {},
                "RetryAttempts": 0,
            },
        },
        "SendCommand",
    )


@pytest.mark.parametrize(
    ("error", "reason", "transient", "undecided"),
    [
        (client_error("ThrottlingException"), "aws_throttled", True, False),
        (client_error("AccessDeniedException"), "aws_denied", False, False),
        (client_error("ExpiredTokenException"), "aws_denied", False, False),
        (client_error("InvalidDocument"), "aws_refused", False, False),
        (client_error("InternalServerError", 500), "aws_unreachable", True, True),
        (client_error("ServiceUnavailable", 503), "aws_unreachable", True, True),
        (EndpointConnectionError(endpoint_url="x"), "aws_unreachable", True, False),
        (ConnectTimeoutError(endpoint_url="x"), "aws_unreachable", True, False),
        (ReadTimeoutError(endpoint_url="x"), "aws_unreachable", True, True),
        (ConnectionClosedError(endpoint_url="x"), "aws_unreachable", True, True),
        (NoCredentialsError(), "aws_credentials", False, False),
        (NoRegionError(), "aws_credentials", False, False),
        (ProfileNotFound(profile="x"), "aws_credentials", False, False),
    ],
)
def test_failed_calls(error: Exception, reason: str, transient: bool, undecided: bool) -> None:
    """Undecided is what may have been carried out: it is never simply sent again."""
    problem = session.fault(error, "to do it")
    assert isinstance(problem, Unreachable)
    assert problem.reason == reason
    assert "to do it" in problem.message
    assert (session.is_transient(error), session.is_undecided(error)) == (transient, undecided)


def test_limits_are_below_those_of_the_service() -> None:
    assert SCRIPT_CHARS < 64 * 1024
    assert STDOUT_CHARS == 24_000
