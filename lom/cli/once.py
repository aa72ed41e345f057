"""What a request comes to: its plan, its run, or the answer of the run that its key has already."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lom.cli.common import Common, columns
from lom.cli.execute import execute
from lom.cli.output import write_pieces, write_stdout
from lom.exit_codes import ExitCode

if TYPE_CHECKING:
    from lom import Orchestrator, Plan, Start
    from lom.render.table import Screen


def carry_out(
    common: Common, orchestrator: Orchestrator, plan: Plan, start: Start, dry_run: bool
) -> int:
    """Carry out the plan; with ``dry_run`` print it, and what the policy says to it."""
    if not dry_run:
        run = execute if start.idempotency_key is None else once
        return run(common, orchestrator, plan, start)
    decision = orchestrator.judge(plan, start)
    document = {**plan.document(), "policy": decision.document()}
    common.emit(document, document["targets"], lambda view: _plan_text(document, view))
    return ExitCode.DENIED if decision.error else ExitCode.OK


def once(common: Common, orchestrator: Orchestrator, plan: Plan, start: Start) -> int:
    """Carry out the plan, unless its key has a run: then print that run's results.

    Raises as ``lom.service.again.once``.
    """
    from lom.render.documents import encode
    from lom.render.results import render_run, summary_line
    from lom.service import again

    def on_event(event: Mapping[str, Any]) -> None:
        if common.output == "ndjson":
            write_stdout(encode(event, "ndjson"))

    def answer(document: Mapping[str, Any], exit_code: int | None) -> int:
        if common.output != "ndjson":
            write_pieces(render_run(document, common.output, common.stdout))
        if common.output == "table":
            common.tell(summary_line(document, common.stderr.color))
        return ExitCode.INTERNAL if exit_code is None else exit_code

    return again.once(
        plan,
        start,
        lambda plan: execute(common, orchestrator, plan, start),
        common.ledger,
        on_event,
        answer,
    )


def _plan_text(document: Mapping[str, Any], view: Screen) -> str:
    from lom.render.table import table
    from lom.render.text import clean

    rows, policy = document["targets"], document["policy"]
    names = ["target", "transport", "ping_status", "plugin", "risk", "timeout_s"]
    names += ["peer", "error", "why"]
    for name in ("ping_status", "peer", "error"):
        if all(row[name] is None for row in rows):
            names.remove(name)
    text = table(names, columns(rows, names), view)
    if document["concurrency_bound"]:
        text += f"\n{document['concurrency_bound']}\n"
    if policy["verdicts"] or not policy["allowed"]:
        said = policy["message"] or f"allowed for user {policy['user']}"
        text += f"\npolicy: {clean(said)}\n"
    return text
