"""A toy store of the ledger, in memory: it keeps runs, and forgets them with its process."""

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict, replace
from typing import Any

from lmm.errors import RequestError
from lom.ledger.records import RunFacts, RunRow, TargetRow, who

UNTOLD = ("finished_at", "exit_code", "gap", "cancel_requested_at", "plan_hash", "approved_by")


class Kept:
    """A run, and what records it."""

    problem = None

    def __init__(self, facts: RunFacts, number: int) -> None:
        told: dict[str, Any] = asdict(facts) | dict.fromkeys(UNTOLD) | {"summary": {}}
        told |= {"number": number, "who": who(), "host": "", "pid": 0, "status": "running"}
        self.row = RunRow(**told | {"targets": len(facts.targets), "secret_params": ()})
        rows = [TargetRow(*target, "not_started", None, None, None) for target in facts.targets]
        self.targets = {row.name: row for row in rows}
        self.results: dict[str, Any] = {}
        self.events: list[dict[str, Any]] = []

    def starting(self, targets: Any) -> bool:
        self.targets |= {name: replace(self.targets[name], state="started") for name in targets}
        return True

    def settle(self) -> None: ...

    def result(self, document: Any, text: Any = None) -> None:
        name, told = document["target"], {key: document[key] for key in ("outcome", "attempt")}
        self.targets[name] = replace(self.targets[name], state="done", **told)
        self.results[name] = document

    def event(self, event: Any) -> None:
        self.events.append(event)

    def finish(self, summary: Any, exit_code: int | None) -> None:
        end = {key: summary[key] for key in ("finished_at", "status", "summary")}
        self.row = replace(self.row, exit_code=exit_code, **end)

    def close(self) -> None: ...


class MemoryLedger:
    """Ledger and reader in one, as a reader has nothing to close."""

    def __init__(self) -> None:
        self.kept: list[Kept] = []

    def prepare(self) -> None: ...

    def reader(self) -> Any:
        return nullcontext(self)

    def begin(self, facts: RunFacts, on_cancel: Any) -> Kept:
        self.kept.append(Kept(facts, len(self.kept)))
        return self.kept[-1]

    def runs(self, *, limit: Any = None, action: Any = None, status: Any = None) -> list[RunRow]:
        rows = [run.row for run in reversed(self.kept)]
        fit = (row for row in rows if action in (None, row.action) and status in (None, row.status))
        return list(fit)[:limit]

    def find(self, name: str) -> RunRow:
        found = [row for row in self.runs() if row.run_id.startswith(name)]
        if (name == "last" and self.kept) or len(found) == 1:
            return (found or self.runs())[0]
        raise RequestError("unknown_run", f"{len(found)} runs begin with {name!r}")

    def refreshed(self, run: RunRow) -> RunRow:
        return self.kept[run.number].row

    def targets(self, run: RunRow) -> list[TargetRow]:
        return list(self.kept[run.number].targets.values())

    def document_to_read(self, run: RunRow) -> dict[str, Any]:
        names = ("run_id", "action", "status", "started_at", "finished_at", "summary")
        results = self.kept[run.number].results
        known = [results[row.name] for row in self.targets(run) if row.state == "done"]
        return {name: getattr(run, name) for name in names} | {"results": known}

    def events(self, run: RunRow, after: int = 0) -> Iterator[dict[str, Any]]:
        kept = self.kept[run.number]
        for event in kept.events[after:]:
            done = event["kind"] == "target.finished"
            yield {**event, "data": kept.results[event["target"]]} if done else event

    def changes(self) -> int:
        return sum(len(run.events) + len(run.results) for run in self.kept)
