"""A request whose idempotency key has a run already: its answer, once it is there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lom.cli.common import Common
from lom.cli.execute import execute
from lom.cli.output import write_pieces, write_stdout
from lom.exit_codes import ExitCode

if TYPE_CHECKING:
    from lom import Orchestrator, Plan, Start


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
