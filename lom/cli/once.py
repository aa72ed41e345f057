"""A request whose idempotency key has a run already: its answer, once it is there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lmm.errors import PolicyDenied, RequestError
from lom.cli.commands.follow import following
from lom.cli.commands.runs import open_ledger
from lom.cli.common import Common
from lom.cli.execute import execute
from lom.cli.output import write_pieces, write_stdout
from lom.exit_codes import ExitCode

if TYPE_CHECKING:
    from lom.ledger import RunRow
    from lom.planning.plan import Plan
    from lom.service.orchestrator import Orchestrator


def once(common: Common, orchestrator: Orchestrator, plan: Plan) -> int:
    """Carry out the plan, unless its key has a run: then print that run's results.

    One that goes on in another process is waited for, one that was left is taken up. Raises
    RequestError where the run is one of another request (``idempotency_key_used``), PolicyDenied
    where it waits for an approval.
    """
    from lom.render.documents import encode
    from lom.service.resume import resumed

    seq = 0
    while True:
        try:
            return execute(common, orchestrator, plan)
        except RequestError as error:
            if error.reason == "run_not_resumable" and plan.resumes:
                run_id = plan.run_id  # another process was faster
            elif error.reason == "idempotency_key_used":
                run_id = error.data["run_id"]
            else:
                raise
            used = error
        with open_ledger(common) as ledger:
            try:
                run = ledger.find(run_id)
            except RequestError:  # it was removed in the meantime
                raise used from None
            _check(plan, run)
            for event in following(ledger, run, seq):
                seq = event["seq"]
                if common.output == "ndjson":
                    write_stdout(encode(event, "ndjson"))
            run = ledger.find(run_id)
            if run.finished:
                return _answer(common, run, ledger.document_to_read(run))
            plan = resumed(plan, run, ledger.targets(run))


def _check(plan: Plan, run: RunRow) -> None:
    from lom.service.resume import differences

    key = plan.options.idempotency_key
    if not plan.resumes and (found := differences(plan, run)):
        raise RequestError(
            "idempotency_key_used",
            f"the idempotency key {key!r} is that of the run {run.run_id}, which was asked for"
            f" otherwise; what differs: {', '.join(found)}",
            run_id=run.run_id,
            differences=found,
        )
    if run.status == "waiting":
        raise PolicyDenied(
            "approval_required",
            f"the run with the idempotency key {key!r} waits for `rune approve {run.run_id}`; then"
            f" give the same command again with --approved {run.run_id}",
            run_id=run.run_id,
            plan_hash=run.plan_hash,
        )
    if run.status == "unknown":
        raise RequestError(
            "run_not_resumable",
            f"the run {run.run_id} with the idempotency key {key!r} was begun by the process"
            f" {run.pid} on {run.host}, which cannot be seen from here; if that is gone, take it up"
            f" with `rune runs resume {run.run_id} --yes`",
            run_id=run.run_id,
        )


def _answer(common: Common, run: RunRow, document: Mapping[str, Any]) -> int:
    from lom.render.results import render_run, summary_line

    if common.output != "ndjson":
        write_pieces(render_run(document, common.output, common.stdout))
    if common.output == "table":
        common.tell(summary_line(document, common.stderr.color))
    return ExitCode.INTERNAL if run.exit_code is None else run.exit_code
