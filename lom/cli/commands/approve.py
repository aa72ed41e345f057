"""``rune approve``: what others asked to run, and the answer to it."""

from __future__ import annotations

import click

from lmm.errors import PolicyDenied, RequestError
from lom.cli.common import Common, common_options, completing
from lom.cli.execute import confirmation
from lom.cli.options import state_dir_option
from lom.exit_codes import ExitCode


@click.command()
@click.argument("run", metavar="[RUN]", required=False, shell_complete=completing("run"))
@click.option("--list", "listing", is_flag=True, help="List what waits, and its answers.")
@click.option("--deny", "denial", metavar="REASON", help="Deny it, for this reason.")
@click.option(
    "--expect", metavar="HASH", help="Answer only if this is the hash of the plan, as seen earlier."
)
@click.option("--yes", is_flag=True, help="Do not ask whether to approve.")
@click.option("--dry-run", is_flag=True, help="Print what would run, and stop.")
@state_dir_option
@common_options()
def approve(
    common: Common,
    run: str | None,
    listing: bool,
    denial: str | None,
    expect: str | None,
    yes: bool,
    dry_run: bool,
) -> int:
    """Approve of what waits as RUN, or deny it: exactly that, once, and not what one asked oneself.

    \b
    rune approve --list
    rune approve 20260102T030405Z-9f86d081
    rune approve 20260102T0304 --deny 'not before the backup'

    RUN is an id, or the beginning of one. Who may answer is said by the rule that demands it.
    """
    from lom.render.approvals import answer_text, request_text, requests_table
    from lom.service import approvals

    caller = approvals.caller_of(common.settings)
    if listing:
        rows = approvals.waiting(common.settings, caller)
        common.emit({"requests": rows}, rows, lambda view: requests_table(rows, view))
        return ExitCode.OK
    if run is None:
        raise RequestError("invalid_usage", "name a RUN, or use --list", command="rune approve")
    request = approvals.find(common.settings, run, caller, expect)
    document = {**approvals.listed(request), "subject": request.subject}
    if dry_run:
        common.emit(document, [document], lambda view: request_text(document))
        return ExitCode.OK
    approvals.check_approver(request, caller)
    if denial is None and not yes:
        _confirm(common, request.run_id, request_text(document))
    answer = approvals.respond(request, common.settings, caller, denial)
    document = {**document, "answer": answer.document()}
    common.emit(document, [document], lambda view: answer_text(document))
    return ExitCode.OK


def _confirm(common: Common, run_id: str, text: str) -> None:
    """Show what would run and ask. Raises PolicyDenied if the answer is not yes."""
    from lom.cli.output import write_stderr

    ask = confirmation(common)
    if ask is None:
        raise PolicyDenied(
            "confirmation_required",
            f"nobody can be asked whether to approve of {run_id}; look at it with --dry-run and"
            " confirm with --yes",
            run_id=run_id,
        )
    write_stderr(text)
    if not ask(f"This approves of {run_id}"):
        raise PolicyDenied("policy_denied", f"{run_id} was not approved", run_id=run_id)
