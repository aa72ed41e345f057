"""What a store of requests for approval and of the answers to them can do; who may see a request.

``folder`` beside this module is one: files that people of one machine share.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from lom.admission.approvals.standing import Answer, Demand, plan_hash
from lom.admission.caller import Caller
from lom.admission.decide import is_one_of


@dataclass(frozen=True, slots=True)
class ApprovalRequest:
    """What ``user`` asks to have approved; ``demands`` are what that user's RUNE was told."""

    run_id: str
    user: str
    asked_at: datetime
    demands: tuple[Demand, ...]
    subject: Mapping[str, Any]

    @property
    def plan_hash(self) -> str:
        return plan_hash(self.subject)


def may_answer(request: ApprovalRequest, caller: Caller) -> bool:
    return any(is_one_of(one.approvers, caller.user, caller.groups) for one in request.demands)


def may_see(request: ApprovalRequest, caller: Caller, identities: Mapping[str, str]) -> bool:
    """Whether it may be shown: who shares an account sees only what concerns them."""
    alone = caller.os_user not in identities
    return alone or caller.user == request.user or may_answer(request, caller)


class ApprovalStore(Protocol):
    """Who wrote what, and when, is told by the store and never by what was written.

    All methods but ``give_back`` raise RequestError (``local_io_error``, ``config_invalid``) where
    the store cannot be used.
    """

    def ask(self, request: ApprovalRequest) -> None:
        """Leave a request. Raises RequestError (``invalid_request``) for one that is too large."""

    def leave(self, run_id: str, answer: Answer) -> None:
        """Leave an answer to the request of a run. Raises as ``ask``."""

    def use(self, run_id: str) -> bool:
        """Mark a request as used; False if another process was faster."""

    def give_back(self, run_id: str) -> None:
        """Let a request that was marked as used wait again: the run has not begun."""

    def is_used(self, run_id: str) -> bool:
        """Whether a run was started on this request."""

    def requests(self) -> list[ApprovalRequest]:
        """Return what waits for an answer or a start, the oldest first."""

    def find(self, name: str, is_shown: Callable[[ApprovalRequest], bool] = ...) -> ApprovalRequest:
        """Return the request with this run id, or the one whose id begins so; of those that
        ``is_shown`` leaves out nothing is told. Raises RequestError (``unknown_run``)."""

    def read(
        self, run_id: str, is_shown: Callable[[ApprovalRequest], bool] = ..., *, used: bool = False
    ) -> ApprovalRequest:
        """Return the request with this run id, waiting or ``used``.

        Raises RequestError (``unknown_run``), in the same words for one that ``is_shown`` leaves
        out as for one that is not there.
        """

    def answers(self, run_id: str) -> list[Answer]:
        """Return the answers to a request."""
