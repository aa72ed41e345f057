"""``rune runs rerun``: the same action and parameters again, on some of a run's targets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import click

from lmm.errors import RequestError
from lom.cli.commands.runs import open_ledger, run_argument
from lom.cli.common import Common, common_options
from lom.cli.execute import carry_out, confirmation
from lom.cli.ledgers import ledger_options
from lom.cli.types import secret_references

if TYPE_CHECKING:
    from lmm.model import SecretRef
    from lom.ledger import RunRow, TargetRow
    from lom.settings.values import Settings

# The options that say how a target is run; how the targets are gone through is chosen anew.
_KEPT = (
    *("timeout_s", "concurrency", "transport", "connect_timeout_s", "max_stdout", "max_stderr"),
    *("become", "on_disconnect", "min_version"),
)
STATES = ("started", "not_started")
OUTCOMES = (
    *("ok", "failed", "unreachable", "timed_out"),
    *("invalid_output", "cancelled", "lost", "skipped"),
)


@click.command()
@run_argument
@click.option(
    "--only",
    multiple=True,
    type=click.Choice((*OUTCOMES, *STATES)),
    help="Only the targets that ended so, or that an interrupted run had (not) started; may be"
    " repeated.  [default: all]",
)
@click.option(
    "--secret",
    "secrets",
    multiple=True,
    metavar="KEY=REF",
    help="A secret parameter again, by reference: env:NAME or file:PATH.",
)
@click.option("--yes", is_flag=True, help="Confirm what would ask.")
@click.option(
    "--approved",
    metavar="RUN",
    help="Start the run that waits as RUN, once it was approved; all else must be as it was asked.",
)
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
    from lom.planning.plan import RunOptions

    with open_ledger(common) as ledger:
        found = ledger.find(run)
        names = chosen(found, ledger.targets(found), only)
    references = secret_references(secrets)
    params = parameters(found, references)
    common = replace(common, settings=settings_of(common, found))
    options = RunOptions.of(found.options)
    with common.orchestrator() as orchestrator:
        plan = orchestrator.plan(
            found.action,
            [", ".join(names)],
            params,
            secrets=references,
            options=orchestrator.options(
                **{name: getattr(options, name) for name in _KEPT},
                yes=yes,
                approved=approved,
                confirm=confirmation(common),
            ),
            context={"rerun_of": found.run_id},
        )
        return carry_out(common, orchestrator, plan, dry_run)


def chosen(run: RunRow, targets: Iterable[TargetRow], only: tuple[str, ...]) -> list[str]:
    """Return the names of the targets to run again. Raises RequestError if there are none."""
    if run.status in ("running", "unknown"):
        raise RequestError(
            "invalid_request",
            f"the run {run.run_id} is {run.status}; wait for it, or `rune runs cancel` it first",
        )
    names = [
        target.name for target in targets if not only or (target.outcome or target.state) in only
    ]
    if not names:
        raise RequestError(
            "selector_empty", f"no target of the run {run.run_id} is {' or '.join(only)}"
        )
    return names


def parameters(run: RunRow, given: Mapping[str, SecretRef]) -> dict[str, Any]:
    """Return the run's parameters without its secrets, which must all be ``given`` again.

    Raises RequestError (``secret_unavailable``) naming those that are not.
    """
    from copy import deepcopy

    from lmm.redact import places
    from lom.planning.params import pointer_of

    params: dict[str, Any] = deepcopy(run.request["payload"]["data"]["input_parameters"])
    known = {pointer_of(key) for key in given}
    missing = []
    for pointer in run.secret_params:
        held = list(places(params, [pointer]))
        if held and pointer not in known:
            missing.append(pointer.strip("/").replace("/", "."))
        for container, key in held:
            if isinstance(container, dict):
                del container[key]
    if missing:
        raise RequestError(
            "secret_unavailable",
            f"the run {run.run_id} had secrets, which the ledger does not keep; give them again: "
            + " ".join(f"--secret {name}=env:NAME" for name in missing),
            missing=missing,
        )
    return params


def settings_of(common: Common, run: RunRow) -> Settings:
    """Return the settings with the run's own inventory and plugins where no flag names others.

    An account that runs RUNE for others has but one of each.
    """
    settings = common.settings
    if common.asker is not None:
        return settings
    paths = {
        key: getattr(settings, key)
        if settings.sources[key] == "flag" or not run.options[key]
        else tuple(run.options[key])
        for key in ("inventory", "plugin_path")
    }
    kept = [key for key in paths if paths[key] != getattr(settings, key)]
    sources = {**settings.sources, **dict.fromkeys(kept, f"run {run.run_id}")}
    return replace(
        settings,
        inventory=paths["inventory"],
        plugin_path=paths["plugin_path"],
        sources=MappingProxyType(sources),
    )
