"""What the ledger keeps for comparison, as values; the same for every store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lom.ledger.metrics import Measured, Metric, Series

EARLIER_RUNS = 20  # of a host, the newest ones: its history


@dataclass(frozen=True, slots=True)
class Measurement:
    """What one target of a run measured; ``measured`` is None where it measured nothing.

    ``state`` is the outcome, or ``started`` or ``not_started`` where there is no result yet.
    """

    target: str
    state: str
    plugin: str | None
    measured: Measured | None


@dataclass(frozen=True, slots=True)
class PastMetric:
    """A metric of an earlier run of the same action on the same host, with the same facts."""

    run_id: str
    started_at: str
    metric: Metric


History = Mapping[str, Mapping[Series, list[PastMetric]]]


@dataclass(frozen=True, slots=True)
class BaselineMetric:
    """Center and spread of a series over ``hosts`` hosts with one plugin and the same facts."""

    plugin: str
    facts: str
    series: Series
    center: float
    spread: float
    hosts: int


@dataclass(frozen=True, slots=True)
class Baseline:
    """What was saved under a name, from which run, when and by whom."""

    name: str
    action: str
    run_id: str
    saved_at: str
    who: str
    metrics: tuple[BaselineMetric, ...]
