"""``rune run``: one action on its targets."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from lmm.errors import RequestError
from lom.cli.common import Common, columns, common_options, completing
from lom.cli.execute import confirmation, execute
from lom.cli.types import Seconds, Size, secret_references
from lom.exit_codes import ExitCode

if TYPE_CHECKING:
    from lom.plan import Plan
    from lom.render.table import Screen


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
@click.option(
    "-t",
    "--target",
    "targets",
    multiple=True,
    metavar="SELECTOR",
    shell_complete=completing("target"),
    help="Which targets: names, groups, `and or not`, ranges, globs, variables, user@host:port,"
    " @file; may be repeated. Without it: this machine.",
)
@click.option(
    "-p",
    "--param",
    "assignments",
    multiple=True,
    metavar="KEY=VALUE",
    shell_complete=completing("parameter"),
    help="A parameter, typed by the action's input schema; a.b=1 for nested ones.",
)
@click.option(
    "--params",
    "params_file",
    metavar="FILE|-",
    shell_complete=completing("file"),
    help="Parameters from a JSON (or *.yaml) file, - for JSON on stdin; -p wins.",
)
@click.option(
    "--secret",
    "secrets",
    multiple=True,
    metavar="KEY=REF",
    help="A parameter whose value is secret, by reference: env:NAME or file:PATH.",
)
@click.option(
    "--timeout",
    "timeout_s",
    type=Seconds(),
    metavar="S",
    help="Seconds for each target.  [default: as the plugin says]",
)
@click.option(
    "--connect-timeout",
    "connect_timeout_s",
    type=Seconds(),
    metavar="S",
    help="Seconds to connect.  [default: as the target says]",
)
@click.option(
    "--concurrency",
    type=click.IntRange(min=1),
    metavar="N",
    help="Targets at the same time.  [default: 64]",
)
@click.option("--batch", metavar="N|N%", help="Start the next N targets when N are through.")
@click.option(
    "--max-failures", metavar="N|N%", help="Start no more targets once more than N failed."
)
@click.option(
    "--transport",
    metavar="NAME",
    shell_complete=completing("transport"),
    help="Reach all targets by local, ssh or openssh.  [default: as the target says]",
)
@click.option(
    "--become",
    metavar="[=USER]",
    help="Run the plugin as USER through sudo; --become alone is root.",
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
@click.option("--yes", is_flag=True, help="Confirm what would ask.")
@click.option("--dry-run", is_flag=True, help="Print the plan and stop.")
@common_options()
def run(
    common: Common,
    action: str,
    targets: tuple[str, ...],
    assignments: tuple[str, ...],
    params_file: str | None,
    secrets: tuple[str, ...],
    batch: str | None,
    max_failures: str | None,
    become: str | None,
    yes: bool,
    dry_run: bool,
) -> int:
    """Run ACTION on the targets and print one result for each.

    \b
    rune run host.info
    rune run host.exec -p command='df -h /' -t 'web[1-4]'
    rune run gpu.info -t 'gpu and not rack3' -o json
    rune run host.exec -t all --batch 10% --max-failures 2 --params job.json
    rune run noop -t ops@10.0.0.7:2222 --secret token=env:TOKEN

    A value given by -p or --params is only data; secrets are read for --secret alone. Ctrl-C
    cancels and reports, twice quits at once; neither leaves anything running on a host.
    """
    from lmm.model import Become

    with common.orchestrator() as orchestrator:
        plan = orchestrator.plan(
            action,
            targets or None,
            read_params(params_file) if params_file else None,
            assignments,
            secret_references(secrets),
            options=orchestrator.options(
                batch=batch,
                max_failures=max_failures,
                become=None if become is None else Become(become),
                yes=yes,
                confirm=confirmation(common),
            ),
        )
        if dry_run:
            document = plan.document()
            common.emit(document, document["targets"], lambda view: _plan_text(plan, view))
            return ExitCode.OK
        return execute(common, orchestrator, plan)


def read_params(name: str) -> Mapping[str, Any]:
    """Return the object in a file of parameters, or on stdin for ``-``.

    Raises RequestError (``invalid_request``, ``parse_error``).
    """
    from lmm.envelope import loads_request

    if name == "-":
        if sys.stdin is None:
            raise RequestError("invalid_request", "--params - reads stdin, which is closed")
        return _object(loads_request(sys.stdin.buffer.read(), "stdin (--params -)"), name)
    from pathlib import Path

    path = Path(name)
    if path.suffix in (".yaml", ".yml"):
        from lom.inventory_files import read

        document = read([path])[0]
        if document.problems:
            raise RequestError("invalid_request", f"--params {document.problems[0]}", file=name)
        return _object(document.data, name)
    try:
        content = path.read_bytes()
    except OSError as error:
        why = error.strerror or error
        raise RequestError("invalid_request", f"--params {name}: {why}", file=name) from None
    return _object(loads_request(content, f"--params {name}"), name)


def _object(value: Any, name: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise RequestError(
            "invalid_request", f"--params {name} must hold an object of parameters", file=name
        )
    return value


def _plan_text(plan: Plan, view: Screen) -> str:
    from lom.render.table import table

    rows = plan.document()["targets"]
    names = ["target", "transport", "plugin", "risk", "timeout_s", "error", "why"]
    if all(row["error"] is None for row in rows):
        names.remove("error")
    return table(names, columns(rows, names), view)
