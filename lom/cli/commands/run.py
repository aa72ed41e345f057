"""``rune run``: one action on its targets."""

from __future__ import annotations

from typing import Any

import click

from lom.cli.common import Common, common_options, completing
from lom.cli.execute import confirmation
from lom.cli.once import carry_out
from lom.cli.options import (
    approved_option,
    concurrency_option,
    connect_timeout_option,
    ledger_options,
    new_secret_option,
    param_option,
    params_option,
    target_option,
    timeout_option,
    transport_option,
)
from lom.cli.types import Seconds, Size, secret_references
from lom.exit_codes import ExitCode
from lom.settings.values import ON_LOCKED


class RunCommand(click.Command):
    """``--become`` takes a user only as ``--become=USER``: it must not swallow the action."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        end = args.index("--") if "--" in args else len(args)
        plain = ["--become=root" if one == "--become" else one for one in args[:end]]
        return super().parse_args(ctx, [*plain, *args[end:]])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Exit codes"):
            formatter.write_dl([(str(int(code)), code.meaning) for code in ExitCode])


@click.command(cls=RunCommand)
@click.argument("action", shell_complete=completing("action"))
@target_option(
    "targets",
    "Which targets: names, groups, `and or not`, ranges, globs, variables, user@host:port, @file;"
    " may be repeated. Without it: this machine.",
)
@param_option(completing("parameter"))
@params_option
@new_secret_option
@timeout_option("Seconds for each target.  [default: as the plugin says]")
@connect_timeout_option("Seconds to connect.  [default: as the target says]")
@concurrency_option
@click.option(
    "--batch",
    metavar="N|N%,...",
    help="Start the next N targets when N are through; a list such as 1,10%,100% gives the size of"
    " each batch, and the last one repeats.",
)
@click.option(
    "--max-failures",
    metavar="N|N%",
    help="Start no more targets once more than N failed; those that run may finish.",
)
@click.option(
    "--pause-between", "pause_between_s", type=Seconds(), metavar="S", help="Wait between batches."
)
@click.option("--confirm-between", is_flag=True, help="Ask between batches whether to go on.")
@click.option(
    "--deadline",
    "deadline_s",
    type=Seconds(),
    metavar="S",
    help="Seconds for the whole run: then no more targets are started, and what runs may take no"
    " longer than is left.",
)
@click.option(
    "--retries",
    type=click.IntRange(min=0),
    metavar="N",
    help="Start a target up to N times more: one that was unreachable, and if the plugin is"
    " retry_safe one that did not end well, too.  [default: 0]",
)
@click.option(
    "--retry-wait",
    "retry_wait_s",
    type=Seconds(),
    metavar="S",
    help="Seconds before the first of the retries; they double, with some chance added."
    "  [default: 5]",
)
@click.option(
    "--on-locked",
    type=click.Choice(ON_LOCKED),
    help="What to do about a target that another run is changing.  [default: wait]",
)
@click.option(
    "--lock-timeout",
    "lock_timeout_s",
    type=Seconds(),
    metavar="S",
    help="Seconds to wait for such a target.  [default: 300]",
)
@transport_option(
    "Reach all targets by local, ssh, openssh, ssm or auto.  [default: as the target says]"
)
@click.option(
    "--become",
    metavar="[=USER]",
    help="Run the plugin as USER through sudo; --become alone is root.",
)
@click.option(
    "--on-disconnect",
    type=click.Choice(("kill", "continue")),
    help="What a host does with the plugin when the connection drops: kill it, or let it run on to"
    " its deadline and keep its result for `rune runs resume`.  [default: as the plugin says, else"
    " kill]",
)
@click.option(
    "--max-stdout",
    "max_stdout_bytes",
    type=Size(),
    metavar="SIZE",
    help="Most that a plugin may answer.  [default: 16M]",
)
@click.option(
    "--max-stderr",
    "max_stderr_bytes",
    type=Size(),
    metavar="SIZE",
    help="Most that a plugin may log.  [default: 1M]",
)
@click.option(
    "--idempotency-key",
    metavar="KEY",
    help="A name for this request: the same command with the same KEY makes no second run, but"
    " prints what the first one came to, or finishes it.",
)
@click.option(
    "--min-version",
    metavar="VERSION",
    help="Take a plugin of this version or a newer one, such as 1.2.",
)
@click.option("--yes", is_flag=True, help="Confirm what would ask.")
@approved_option
@click.option(
    "--dry-run", is_flag=True, help="Print the plan and what the policy says to it, and stop."
)
@ledger_options
@common_options()
def run(
    common: Common,
    action: str,
    targets: tuple[str, ...],
    assignments: tuple[str, ...],
    params_file: str | None,
    secrets: tuple[str, ...],
    become: str | None,
    on_disconnect: str | None,
    idempotency_key: str | None,
    yes: bool,
    approved: str | None,
    dry_run: bool,
    **given: Any,
) -> int:
    """Run ACTION on the targets and print one result for each.

    \b
    rune run host.info
    rune run host.exec -p command='df -h /' -t 'web[1-4]'
    rune run gpu.info -t 'gpu and not rack3' -o json
    rune run host.exec -t all --batch 1,10% --max-failures 2 --params job.json
    rune run noop -t ops@10.0.0.7:2222 --secret token=env:TOKEN

    A value given by -p or --params is only data; secrets are read for --secret alone. Ctrl-C
    cancels and reports, again a second later quits at once; neither leaves anything running
    on a host.
    """
    from lmm.model import Become, OnDisconnect
    from lom import Start

    params = None
    if params_file:
        from lom.service.parameters import read_params

        params = read_params(params_file)
    start = Start(
        yes=yes,
        approved=approved is not None,
        confirm=confirmation(common),
        idempotency_key=idempotency_key,
    )
    with common.orchestrator() as orchestrator:
        plan = orchestrator.plan(
            action,
            targets or None,
            params,
            assignments,
            secret_references(secrets),
            options=orchestrator.options(
                become=None if become is None else Become(become),
                on_disconnect=None if on_disconnect is None else OnDisconnect(on_disconnect),
                **given,
            ),
            run_id=approved,
        )
        return carry_out(common, orchestrator, plan, start, dry_run)
