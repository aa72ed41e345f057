"""``python -m lmm.testing.aws``: a fake AWS account in the foreground, to try RUNE without one."""

from __future__ import annotations

import contextlib
import shlex
import signal
import sys
import threading
from pathlib import Path

import click

from lmm.errors import RequestError
from lmm.testing.aws.cloud import REGION
from lmm.testing.aws.fake import FakeAws

BUCKET = "rune"


@click.command()
@click.option("--instances", default=3, show_default=True, help="How many can be reached.")
@click.option("--offline", default=0, show_default=True, help="How many more cannot.")
@click.option("--moto/--no-moto", default=True, show_default=True, help="S3, EC2 and STS too.")
@click.option("--port", default=0, help="SSM's port on 127.0.0.1; any free one by default.")
@click.option(
    "--env-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the variables here instead of to stdout.",
)
def main(instances: int, offline: int, moto: bool, port: int, env_file: Path | None) -> None:
    """Start a fake AWS account whose instances run on this machine, until Ctrl-C.

    It prints `export NAME=value` lines for the shell that is to use it. The scripts run as the
    user who starts it.
    """
    ended = threading.Event()
    for stop in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stop, lambda *_: ended.set())
    try:
        with FakeAws(instances, moto=moto, port=port) as fake:
            for number in range(offline):
                fake.add_instance(
                    tags={"Name": f"offline{number + 1}", "Role": "gpu"}, ping="ConnectionLost"
                )
            if moto:
                fake.cloud.create_bucket(BUCKET, REGION)
            _print_exports(fake, env_file)
            _print_hint(fake, env_file)
            ended.wait()
    except RequestError as error:
        raise click.ClickException(error.message) from None
    finally:
        if env_file is not None:
            env_file.unlink(missing_ok=True)


def _print_exports(fake: FakeAws, env_file: Path | None) -> None:
    lines = [f"export {name}={shlex.quote(value)}" for name, value in fake.environment.items()]
    text = "\n".join(lines) + "\n"
    if env_file is None:
        click.echo(text, nl=False)
    else:
        env_file.write_text(text, encoding="utf-8")


def _print_hint(fake: FakeAws, env_file: Path | None) -> None:
    use = (
        "paste these lines into another shell"
        if env_file is None
        else f"in another shell: . {shlex.quote(str(env_file))}"
    )
    click.echo(f"{len(fake.instance_ids)} instances; {use}. Ctrl-C ends it.", err=True)
    for instance in fake.instance_ids:
        click.echo(f"  {instance}", err=True)


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        main(prog_name=f"{Path(sys.executable).name} -m lmm.testing.aws")
