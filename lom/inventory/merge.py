"""From files to one inventory: ranges, groups in groups, and which setting wins.

Precedence, weakest first: ``defaults``, groups from outer to inner (equals in file order), the
target itself; between files the later one wins. What sources find in AWS comes in between reading
the files and connecting what they name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lmm.aws.names import is_instance_id
from lmm.model import JSON, Target
from lom.documents.document import Document, Location, refuse
from lom.documents.schema import check
from lom.inventory.layers import Base, target_of
from lom.inventory.model import Inventory
from lom.inventory.ranges import RangeError, expand, has_range
from lom.inventory.settings import Layer, group_of, over, settings_of, shared_of
from lom.names import LOCAL, did_you_mean, name_fault, shown

if TYPE_CHECKING:
    from lmm.aws.discovery import Query
    from lom.inventory.sources import Source


@dataclass(slots=True)
class _GroupParts:
    """A group as its files give it: where each member was named, and the merged settings."""

    targets: list[tuple[Document, Location, str]] = field(default_factory=list)
    groups: list[tuple[Document, Location, str]] = field(default_factory=list)
    layer: Layer = field(default_factory=dict)
    home: tuple[Document, Location] | None = None


def merge(documents: Sequence[Document]) -> Inventory:
    """Return the inventory that the documents make together.

    Raises RequestError: ``inventory_invalid`` with every fault of every document, ``aws_…`` if
    a source cannot be asked.
    """
    builder = _Builder()
    for document in documents:
        builder.add(document)
    if any(document.problems and document.data is None for document in documents):
        refuse(
            documents, "inventory_invalid"
        )  # what stands in that file would be missed everywhere
    if builder.has_sources:
        refuse(documents, "inventory_invalid")  # before anything is asked
        builder.discover()
    builder.connect()
    refuse(documents, "inventory_invalid")
    inventory = builder.inventory(tuple(document.file for document in documents))
    builder.check(inventory.targets)
    refuse(documents, "inventory_invalid")
    return inventory


def asked_of_aws(documents: Sequence[Document]) -> tuple[Query, ...]:
    """Return what the sources of the documents ask, without asking it.

    Raises RequestError (``inventory_invalid``).
    """
    builder = _Builder()
    for document in documents:
        builder.add(document)
    refuse(documents, "inventory_invalid")
    return tuple(query for queries in builder.queries() for query in queries)


class _Builder:
    def __init__(self) -> None:
        self.defaults: Layer = {}
        self.layers: dict[str, Layer] = {}
        self.homes: dict[str, tuple[Document, Location]] = {}  # where a target is defined
        self.groups: dict[str, _GroupParts] = {}
        self.members: dict[str, dict[str, None]] = {}  # group -> its targets, without nesting
        self.has_sources = False  # valid or not
        self.sources: dict[str, Source] = {}
        self.asked: list[list[Query]] = []  # what each of them asked
        self.instances: dict[str, str] = {}  # instance id -> target, where that has another name

    # --- collecting ------------------------------------------------------------------------

    def add(self, document: Document) -> None:
        """Take in one file, noting in it what is wrong with it by itself.

        Settings that break the schema are left out, so that nothing else looks broken.
        """
        faults = check(document, "inventory_v1")
        wrong = {place[:depth] for place in faults for depth in (2, 3)}

        def right(data: JSON, *place: str) -> dict[str, JSON]:
            if not isinstance(data, dict):
                return {}
            if not wrong:
                return data
            return {key: data[key] for key in data if (*place, key) not in wrong}

        top = (document.data or {}) if () not in faults else {}
        defaults = settings_of(right(top.get("defaults"), "defaults"), document, ("defaults",))
        self.defaults = over(self.defaults, defaults)
        for section, add in (
            ("targets", self._add_targets),
            ("sources", self._add_source),
            ("groups", self._add_group),
        ):
            entries = top.get(section)
            for key, data in entries.items() if isinstance(entries, dict) else ():
                add(document, key, right(data, section, key))

    def _add_targets(self, document: Document, key: str, data: dict[str, JSON]) -> None:
        here: Location = ("targets", key)
        layer = settings_of(data, document, here)
        names = _names(document, here, key)
        hosts = _hosts(document, (*here, "host"), layer.get("host"), len(names))
        for name, host in zip(names, hosts, strict=True):
            if name in self.layers:
                other, location = self.homes[name]
                where = f"in {other.file}" if other is not document else f"by {location[-1]!r}"
                document.fault(here, f"target {name!r} is already defined {where}")
            self.homes[name] = document, here
            self.layers[name] = layer if host == layer.get("host") else {**layer, "host": host}
        if LOCAL in names:
            if layer.get("transport", LOCAL) != LOCAL:
                document.fault(here, f"{LOCAL!r} is this machine; its transport is local")
            self.layers[LOCAL] = {**layer, "transport": LOCAL}

    def _group(self, document: Document, here: Location, key: str) -> _GroupParts:
        fault = name_fault(key)
        if fault:
            document.fault(here, fault)
        group = self.groups.setdefault(key, _GroupParts())
        group.home = group.home or (document, here)
        return group

    def _add_group(self, document: Document, key: str, data: dict[str, JSON]) -> None:
        here: Location = ("groups", key)
        group = self._group(document, here, key)
        settings = group_of(data, document, here)
        for index, text in enumerate(settings.targets):
            group.targets.append((document, (*here, "targets", index), text))
        for index, text in enumerate(settings.groups):
            group.groups.append((document, (*here, "groups", index), text))
        group.layer = over(group.layer, settings.layer)

    def _add_source(self, document: Document, key: str, data: dict[str, JSON]) -> None:
        from lom.inventory.sources import Source

        here: Location = ("sources", key)
        self.has_sources = True
        group = self._group(document, here, key)
        if key in self.sources:
            other = self.sources[key].document.file
            document.fault(here, f"source {key!r} is already defined in {other}")
        shared = shared_of(data, document, here)
        self.sources[key] = Source(key, data, document, here)
        group.layer = over(over(group.layer, {"transport": "ssm"}), shared)

    # --- sources ---------------------------------------------------------------------------

    def queries(self) -> list[list[Query]]:
        """Return what each source asks, once all files were taken in."""
        from lom.inventory.sources import queries

        ssm = self.defaults.get("ssm") or {}
        return [queries(source, ssm) for source in self.sources.values()]

    def discover(self) -> None:
        """Ask the sources and take in what they find. Raises RequestError (``aws_…``)."""
        from lom.inventory.sources import find

        self.asked = self.queries()
        taken = self.layers.keys() | self.groups.keys()
        for one in find([*self.sources.values()], self.asked, taken):
            home = one.sources[0].document, one.sources[0].location
            self.layers[one.name] = over(one.layer, self.layers.get(one.name, {}))
            self.homes.setdefault(one.name, home)
            for source in one.sources:
                member = source.document, source.location, one.name
                self.groups[source.name].targets.append(member)
            if one.name != one.instance.instance_id:
                self.instances[one.instance.instance_id] = one.name

    # --- connecting ------------------------------------------------------------------------

    def connect(self) -> None:
        """Resolve what groups name, noting what does not exist and what goes in circles."""
        for name, group in self.groups.items():
            if name in self.homes and group.home:
                document, here = group.home
                other = self.homes[name][0].file
                document.fault(here, f"{name!r} is a target, too (in {other}); rename one of them")
        entries = [
            (group, document, here, text, _names(document, here, text))
            for name, group in self.groups.items()
            for document, here, text in group.targets
        ]
        defined = set(self.layers)
        for _, document, here, text, names in entries:
            if has_range(text) and not defined.isdisjoint(names):
                for name in names:
                    if name not in self.layers:
                        self.layers[name] = {}
                        self.homes[name] = document, here
        by_group = {id(group): name for name, group in self.groups.items()}
        self.members = {name: {} for name in self.groups}
        for group, document, here, _, names in entries:
            unknown = [name for name in names if name not in self.layers]
            if unknown:
                self._unknown_target(document, here, unknown)
            self.members[by_group[id(group)]].update(dict.fromkeys(names))
        for group in self.groups.values():
            for document, here, name in group.groups:
                if name not in self.groups:
                    hint = did_you_mean(name, self.groups)
                    document.fault(here, f"there is no group {shown(name)}{hint}")
        self._find_cycles()

    def _unknown_target(self, document: Document, here: Location, unknown: list[str]) -> None:
        first = unknown[0]
        hint = did_you_mean(first, self.layers)
        if first in self.groups:
            hint = "; it is a group: name it under groups"
        more = f" (nor {len(unknown) - 1} more of the range)" if len(unknown) > 1 else ""
        document.fault(here, f"there is no target {first!r}{more}{hint}")

    def _children(self, group: str) -> list[str]:
        return [name for _, _, name in self.groups[group].groups if name in self.groups]

    def _find_cycles(self) -> None:
        done: set[str] = set()
        for root in self.groups:
            trail: list[str] = []
            stack = [(root, iter(self._children(root)))] if root not in done else []
            trail += [root] if stack else []
            while stack:
                group, children = stack[-1]
                child = next(children, None)
                if child is None:
                    done.add(group)
                    stack.pop()
                    trail.pop()
                elif child in trail:
                    circle = " -> ".join([*trail[trail.index(child) :], child])
                    document, here, _ = next(e for e in self.groups[group].groups if e[2] == child)
                    document.fault(here, f"groups in a circle: {circle}")
                elif child not in done:
                    stack.append((child, iter(self._children(child))))
                    trail.append(child)

    # --- building --------------------------------------------------------------------------

    def inventory(self, sources: tuple[str, ...]) -> Inventory:
        """Return the inventory; only after ``connect`` found nothing wrong."""
        order = {name: index for index, name in enumerate(self.layers)}
        outer_first = list(self._outer_first())
        for group in reversed(outer_first):
            for child in self._children(group):
                self.members[group].update(self.members[child])
        groups_of: dict[str, list[str]] = {name: [] for name in self.layers}
        for group in outer_first:
            for name in self.members[group]:
                groups_of[name].append(group)
        bases: dict[tuple[str, ...], Base] = {}
        targets = {}
        for name, layer in self.layers.items():
            groups = tuple(groups_of[name])
            if groups not in bases:
                base = self.defaults
                for group in groups:
                    base = over(base, self.groups[group].layer)
                bases[groups] = Base.of(base)
            targets[name] = target_of(name, groups, bases[groups], layer)
        return Inventory(
            targets=targets,
            groups={
                name: tuple(sorted(self.members[name], key=order.__getitem__))
                for name in self.groups
            },
            defaults=target_of("", (), Base.of(self.defaults), {}),
            sources=sources,
            instances=self.instances,
            asked=tuple(query for queries in self.asked for query in queries),
        )

    def check(self, targets: Mapping[str, Target]) -> None:
        """Note the targets whose transport, wherever that was set, does not fit their host."""
        wrong: dict[tuple[str, Location], list[str]] = {}
        for name, target in targets.items():
            if target.transport == "ssm" and not is_instance_id(target.address):
                document, here = self.homes[name]
                wrong.setdefault((document.file, here), []).append(name)
        for names in wrong.values():
            document, here = self.homes[names[0]]
            address = targets[names[0]].address
            more = f" (nor {len(names) - 1} more of the range)" if len(names) > 1 else ""
            document.fault(
                here,
                f"target {names[0]!r} goes over ssm, and {shown(address)} is not the id of an"
                f" instance (i-… or mi-…){more}; write the id under host",
            )

    def _outer_first(self) -> Iterator[str]:
        """Yield the groups so that a group comes before those in it, equals in file order."""
        waiting = dict.fromkeys(self.groups, 0)
        for group in self.groups:
            for child in set(self._children(group)):
                waiting[child] += 1
        level = [name for name, count in waiting.items() if count == 0]
        while level:
            yield from level
            for group in level:
                for child in set(self._children(group)):
                    waiting[child] -= 1
            inside = {child for group in level for child in self._children(group)}
            level = [name for name in self.groups if name in inside and waiting[name] == 0]


def _names(document: Document, here: Location, text: str) -> list[str]:
    """Return the target names that a text stands for, noting what is wrong with them."""
    try:
        names = expand(text)
    except RangeError as error:
        document.fault(here, f"{shown(text)}: {error}")
        return []
    faults = filter(None, map(name_fault, names))
    fault = next(faults, None)
    if fault:
        document.fault(here, fault)
        return []
    return names


def _hosts(document: Document, here: Location, text: str | None, count: int) -> list[str | None]:
    """Return the hosts of ``count`` targets: one for all, or a range with one for each."""
    if text and has_range(text):
        try:
            hosts = expand(text)
        except RangeError as error:
            document.fault(here, f"{shown(text)}: {error}")
        else:
            if len(hosts) == count:
                return [*hosts]
            document.fault(here, f"the range has {len(hosts)} hosts for {count} targets")
    return [text] * count
