"""``rune runs rerun`` and ``resume``: a run once more, as a new one, or what it left undone."""

from __future__ import annotations

from dataclasses import replace

import click

from lom.cli.common import Common, common_options
from lom.cli.execute import confirmation, execute
from lom.cli.once import carry_out
from lom.cli.options import (
    OUTCOMES,
    approved_option,
    ledger_options,
    run_argument,
    secret_again_option,
    state_dir_option,
)
from lom.cli.types import secret_references

STATES = ("started", "not_started")


@click.command()
@run_argument
@click.option(
    "--only",
    multiple=True,
    type=click.Choice((*OUTCOMES, *STATES)),
    help="Only the targets that ended so, or that an interrupted run had (not) started; may be"
    " repeated.  [default: all]",
)
@secret_again_option
@click.option("--yes", is_flag=True, help="Confirm what would ask.")
@approved_option
@click.option("--dry-run", is_flag=True, help="Print the plan and stop.")
@ledger_options
@common_options()
def rerun(
    common: Common,
    run: str,
    only: tuple[str, ...],
    secrets: tuple[str, ...],
    yes: bool,
    approved: str | None,
    dry_run: bool,
) -> int:
    """Run the action of RUN once more, as a new run, with its parameters and its targets.

    \b
    rune runs rerun last --only failed --only unreachable
    rune runs rerun 2026 --only not_started

    Inventory and plugins come from where RUN had them, unless -i or --plugin-path say otherwise.
    Secrets are not kept: a run that had some needs --secret for each.
    """
    from lom import Start
    from lom.service.again import chosen, rerun_plan, settings_of

    with common.ledger() as ledger:
        found = ledger.find(run)
        names = chosen(found, ledger.targets(found), only)
    references = secret_references(secrets)
    common = replace(common, settings=settings_of(common.settings, found, common.asker))
    with common.orchestrator() as orchestrator:
        plan = rerun_plan(orchestrator, found, names, references, run_id=approved)
        start = Start(yes=yes, approved=approved is not None, confirm=confirmation(common))
        return carry_out(common, orchestrator, plan, start, dry_run)


@click.command()
@run_argument
@secret_again_option
@click.option(
    "--yes",
    is_flag=True,
    help="Confirm what would ask; and that the run's process is gone, where it cannot be seen.",
)
@state_dir_option
@common_options()
def resume(common: Common, run: str, secrets: tuple[str, ...], yes: bool) -> int:
    """Finish RUN, whose process was killed, or ask again for its targets that are lost.

    Targets that are through keep their results. The hosts of those that had been started are asked
    what became of them: what runs on (--on-disconnect continue) is waited for, what never started
    is started. The others are run as RUN would have. Prints what `rune run` would have printed.

    Inventory and plugins come from where RUN had them, unless -i or --plugin-path say otherwise.
    Secrets are not kept: a run that had some needs --secret for each.
    """
    from lom.service.again import check_resumable, resume_plan, resume_start, settings_of

    with common.ledger() as ledger:
        found = ledger.find(run)
        targets = ledger.targets(found)
    check_resumable(found)
    references = secret_references(secrets)
    start = resume_start(found, yes=yes, confirm=confirmation(common))
    common = replace(common, settings=settings_of(common.settings, found, common.asker))
    with common.orchestrator() as orchestrator:
        plan = resume_plan(orchestrator, found, targets, references)
        return execute(common, orchestrator, plan, start)
