"""Sources of an inventory: what they ask AWS, and the targets that they find there.

A source becomes a group of its name. What was found are settings of the targets themselves, so
the usual precedence holds; AWS itself is asked in ``lmm.aws.discovery``, imported only then.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from lmm.aws import names as aws
from lmm.errors import RequestError, RuneError
from lmm.model import JSON
from lom.documents.document import Document, Location, Problem
from lom.names import LOCAL, name_fault

if TYPE_CHECKING:
    from lmm.aws.discovery import FoundInstance, Query

ACCOUNT = ("profile", "role_arn", "external_id")
TAGS = "tags."


@dataclass(frozen=True, slots=True)
class Source:
    """An entry of ``sources`` as ``specs/inventory_v1.json`` has it, and where it stands."""

    name: str
    data: Mapping[str, Any]
    document: Document
    location: Location


@dataclass(slots=True)
class FoundTarget:
    """A target that sources found: its name, its settings, and the sources it belongs to."""

    instance: FoundInstance
    host: str
    wanted: str | None
    vars: dict[str, JSON] = field(default_factory=dict)
    sources: list[Source] = field(default_factory=list)
    name: str = ""

    @property
    def layer(self) -> Mapping[str, Any]:
        """The target's own settings; ``instance_id`` is its host over ``ssm``."""
        one = self.instance
        return {
            "host": self.host,
            "instance_id": one.instance_id,
            "vars": self.vars,
            "ssm": {
                "region": one.account.region,
                **{name: getattr(one.account, name) for name in ACCOUNT},
            },
            "seen": one.ping_status,
        }


def queries(source: Source, ssm: Mapping[str, Any]) -> list[Query]:
    """Return what a source asks AWS, one query a region; ``ssm`` are the file's own defaults."""
    from lmm.aws.discovery import Query
    from lmm.aws.session import AwsAccount

    given = source.data
    own = {name: given[name] for name in ACCOUNT if name in given}
    account = AwsAccount(**{name: ssm.get(name) for name in ACCOUNT} | own)
    regions: list[str | None] = given.get("regions") or [ssm.get("region")]
    return [
        Query(
            service=given["source"],
            account=replace(account, region=region),
            filters={
                name: [value] if isinstance(value, str) else value
                for name, value in given.get("filters", {}).items()
            },
            resource_group=given.get("resource_group"),
            agents=((given.get("defaults") or {}).get("transport") or "ssm") == "ssm",
        )
        for region in dict.fromkeys(regions)
    ]


def find(
    sources: Sequence[Source], asked: Sequence[Sequence[Query]], taken: Set[str]
) -> list[FoundTarget]:
    """Ask AWS and return the targets, source by source, sorted by name.

    ``asked`` are the queries of each source, ``taken`` the names that stand for something else. An
    instance of several sources is one target, whose account is that of the first. Raises
    RequestError (``aws_…``) with every query that could not be answered.
    """
    from lmm.aws.discovery import discover

    pairs = [(source, query) for source, own in zip(sources, asked, strict=True) for query in own]
    answers = discover([query for _, query in pairs])
    failed: list[tuple[Source, RuneError]] = []
    found: list[tuple[Source, Sequence[FoundInstance]]] = []
    for (source, _), answer in zip(pairs, answers, strict=True):
        if isinstance(answer, RuneError):
            failed.append((source, answer))
        else:
            found.append((source, answer))
    if failed:
        raise _refusal(failed)
    return gather(found, taken)


def gather(
    found: Sequence[tuple[Source, Sequence[FoundInstance]]], taken: Set[str]
) -> list[FoundTarget]:
    """Return one target for each instance, with its name: the wanted one where that can be a
    name, no other instance wants it, and neither it nor the id is taken, else the instance's id."""
    known: dict[str, FoundTarget] = {}
    for source, instances in found:
        for instance in instances:
            name = _wanted(source, instance)
            new = FoundTarget(instance, _host(source, instance), name)
            one = known.setdefault(instance.instance_id, new)
            one.wanted = one.wanted or name
            one.vars |= instance.vars
            if source not in one.sources:
                one.sources.append(source)
    wanted = Counter(one.wanted for one in known.values())
    for one in known.values():
        one.name = one.instance.instance_id
        if one.wanted and wanted[one.wanted] == 1 and taken.isdisjoint({one.wanted, one.name}):
            one.name = one.wanted
    order: dict[str, int] = {}
    for source, _ in found:
        order.setdefault(source.name, len(order))
    return sorted(known.values(), key=lambda one: (order[one.sources[0].name], one.name))


def _wanted(source: Source, instance: FoundInstance) -> str | None:
    """Return the name that the source gives to an instance, None where it cannot be one."""
    path = source.data.get("name")
    if path is None:
        return None
    if path.startswith(TAGS):
        name = instance.vars.get("tags", {}).get(path.removeprefix(TAGS))
    else:
        name = instance.vars.get(path)
    if not name or name_fault(name) or name in (LOCAL, "localhost") or aws.is_instance_id(name):
        return None
    return str(name)


def _host(source: Source, instance: FoundInstance) -> str:
    """Return the address; without one the id, which never is the name of another host."""
    public = source.data.get("address") == "public"
    address = instance.public_address if public else instance.private_address
    return address or instance.instance_id


def _refusal(failed: Sequence[tuple[Source, RuneError]]) -> RequestError:
    problems = []
    for source, error in failed:
        here, document = source.location, source.document
        message = f"source {source.name!r}: {error.message}"
        problems.append(Problem(message, here, document.file, document.line(here)))
    first, more = problems[0], len(problems) - 1
    return RequestError(
        failed[0][1].reason,
        f"{first} (and {more} more)" if more else str(first),
        **failed[0][1].data
        | {"field": first.path, "file": first.file}
        | {"validation_errors": [str(problem) for problem in problems]},
    )
