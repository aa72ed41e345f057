"""Clients of AWS services for an account and region, and what their failures mean for RUNE."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import boto3
import botocore.credentials
import botocore.loaders
import botocore.session
from botocore import exceptions
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from botocore.parsers import ResponseParserError

from lmm.errors import RuneError, Unreachable
from lmm.model import SsmSettings

CONNECT_TIMEOUT_S = 10
READ_TIMEOUT_S = 30
ATTEMPTS = 8  # of a call that only reads; botocore's adaptive mode waits with jitter between them
POOL_CONNECTIONS = 32

# What any call of boto3 may raise; the last is what a proxy's own page comes to.
CALL_ERRORS = (BotoCoreError, ClientError, ResponseParserError)
NO_ACCOUNT = (
    exceptions.ConfigParseError,
    exceptions.CredentialRetrievalError,
    exceptions.InvalidConfigError,
    exceptions.NoCredentialsError,
    exceptions.NoRegionError,
    exceptions.PartialCredentialsError,
    exceptions.ProfileNotFound,
    exceptions.SSOError,
    exceptions.TokenRetrievalError,
)
WORDS_CHARS = 400  # most of an error's own text

DENIED = {
    "AccessDenied",
    "AccessDeniedException",
    "AuthFailure",
    "ExpiredToken",
    "ExpiredTokenException",
    "IncompleteSignature",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "MissingAuthenticationToken",
    "MissingAuthenticationTokenException",
    "OptInRequired",
    "SignatureDoesNotMatch",
    "UnauthorizedOperation",
    "UnrecognizedClientException",
}
THROTTLED = {
    "PriorRequestNotComplete",
    "RequestLimitExceeded",
    "RequestThrottled",
    "RequestThrottledException",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "ThrottledException",
    "TooManyRequestsException",
}


@dataclass(frozen=True, slots=True)
class AwsAccount:
    """Whose resources, and where: what a client of a service is made from."""

    region: str | None = None
    profile: str | None = None
    role_arn: str | None = None
    external_id: str | None = None

    @classmethod
    def of(cls, ssm: SsmSettings) -> AwsAccount:
        return cls(ssm.region, ssm.profile, ssm.role_arn, ssm.external_id)

    def __str__(self) -> str:
        words = [f"profile {self.profile}"] if self.profile else []
        words += [f"role {self.role_arn}"] if self.role_arn else []
        words += [f"region {self.region}"] if self.region else []
        return ", ".join(words) or "the default AWS account and region"


class Clients:
    """The clients in use, each made once; safe for many threads. ``close`` frees their sockets."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sessions: dict[AwsAccount, boto3.Session] = {}
        self._made: dict[tuple[AwsAccount, str, str | None, bool], Any] = {}

    def get(
        self, account: AwsAccount, service: str, *, region: str | None = None, once: bool = False
    ) -> Any:
        """Return a client of ``service``; with ``once`` it never sends a request a second time.

        Raises Unreachable (``aws_credentials``) when the configuration gives no usable account.
        """
        key = account, service, region, once
        with self._lock, _configuration_faults(account):
            if key not in self._made:
                if account not in self._sessions:
                    self._sessions[account] = _session(account)
                retries: Any = {"mode": "adaptive", "total_max_attempts": ATTEMPTS}
                make: Any = self._sessions[account].client
                self._made[key] = make(
                    service,
                    region_name=region,
                    config=Config(
                        connect_timeout=CONNECT_TIMEOUT_S,
                        read_timeout=READ_TIMEOUT_S,
                        max_pool_connections=POOL_CONNECTIONS,
                        retries={"total_max_attempts": 1} if once else retries,
                        signature_version="s3v4" if service == "s3" else None,
                        user_agent_extra="rune",
                    ),
                )
            return self._made[key]

    def close(self) -> None:
        with self._lock:
            made, self._made = self._made, {}
            self._sessions.clear()
        for client in made.values():
            client.close()


class _Models(botocore.loaders.JSONFileLoader):
    """Reads botocore's models of services, each once for all sessions: it takes 50 ms and more."""

    @functools.cache  # noqa: B019  (one for the process)
    def load_file(self, file_path: str) -> Any:
        return super().load_file(file_path)


_MODELS = _Models()


def _session(account: AwsAccount) -> boto3.Session:
    """Return a session of the profile, in the role that is to be assumed."""
    base = botocore.session.Session(profile=account.profile)
    base.get_component("data_loader").file_loader = _MODELS
    if account.region:
        base.set_config_variable("region", account.region)
    if account.role_arn:
        extra = {"RoleSessionName": "rune"}
        if account.external_id:
            extra["ExternalId"] = account.external_id
        fetcher = botocore.credentials.AssumeRoleCredentialFetcher(
            client_creator=base.create_client,
            source_credentials=_source_credentials(base),
            role_arn=account.role_arn,
            extra_args=extra,
        )
        # botocore has no public way to a session of an assumed role that renews itself
        base._credentials = botocore.credentials.DeferredRefreshableCredentials(  # type: ignore[attr-defined]
            method="assume-role", refresh_using=fetcher.fetch_credentials
        )
    return boto3.Session(botocore_session=base)


def _source_credentials(base: botocore.session.Session) -> Any:
    credentials = base.get_credentials()
    if credentials is None:
        raise exceptions.NoCredentialsError
    return credentials


@contextlib.contextmanager
def _configuration_faults(account: AwsAccount) -> Iterator[None]:
    try:
        yield
    except BotoCoreError as error:
        raise fault(error, f"to use {account}") from None
    except ValueError as error:  # AWS_ENDPOINT_URL is no URL
        raise Unreachable("aws_credentials", f"{words(error)} (needed to use {account})") from None


def code_of(error: BaseException) -> str:
    """Return the service's own code of an error, '' where there is none."""
    if not isinstance(error, ClientError):
        return ""
    return str(error.response.get("Error", {}).get("Code", ""))


def is_server_fault(error: BaseException) -> bool:
    """Whether the service itself failed, so that it may or may not have done what was asked."""
    if not isinstance(error, ClientError):
        return False
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)) >= 500


def is_transient(error: BaseException) -> bool:
    """Whether the same call may well succeed soon."""
    if isinstance(error, HTTPClientError | exceptions.ConnectionError | ResponseParserError):
        return True
    return code_of(error) in THROTTLED or is_server_fault(error)


def is_undecided(error: BaseException) -> bool:
    """Whether the request may have been carried out although the call failed."""
    return isinstance(error, HTTPClientError | ResponseParserError) or is_server_fault(error)


def fault(error: BaseException, doing: str) -> RuneError:
    """Return what a failed call means when nothing has been started; ``doing`` says at what."""
    code = code_of(error)
    if code in DENIED:
        return Unreachable("aws_denied", f"AWS denied {doing}: {words(error)}", aws_code=code)
    if code in THROTTLED:
        return Unreachable("aws_throttled", f"AWS throttled {doing}: {words(error)}")
    if isinstance(error, NO_ACCOUNT):
        return Unreachable("aws_credentials", f"{words(error)} (needed {doing})")
    if is_transient(error):
        return Unreachable("aws_unreachable", f"AWS could not be asked {doing}: {words(error)}")
    return Unreachable("aws_refused", f"AWS refused {doing}: {words(error)}", aws_code=code)


def words(error: BaseException) -> str:
    """Return what AWS or botocore says, on one line."""
    if isinstance(error, ClientError):
        body = error.response.get("Error", {})
        return f"{body.get('Message') or 'no reason given'} ({body.get('Code')})"
    return " ".join(str(error).split())[:WORDS_CHARS] or type(error).__name__
