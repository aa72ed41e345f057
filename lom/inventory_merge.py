"""From files to one inventory: ranges, groups in groups, and which setting wins.

Precedence, weakest first: ``defaults``, groups from outer to inner (equals in file order), the
target itself. ``vars``, ``ssh``, ``ssh.options`` and ``become`` merge per key, all else is
replaced; between files the later one wins.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

from lmm.errors import RequestError
from lmm.model import JSON, Become, SshSettings, Target
from lom.inventory import Inventory
from lom.inventory_files import Document, Location, Problem
from lom.inventory_model import GroupModel, SettingsModel, validate
from lom.names import LOCAL, did_you_mean, name_fault, shown
from lom.ranges import RangeError, expand, has_range

TOP_KEYS = ("defaults", "targets", "groups")

Layer = Mapping[str, Any]  # settings that are given in one place; vars, ssh, become are mappings


@dataclass(slots=True)
class _Group:
    """A group as its files give it: where each member was named, and the merged settings."""

    targets: list[tuple[Document, Location, str]] = field(default_factory=list)
    groups: list[tuple[Document, Location, str]] = field(default_factory=list)
    layer: Layer = field(default_factory=dict)
    home: tuple[Document, Location] | None = None


def merge(documents: Sequence[Document]) -> Inventory:
    """Return the inventory that the documents make together.

    Raises RequestError (``inventory_invalid``) with every fault of every document.
    """
    builder = _Builder()
    unread = any(document.problems and document.data is None for document in documents)
    for document in documents:
        builder.add(document)
    if not unread:  # else what stands in that file would be missed everywhere
        builder.connect()
    problems = [
        problem
        for document in documents
        for problem in sorted(document.problems, key=lambda one: one.line or 0)
    ]
    if problems:
        _refuse(problems)
    return builder.inventory(tuple(document.file for document in documents))


def _refuse(problems: Sequence[Problem]) -> NoReturn:
    first, more = problems[0], len(problems) - 1
    raise RequestError(
        "inventory_invalid",
        f"{first} (and {more} more)" if more else str(first),
        field=first.path,
        file=first.file,
        validation_errors=[str(problem) for problem in problems],
    )


class _Builder:
    def __init__(self) -> None:
        self.defaults: Layer = {}
        self.layers: dict[str, Layer] = {}
        self.homes: dict[str, tuple[Document, Location]] = {}  # where a target is defined
        self.groups: dict[str, _Group] = {}
        self.members: dict[str, dict[str, None]] = {}  # group -> its targets, without nesting

    # --- collecting ------------------------------------------------------------------------

    def add(self, document: Document) -> None:
        """Take in one file, noting in it what is wrong with it by itself."""
        top = _mapping(document, (), document.data)
        for key in top:
            if key not in TOP_KEYS:
                hint = did_you_mean(key, TOP_KEYS) or f"; known are {', '.join(TOP_KEYS)}"
                document.fault((key,), f"unknown key {key!r}{hint}")
        defaults = validate(SettingsModel, top.get("defaults"), document, ("defaults",))
        if defaults:
            self.defaults = _over(self.defaults, _layer(defaults))
        for key, data in _mapping(document, ("targets",), top.get("targets")).items():
            self._add_targets(document, key, data)
        for key, data in _mapping(document, ("groups",), top.get("groups")).items():
            self._add_group(document, key, data)

    def _add_targets(self, document: Document, key: str, data: JSON) -> None:
        here: Location = ("targets", key)
        settings = validate(SettingsModel, data, document, here)
        layer = _layer(settings) if settings else {}
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

    def _add_group(self, document: Document, key: str, data: JSON) -> None:
        here: Location = ("groups", key)
        fault = name_fault(key)
        if fault:
            document.fault(here, fault)
        group = self.groups.setdefault(key, _Group())
        group.home = group.home or (document, here)
        model = validate(GroupModel, data, document, here)
        if model is None:
            return
        for kind, found in (("targets", group.targets), ("groups", group.groups)):
            for index, text in enumerate(getattr(model, kind)):
                found.append((document, (*here, kind, index), text))
        layer = _over(_layer(model.defaults), {"vars": model.vars} if model.vars else {})
        group.layer = _over(group.layer, layer)

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
        bases: dict[tuple[str, ...], tuple[Layer, SshSettings]] = {}
        targets = {}
        for name, layer in self.layers.items():
            groups = tuple(groups_of[name])
            if groups not in bases:
                base = self.defaults
                for group in groups:
                    base = _over(base, self.groups[group].layer)
                bases[groups] = base, SshSettings(**base.get("ssh", {}))
            base, ssh = bases[groups]
            targets[name] = _target(
                name, groups, _over(base, layer), None if "ssh" in layer else ssh
            )
        return Inventory(
            targets=targets,
            groups={
                name: tuple(sorted(self.members[name], key=order.__getitem__))
                for name in self.groups
            },
            defaults=_target("", (), self.defaults, None),
            sources=sources,
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


def _mapping(document: Document, here: Location, data: JSON) -> dict[str, JSON]:
    if data is None or isinstance(data, dict):
        return data or {}
    document.fault(here, "not a mapping of names to settings")
    return {}


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


def _layer(settings: SettingsModel) -> Layer:
    """Return the settings that are given, as a mapping; null takes a setting back."""
    layer = {name: getattr(settings, name) for name in settings.model_fields_set}
    ssh = settings.ssh
    if ssh:
        layer["ssh"] = {name: getattr(ssh, name) for name in ssh.model_fields_set}
        for name in ("identity_files", "known_hosts"):
            if name in layer["ssh"]:
                layer["ssh"][name] = tuple(layer["ssh"][name])
    if layer.get("become") is not None:
        become = layer["become"]
        layer["become"] = {name: getattr(become, name) for name in become.model_fields_set}
    return layer


def _over(base: Layer, layer: Layer) -> Layer:
    """Return ``base`` with ``layer`` over it."""
    if not layer or not base:
        return layer or base
    merged = {**base, **layer}
    for name in ("vars", "ssh", "become"):
        below, above = base.get(name), layer.get(name)
        if below and above is not None:
            merged[name] = {**below, **above}
            if name == "ssh" and "options" in below and "options" in above:
                merged[name]["options"] = {**below["options"], **above["options"]}
    return merged


def _target(name: str, groups: tuple[str, ...], layer: Layer, ssh: SshSettings | None) -> Target:
    """Return the target; ``ssh`` is given where many targets share one."""
    become = layer.get("become")
    return Target(
        name=name,
        host=layer.get("host"),
        transport=layer.get("transport") or "ssh",
        port=layer.get("port"),
        user=layer.get("user"),
        vars=layer.get("vars", {}),
        groups=groups,
        ssh=ssh or SshSettings(**layer.get("ssh", {})),
        become=None
        if become is None
        else Become(become.get("user") or "root", become.get("password")),
    )
