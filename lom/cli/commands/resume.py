"""``rune runs resume``: what a run left undone, as the same run."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import click

from lmm.errors import RequestError
from lom.cli.commands.rerun import parameters, settings_of
from lom.cli.commands.runs import open_ledger, run_argument
from lom.cli.common import Common, common_options
from lom.cli.execute import confirmation, execute
from lom.cli.ledgers import state_dir_option
from lom.cli.types import secret_references

if TYPE_CHECKING:
    from lom.ledger import RunRow, TargetRow
    from lom.planning.plan import Plan, RunOptions
    from lom.service.orchestrator import Orchestrator


@click.command()
@run_argument
@click.option(
    "--secret",
    "secrets",
    multiple=True,
    metavar="KEY=REF",
    help="A secret parameter again, by reference: env:NAME or file:PATH.",
)
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
    from lom.planning.plan import RunOptions
    from lom.service.resume import resumed

    with open_ledger(common) as ledger:
        found = ledger.find(run)
        targets = ledger.targets(found)
    if found.finished and not found.summary["lost"]:
        raise RequestError(
            "run_not_resumable",
            f"the run {found.run_id} has finished, and none of its targets is lost",
            run_id=found.run_id,
        )
    options = RunOptions.of(
        found.options,
        yes=yes,
        approved=found.run_id if found.plan_hash else None,
        confirm=confirmation(common),
    )
    common = replace(common, settings=settings_of(common, found))
    with common.orchestrator() as orchestrator:
        plan = _plan(orchestrator, found, targets, options, secrets)
        return execute(common, orchestrator, resumed(plan, found, targets))


def _plan(
    orchestrator: Orchestrator,
    run: RunRow,
    targets: list[TargetRow],
    options: RunOptions,
    secrets: tuple[str, ...],
) -> Plan:
    """Plan the run's action on its targets; without those that are through if some are gone."""
    from lom.service.resume import is_open

    references = secret_references(secrets)
    params = parameters(run, references)

    def plan(names: list[str]) -> Plan:
        return orchestrator.plan(
            run.action, [", ".join(names)], params, secrets=references, options=options
        )

    left = [target.name for target in targets if is_open(target)]
    try:
        return plan([target.name for target in targets])
    except RequestError as error:
        if error.reason != "unknown_target" or len(left) in (0, len(targets)):
            raise
    return plan(left)
