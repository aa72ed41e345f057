"""What may go wrong between a client and the service, planned by a test for calls to come."""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict, deque
from dataclasses import dataclass

from lmm.testing.aws.errors import ACCOUNT, ServiceError, internal, throttled


@dataclass(frozen=True)
class ServiceFault:
    """What happens to one call: is it carried out, and what does its caller get to see?"""

    carried_out: bool = True
    answer: ServiceError | None = None  # instead of the result
    delay_s: float = 0.0  # between carrying out and answering
    hang_up: bool = False  # close the connection without an answer


@dataclass
class TokenBucket:
    """A token bucket: ``burst`` calls at once, then ``per_second``."""

    per_second: float
    burst: float
    tokens: float
    filled_at: float

    def take(self) -> bool:
        now = time.monotonic()
        self.tokens = min(self.burst, self.tokens + (now - self.filled_at) * self.per_second)
        self.filled_at = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


class Faults:
    """Plans the faults of one endpoint, from any thread.

    What is planned for the next calls of an operation is used up in the order it was planned.
    """

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._planned: defaultdict[str, deque[ServiceFault]] = defaultdict(deque)
        self._buckets: dict[str, TokenBucket] = {}
        self._denied: set[tuple[str, str | None]] = set()

    def throttle(self, operation: str, times: int = 1) -> None:
        """Answer the next calls of an operation with ThrottlingException."""
        self.fail(operation, throttled(), times)

    def limit_rate(self, operation: str, per_second: float, burst: float = 1) -> None:
        """Throttle calls beyond ``burst`` at once and ``per_second`` after that."""
        with self._lock:
            self._buckets[operation] = TokenBucket(per_second, burst, burst, time.monotonic())

    def fail(
        self,
        operation: str,
        error: ServiceError | None = None,
        times: int = 1,
        *,
        carried_out: bool = False,
    ) -> None:
        """Answer the next calls with an error, InternalServerError (HTTP 500) by default.

        ``carried_out``: the call takes effect all the same.
        """
        self._plan(
            operation, ServiceFault(carried_out=carried_out, answer=error or internal()), times
        )

    def lose_answers(self, operation: str, times: int = 1) -> None:
        """Carry the next calls out, then close the connection without an answer."""
        self._plan(operation, ServiceFault(hang_up=True), times)

    def drop_requests(self, operation: str, times: int = 1) -> None:
        """Close the connection on the next calls, which take no effect."""
        self._plan(operation, ServiceFault(carried_out=False, hang_up=True), times)

    def delay_answers(self, operation: str, delay_s: float, times: int = 1) -> None:
        """Carry the next calls out at once and answer after ``delay_s``."""
        self._plan(operation, ServiceFault(delay_s=delay_s), times)

    def deny(self, operation: str, access_key: str | None = None) -> None:
        """Answer an operation with AccessDeniedException, to one access key or to all."""
        with self._lock:
            self._denied.add((operation, access_key))

    def allow(self, operation: str, access_key: str | None = None) -> None:
        """Take a ``deny`` back."""
        with self._lock:
            self._denied.discard((operation, access_key))

    def _plan(self, operation: str, fault: ServiceFault, times: int) -> None:
        with self._lock:
            self._planned[operation].extend([fault] * times)

    def meet(self, operation: str, access_key: str) -> ServiceFault:
        """Count a call and return what happens to it."""
        with self._lock:
            self.calls[operation] += 1
            if self._planned[operation]:
                return self._planned[operation].popleft()
            bucket = self._buckets.get(operation)
            if bucket is not None and not bucket.take():
                return ServiceFault(carried_out=False, answer=throttled())
            if self._denied & {(operation, access_key), (operation, None)}:
                return ServiceFault(carried_out=False, answer=_denied(operation, access_key))
            return ServiceFault()


def _denied(operation: str, access_key: str) -> ServiceError:
    return ServiceError(
        "AccessDeniedException",
        f"User: arn:aws:iam::{ACCOUNT}:user/{access_key} is not authorized to perform:"
        f" ssm:{operation} because no identity-based policy allows the ssm:{operation} action",
    )
