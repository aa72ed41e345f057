"""What the service answers instead of a result."""

from __future__ import annotations

ACCOUNT = "123456789012"  # moto's, so that all fakes are one account


class ServiceError(Exception):
    """An error of the service: its code, message and HTTP status go over the wire."""

    def __init__(self, code: str, message: str = "", status: int = 400) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = status


def throttled() -> ServiceError:
    """Return what too many calls get from SSM."""
    return ServiceError("ThrottlingException", "Rate exceeded")


def internal() -> ServiceError:
    """Return the service's own fault, HTTP 500."""
    return ServiceError("InternalServerError", "An error occurred on the server side.", 500)


def unknown_instances(ids: list[str]) -> ServiceError:
    """Return the refusal of ids that are not managed in this region."""
    return ServiceError(
        "InvalidInstanceId", f"Instances [{ids}] not in a valid state for account {ACCOUNT}"
    )
