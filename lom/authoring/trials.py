"""Tries a plugin out: one invocation after the other, by mediation itself, each with its result."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from secrets import token_hex
from typing import Any

from lmm.envelope import build_message
from lmm.errors import Cancelled
from lmm.mediator import mediate
from lmm.model import Invocation, Limits, Result, Script, Target
from lmm.scope import Scope
from lmm.transports.base import Transport
from lom.authoring.case_host import StagedTransport, staged
from lom.authoring.cases import Case, filled
from lom.planning.input_schema import write_only_paths
from lom.planning.params import resolve_parameters
from lom.planning.scripts import load_script
from lom.registry.manifest import Capability, Plugin

HERE = Target("local", transport="local")
_RUN_ID = "plugin-test"
# What has words before it is no program to the bootstrap, which then leaves it unexecutable.
_EXECUTABLE = ("bash", "-c", 'for file; do :; done; chmod 700 -- "$file"; exec "$@"', "rune")


@dataclass(frozen=True, slots=True)
class TrialResult:
    """What one invocation came to; ``places`` are the paths of its case's host."""

    invocation: Invocation
    result: Result
    events: tuple[Mapping[str, Any], ...] = ()
    places: Mapping[str, str] = field(default_factory=dict)

    @property
    def answered(self) -> bool:
        """Whether the plugin kept the contract: with a payload, or with an error of its own."""
        return self.result.reason in (None, "plugin_failed")


@dataclass(frozen=True, slots=True)
class TrialOptions:
    """How a trial differs from an undisturbed run; durations in seconds.

    ``context`` is put into the message besides what the contract names; ``before`` are words before
    the interpreter's; ``script`` is run instead of the plugin's own; ``secret_params`` are JSON
    pointers of parameters that are secret though the schema does not say so.
    """

    timeout_s: float | None = None
    cancel_after_s: float | None = None
    context: Mapping[str, Any] = field(default_factory=dict)
    before: tuple[str, ...] = ()
    script: Script | None = None
    secret_params: frozenset[str] = frozenset()


PLAIN = TrialOptions()


class Trials:
    """Runs one plugin on one target, by default this machine made into the host of a case.

    ``cancel`` may be called from another thread or a signal handler: what runs is killed, and
    from then on every trial raises Cancelled.
    """

    def __init__(
        self, plugin: Plugin, target: Target = HERE, transport: Transport | None = None
    ) -> None:
        self.plugin = plugin
        self.target = target
        self._transport = transport
        self._scope = Scope()
        self._cancelled = False
        self.outcomes: Counter[str] = Counter()

    @property
    def is_here(self) -> bool:
        return self._transport is None

    def cancel(self) -> None:
        self._cancelled = True
        self._scope.cancel()

    def run(
        self,
        capability: Capability,
        parameters: Mapping[str, Any],
        case: Case | None = None,
        options: TrialOptions = PLAIN,
    ) -> TrialResult:
        """Run the plugin once with parameters, on the host of a case, and return its result.

        Raises RequestError for parameters that the schema refuses, Cancelled.
        """
        if self._transport is not None:
            invocation = self._invocation(capability, parameters, options)
            return self._run(self._transport, invocation, options.cancel_after_s, {})
        with staged(case) as stage:
            filled_in = filled(parameters, stage.places)
            invocation = self._invocation(capability, filled_in, options, stage.before)
            transport = StagedTransport(stage)
            return self._run(transport, invocation, options.cancel_after_s, stage.places)

    def _invocation(
        self,
        capability: Capability,
        parameters: Mapping[str, Any],
        options: TrialOptions,
        before: tuple[str, ...] = (),
    ) -> Invocation:
        timeout_s = options.timeout_s or capability.timeout_s
        script = options.script or load_script(self.plugin, capability)
        words = (*options.before, *before, *script.interpreter)
        if words and not script.interpreter:
            words = (*_EXECUTABLE, *words)
        return Invocation(
            run_id=_RUN_ID,
            target=self.target,
            action=capability.action,
            plugin=self.plugin.name,
            script=replace(
                script,
                interpreter=words,
                # a case says itself which commands its host lacks
                requires=() if self.is_here else script.requires,
            ),
            message=build_message(
                action=capability.action,
                target=self.target.name,
                run_id=_RUN_ID,
                input_parameters=resolve_parameters(
                    capability.input_schema, document=parameters, action=capability.action
                ),
                timeout_s=timeout_s,
                trace_id=token_hex(16),
                correlation_id=_RUN_ID,
                context=options.context,
            ),
            output_schema=capability.output_schema,
            write_only=write_only_paths(capability.input_schema) | options.secret_params,
            limits=Limits(timeout_s),
        )

    def _run(
        self,
        transport: Transport,
        invocation: Invocation,
        cancel_after_s: float | None,
        places: Mapping[str, str],
    ) -> TrialResult:
        self._scope = scope = Scope()
        if self._cancelled:
            raise Cancelled("cancelled", "cancelled")
        results: list[Result] = []
        events: list[Mapping[str, Any]] = []
        with _cancelling(scope, cancel_after_s):
            mediate(
                transport,
                [invocation],
                scope=scope,
                on_event=lambda target, kind, data: events.append({"kind": kind, **data}),
                on_result=results.append,
            )
        if self._cancelled:
            raise Cancelled("cancelled", "cancelled")
        self.outcomes[str(results[0].outcome)] += 1
        return TrialResult(invocation, results[0], tuple(events), places)


@contextlib.contextmanager
def _cancelling(scope: Scope, after_s: float | None) -> Iterator[None]:
    """Cancel the scope after some seconds, unless the block has ended before."""
    if after_s is None:
        yield
        return
    timer = threading.Timer(after_s, scope.cancel)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
