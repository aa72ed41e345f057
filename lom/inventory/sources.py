"""Sources of an inventory: what they may say, and the targets that they find in AWS.

A source becomes a group of its name. What was found are settings of the targets themselves, so
the usual precedence holds; AWS itself is asked in ``lmm.aws.discovery``, imported only then.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from lmm.aws import names as aws
from lmm.errors import RequestError, RuneError
from lmm.model import JSON
from lom.documents.document import Document, Location, Problem
from lom.documents.model import Strict, checked, mapping
from lom.inventory.schema import ExternalId, Profile, Region, RoleArn, SettingsModel, Vars
from lom.names import LOCAL, name_fault

if TYPE_CHECKING:
    from lmm.aws.discovery import FoundInstance, Query

ACCOUNT = ("profile", "role_arn", "external_id")
NAMES = ("computer_name", "name")  # variables that may name a target, beside tags
TAGS = "tags."


def _values(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _filled(values: list[str]) -> list[str]:
    if not values:
        raise ValueError("a filter without values matches nothing; name some or leave it out")
    return values


def _naming_fault(value: str) -> str | None:
    if value in NAMES or (value.startswith(TAGS) and value != TAGS):
        return None
    return f"a target is named by tags.KEY, {' or '.join(NAMES)}"


def _without_account(defaults: SettingsModel) -> SettingsModel:
    given = defaults.ssm.model_fields_set if defaults.ssm else set()
    twice = [name for name in ("region", *ACCOUNT) if name in given]
    if twice:
        name = "regions" if twice[0] == "region" else twice[0]
        raise ValueError(f"ssm.{twice[0]} is where it was found; write {name} beside source")
    return defaults


class SourceModel(Strict):
    """One entry of ``sources``."""

    source: Literal["ec2", "ssm"]
    regions: list[Region] = Field(default=[])
    profile: Profile | None = None
    role_arn: RoleArn | None = None
    external_id: ExternalId | None = None
    filters: dict[str, Annotated[list[str], BeforeValidator(_values), AfterValidator(_filled)]] = (
        Field(default={})
    )
    resource_group: Annotated[str, checked(aws.group_fault)] | None = None
    name: Annotated[str, checked(_naming_fault)] | None = None
    address: Literal["private", "public"] = "private"
    vars: Vars = Field(default={})
    defaults: Annotated[
        SettingsModel, BeforeValidator(mapping), AfterValidator(_without_account)
    ] = SettingsModel()


@dataclass(frozen=True, slots=True)
class Source:
    """An entry of ``sources`` and where it stands."""

    name: str
    model: SourceModel
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
                "ping_status": one.ping_status,
            },
        }


def queries(source: Source, ssm: Mapping[str, Any]) -> list[Query]:
    """Return what a source asks AWS, one query a region; ``ssm`` are the file's own defaults."""
    from lmm.aws.discovery import Query
    from lmm.aws.session import AwsAccount

    model = source.model
    own = {name: getattr(model, name) for name in ACCOUNT if name in model.model_fields_set}
    account = AwsAccount(**{name: ssm.get(name) for name in ACCOUNT} | own)
    regions: list[str | None] = [*model.regions] or [ssm.get("region")]
    return [
        Query(
            service=model.source,
            account=replace(account, region=region),
            filters=model.filters,
            resource_group=model.resource_group,
            agents=(model.defaults.transport or "ssm") == "ssm",
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
    path = source.model.name
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
    public = source.model.address == "public"
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
