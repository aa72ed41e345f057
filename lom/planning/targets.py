"""Refuses what no run can be carried out with, before anything is touched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from lmm.aws.names import is_instance_id
from lmm.errors import RequestError
from lmm.model import Become, Target
from lmm.register import AUTO, is_known, kind_of, names
from lmm.transports import with_transport
from lom.planning.plan import RunOptions, Step
from lom.settings.values import LONGEST_S, ON_LOCKED

_LOWEST = {
    "timeout_s": 0.001,
    "connect_timeout_s": 0.001,
    "concurrency": 1,
    "max_stdout": 1,
    "max_stderr": 1,
    "pause_between_s": 0,
    "deadline_s": 0.001,
    "retries": 0,
    "retry_wait_s": 0.001,
    "lock_timeout_s": 0.001,
}
_MOST_KEY = 255  # characters of an idempotency key


def checked(options: RunOptions) -> RunOptions:
    """Return the options if they can hold. Raises RequestError (``invalid_request``)."""
    for name, lowest in _LOWEST.items():
        value = getattr(options, name)
        if value is not None and value < lowest:
            raise RequestError(
                "invalid_request", f"{value} is less than {lowest} @ $.{name}", field=f"$.{name}"
            )
        if value is not None and name.endswith("_s") and value > LONGEST_S:
            raise RequestError(
                "invalid_request",
                f"{value} is more than {LONGEST_S:.0f} @ $.{name}",
                field=f"$.{name}",
            )
    if options.confirm_between and options.confirm is None:
        raise RequestError(
            "invalid_request",
            "nobody can be asked: it takes a terminal and the output format table"
            " @ $.confirm_between",
            field="$.confirm_between",
        )
    key = options.idempotency_key
    if key is not None and not (key.isprintable() and 0 < len(key) <= _MOST_KEY):
        raise RequestError(
            "invalid_request",
            f"a key has 1 to {_MOST_KEY} printable characters @ $.idempotency_key",
            field="$.idempotency_key",
        )
    if options.on_locked not in ON_LOCKED:
        raise RequestError(
            "invalid_request",
            f"{options.on_locked!r} is neither {' nor '.join(ON_LOCKED)} @ $.on_locked",
            field="$.on_locked",
        )
    if options.transport is not None and not (
        options.transport == AUTO or is_known(options.transport)
    ):
        raise RequestError(
            "invalid_request",
            f"there is no transport {options.transport!r} @ $.transport;"
            f" known are {', '.join(names())} and {AUTO}",
            field="$.transport",
        )
    return options


def adjusted(target: Target, options: RunOptions) -> Target:
    """Return the target with what the run's options say for all targets.

    Raises RequestError (``invalid_request``) for one that cannot go over the transport.
    """
    target = with_transport(target, options.transport)
    if kind_of(target.transport).is_managed and not is_instance_id(target.address):
        raise RequestError(
            "invalid_request",
            f"{target.name!r} cannot go over {target.transport}: {target.address!r} is not the id"
            " of an instance (i-… or mi-…); select it by its id, or write the id under host in the"
            " inventory",
            name=target.name,
        )
    if options.connect_timeout_s is not None:
        target = replace(
            target, ssh=replace(target.ssh, connect_timeout_s=options.connect_timeout_s)
        )
    if options.become is not None:
        target = replace(target, become=_become(options.become, target.become))
    return target


def _become(wanted: Become, known: Become | None) -> Become:
    """sudo asks for the password of who logs in, whoever the plugin runs as: the target's holds."""
    if known is None or wanted.password is not None:
        return wanted
    return replace(wanted, password=known.password)


def check_buckets(steps: Sequence[Step]) -> None:
    """Refuse to send a secret where it would stay readable."""
    names = [
        s.target.name for s in steps if s.target.transport == "ssm" and not s.target.ssm.s3_bucket
    ]
    if names:
        raise RequestError(
            "secret_needs_s3",
            f"{len(names)} target(s), {names[0]!r} the first, have no ssm.s3_bucket: a secret"
            " parameter would stay readable in the command history of AWS Systems Manager",
            field="ssm.s3_bucket",
            name=names[0],
        )


def check_secrets(steps: Sequence[Step]) -> None:
    """Resolve every secret that the targets refer to, so that none is missing halfway."""
    for reference in {one for step in steps for one in step.target.secrets}:
        reference.line()
