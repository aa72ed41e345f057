"""What ``rune doctor`` checks: this machine, AWS where it is used, then that targets are reached.

Each check says what was found and, unless all is well, what to do. Targets are reached through
the orchestrator, like everything else.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lmm.errors import RuneError
from lmm.model import Target
from lmm.regular import read_regular
from lmm.transports import advice
from lom.inventory.load import EXAMPLE, find_inventory
from lom.inventory.model import Inventory
from lom.inventory.selectors import select
from lom.service.doctor.check import Check, advice_of

if TYPE_CHECKING:
    from lom.service.orchestrator import Orchestrator

OLDEST_PYTHON = (3, 11)


def examine(
    orchestrator: Orchestrator,
    selectors: Sequence[str] = (),
    *,
    environ: Mapping[str, str],
    home: Path,
    config_error: RuneError | None = None,
) -> Iterator[Check]:
    """Yield the checks; ``selectors`` pick the targets to reach (default: all, else this machine).

    ``config_error`` is what kept the configuration from being read.
    """
    yield _python()
    yield _ssh_program()
    yield _keys(environ, home)
    yield _known_hosts(home)
    yield _config(orchestrator, config_error)
    inventory: Inventory | RuneError
    try:
        inventory = orchestrator.inventory
    except RuneError as error:
        inventory = error
    yield _inventory(inventory)
    yield from _plugins(orchestrator)
    yield from _aws(orchestrator, inventory, selectors)
    if isinstance(inventory, Inventory):
        yield from _targets(orchestrator, selectors)


def _python() -> Check:
    found = f"Python {sys.version.split()[0]}"
    if sys.version_info < OLDEST_PYTHON:
        return Check("python", "fail", found, "Install Python 3.11 or later.")
    return Check("python", "ok", found)


def _ssh_program() -> Check:
    program = shutil.which("ssh")
    if program is None:
        return Check(
            "ssh", "warn", "no ssh program", "Install OpenSSH's client for the openssh transport."
        )
    _, said = _output([program, "-V"])
    return Check("ssh", "ok", f"{program}: {said.strip()}")


def _keys(environ: Mapping[str, str], home: Path) -> Check:
    names = []
    for path in sorted((home / ".ssh").glob("id_*")):
        if path.suffix == ".pub" or not path.is_file():
            continue
        if path.stat().st_mode & 0o077:
            return Check("keys", "warn", f"{path} can be read by others", f"chmod 600 {path}")
        names.append(path.name)
    found = f"keys: {', '.join(names) or 'none'}; agent: "
    if not environ.get("SSH_AUTH_SOCK"):
        found += "none"
    else:
        status, said = _output(["ssh-add", "-l"])
        loaded = said.count("\n") if status == 0 else 0
        found += f"{loaded} keys" if status in (0, 1) else "does not answer"
        if loaded:
            return Check("keys", "ok", found)
    if names:
        return Check("keys", "ok", found)
    return Check("keys", "warn", found, "Make a key with ssh-keygen, or start an agent.")


def _known_hosts(home: Path) -> Check:
    path = home / ".ssh" / "known_hosts"
    try:
        lines = read_regular(str(path)).splitlines()
    except OSError as error:
        return Check(
            "known_hosts",
            "warn",
            f"{path}: {error.strerror}",
            "Hosts are refused until their keys are there: ssh-keyscan HOST, compare, add;"
            " or set host_key_policy: accept-new.",
        )
    entries = sum(1 for line in lines if line.strip() and not line.lstrip().startswith(b"#"))
    return Check("known_hosts", "ok", f"{path}: {entries} entries")


def _config(orchestrator: Orchestrator, error: RuneError | None) -> Check:
    if error is not None:
        return Check("config", "fail", error.message, advice_of(error))
    named = {
        source.rpartition(":")[0]
        for source in orchestrator.settings.sources.values()
        if source.startswith("/")
    }
    return Check("config", "ok", ", ".join(sorted(named)) or "no file, defaults")


def _inventory(inventory: Inventory | RuneError) -> Check:
    if isinstance(inventory, RuneError):
        return Check("inventory", "fail", inventory.message, advice_of(inventory))
    if not inventory.targets:
        return Check(
            "inventory", "warn", "no targets", f"Write inventory.yaml, such as `{EXAMPLE}`."
        )
    return Check(
        "inventory",
        "ok",
        f"{len(inventory.targets)} targets, {len(inventory.groups)} groups"
        f" in {', '.join(inventory.sources)}",
    )


def _plugins(orchestrator: Orchestrator) -> Iterator[Check]:
    registry = orchestrator.registry
    try:
        broken_ones = registry.broken
    except RuneError as error:
        yield Check("plugins", "fail", error.message, advice_of(error))
        return
    for broken in broken_ones:
        yield Check(
            f"plugin {broken.directory.name}",
            "warn",
            f"{broken.directory}: {broken.error.message}",
            advice_of(broken.error),
        )
    yield Check(
        "plugins", "ok", f"{len(registry.plugins)} plugins, {len(registry.actions())} actions"
    )


def _aws(
    orchestrator: Orchestrator, inventory: Inventory | RuneError, selectors: Sequence[str]
) -> Iterator[Check]:
    """Yield checks only where a source or one of the targets needs AWS."""
    targets: list[Target] = []
    if isinstance(inventory, RuneError):
        if not inventory.reason.startswith("aws_"):
            return
        from lom.inventory.files import read
        from lom.inventory.merge import asked_of_aws

        paths = orchestrator.settings.inventory or find_inventory()
        queries = asked_of_aws(read(map(Path, paths)))
    else:
        transport = orchestrator.options().transport
        with contextlib.suppress(RuneError):  # then the targets' own check says so
            chosen = select(selectors or ["all"], inventory)
            targets = [one for one in chosen if (transport or one.transport) == "ssm"]
        queries = inventory.asked
    if queries or targets:
        from lom.service.doctor.aws import examine_aws

        yield from examine_aws(targets, queries)


def _targets(orchestrator: Orchestrator, selectors: Sequence[str]) -> Iterator[Check]:
    everything = ["all"] if orchestrator.inventory.targets else None
    try:
        plan = orchestrator.plan(
            "noop", list(selectors) or everything, options=orchestrator.options()
        )
        run = orchestrator.start(plan)
    except RuneError as error:
        yield Check("targets", "fail", error.message, advice_of(error))
        return
    with run:
        run.wait()
    for step, result in zip(plan.steps, run.results, strict=True):
        name = f"target {result.target}"
        if result.error is None:
            found = f"answered over {step.target.transport} in {result.duration_s * 1000:.0f} ms"
            yield Check(name, "ok", found)
        else:
            advice = [*result.error["error_context"]["recovery_actions"], *_needs(step.target)]
            yield Check(name, "fail", f"{result.outcome}: {result.message}", " ".join(advice))


def _needs(target: Target) -> Iterator[str]:
    with contextlib.suppress(RuneError):  # then that is what kept it from being reached
        if words := advice(target):
            yield words


def _output(argv: Sequence[str]) -> tuple[int, str]:
    """Return exit status and combined output of a local program, (-1, why) if it cannot run."""
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=5,
            check=False,
            env={**os.environ, "LC_ALL": "C"},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return -1, str(error)
    return done.returncode, done.stdout.decode("utf-8", "replace")
