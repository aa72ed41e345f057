"""The targets of a plan as its options want them; refuses those that no run can reach so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from lmm.aws.names import is_instance_id
from lmm.errors import RequestError
from lmm.model import Become, Target
from lmm.register import kind_of
from lmm.transports import with_transport
from lom.planning.options import RunOptions
from lom.planning.plan import Step


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
