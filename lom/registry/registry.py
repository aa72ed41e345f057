"""The known plugins: which are found, which hides which, and which one serves a target."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from lmm.errors import RequestError, RuneError
from lom.documents.facts import is_same, spelt
from lom.documents.leftovers import is_leftover
from lom.documents.trust import refuse_foreign
from lom.names import did_you_mean
from lom.registry.manifest import MANIFEST, Capability, Plugin, load_plugin, names_action
from lom.registry.versions import Newest


class PluginPlace(NamedTuple):
    """A folder of plugin folders; ``origin`` says how it came to be searched. What was ``found``,
    not named, must be the user's own (``lom.documents.trust``): what is not is an error, or left
    out if the place ``yields`` to one that was named."""

    origin: str
    path: Path
    found: bool = False
    yields: bool = False


class BrokenPlugin(NamedTuple):
    """A folder that looks like a plugin and may not be run, and why."""

    directory: Path
    origin: str
    error: RuneError


class Choice(NamedTuple):
    """The plugin that serves an action on a target, and why this one."""

    plugin: Plugin
    capability: Capability
    why: str


class Registry:
    """The plugins of some places, the first place winning where a name stands twice.

    Places are read when the first question is asked, which raises RequestError
    (``untrusted_path``) for a plugin that was found and that others may change.
    """

    def __init__(self, places: Iterable[PluginPlace], broken: Iterable[BrokenPlugin] = ()) -> None:
        self.places = tuple(places)
        self._broken = tuple(broken)
        self._lock = threading.RLock()
        self._facts: dict[str, list[str]] = {}  # by action: what its plugins ask of a target
        self._chosen: dict[tuple[str | None, ...], Choice] = {}

    @property
    def _found(self) -> tuple[list[Plugin], list[BrokenPlugin], list[Plugin]]:
        with self._lock:  # two threads would get plugins that are not the same
            return self._all

    @cached_property
    def _all(self) -> tuple[list[Plugin], list[BrokenPlugin], list[Plugin]]:
        plugins: dict[str, Plugin] = {}
        broken = list(self._broken)
        shadowed: list[Plugin] = []
        for place in self.places:
            for directory in _plugin_folders(place.path):
                if not _obeyed(place, directory, (directory, directory / MANIFEST), broken):
                    continue
                try:
                    plugin = load_plugin(directory, place.origin)
                except RuneError as error:
                    broken.append(BrokenPlugin(directory, place.origin, error))
                    continue
                files = (file for file in plugin.files.values() if directory in file.parents)
                if not _obeyed(place, directory, files, broken):  # a library is RUNE's own
                    continue
                if plugin.name in plugins:
                    shadowed.append(plugin)
                else:
                    plugins[plugin.name] = plugin
        return list(plugins.values()), broken, shadowed

    @property
    def plugins(self) -> list[Plugin]:
        """The plugins that may be run, those of the first place first."""
        return self._found[0]

    @property
    def broken(self) -> list[BrokenPlugin]:
        """What could not be loaded; never run."""
        return self._found[1]

    @property
    def shadowed(self) -> list[Plugin]:
        """Plugins hidden by one of the same name in an earlier place."""
        return self._found[2]

    def actions(self) -> list[str]:
        """Return the names of all actions, sorted."""
        return sorted({one.action for plugin in self.plugins for one in plugin.capabilities})

    def candidates(self, action: str) -> list[tuple[Plugin, Capability]]:
        """Return who offers an action, in the order of the places."""
        offers = ((plugin, plugin.capability(action)) for plugin in self.plugins)
        return [(plugin, capability) for plugin, capability in offers if capability]

    def choose(
        self, action: str, target_vars: Mapping[str, Any], min_version: str | None = None
    ) -> Choice:
        """Return the plugin for a target with these variables, of ``min_version`` at least.

        Platform and facts decide (one that contradicts excludes, one that is not known weakens),
        then the place, then the version, then the name. Raises RequestError (``unknown_action``
        with the nearest name, ``no_plugin_fits``).
        """
        if action not in self._facts:
            needs = [need for _, one in self.candidates(action) for need in one.requires]
            self._facts[action] = [need.partition("=")[0] for need in needs if "=" in need]
        platform = target_vars.get("platform")
        facts = [repr(target_vars[n]) if n in target_vars else None for n in self._facts[action]]
        alike = (action, platform if isinstance(platform, str) else None, min_version, *facts)
        if alike not in self._chosen:
            self._chosen[alike] = self._choose(action, target_vars, min_version)
        return self._chosen[alike]

    def _choose(
        self, action: str, target_vars: Mapping[str, Any], min_version: str | None
    ) -> Choice:
        candidates = self.candidates(action)
        if not candidates:
            raise self.unknown(action)
        ranked = []
        refusals = []
        for plugin, capability in candidates:
            fit = _fit(capability, target_vars)
            if min_version and Newest(min_version) < Newest(plugin.version):
                refusals.append(
                    f"{plugin.name} of {plugin.origin} is version {plugin.version}, asked for is"
                    f" {min_version} or newer"
                )
            elif isinstance(fit, str):
                refusals.append(f"{plugin.name} needs {fit}")
            else:
                known, unknown = fit
                place = self._place_of(plugin)
                rank = (unknown, -known, place, Newest(plugin.version), plugin.name)
                ranked.append((rank, plugin, capability, known))
        if not ranked:
            raise RequestError(
                "no_plugin_fits",
                f"no plugin for {action} fits: {'; '.join(refusals)}",
                validation_errors=refusals,
            )
        ranked.sort(key=lambda entry: entry[0])
        _, plugin, capability, known = ranked[0]
        return Choice(plugin, capability, _why(plugin, len(ranked), refusals, known))

    def _place_of(self, plugin: Plugin) -> int:
        folders = (plugin.directory, plugin.directory.parent)
        return next(at for at, place in enumerate(self.places) if place.path in folders)

    def unknown(self, action: str) -> RequestError:
        """Return the error for an action that nobody offers, or only a plugin that is broken."""
        unread = []
        for one in self.broken:
            offers = names_action(one.directory, action)
            if offers:
                return RequestError(
                    "unknown_action",
                    f"the only plugin for {action} is broken: {one.error.message}",
                    **one.error.data,
                )
            if offers is None:
                unread.append(one.error.message)
        hint = did_you_mean(action, self.actions())
        if unread:
            more = f" (and {len(unread) - 1} more)" if len(unread) > 1 else ""
            hint += f"; it may be in a plugin that cannot be read: {unread[0]}{more}"
        return RequestError("unknown_action", f"there is no action {action!r}{hint}")


def _why(plugin: Plugin, fitting: int, refusals: Sequence[str], known: int) -> str:
    if fitting == 1 and not refusals:
        return "the only plugin that offers it"
    if fitting == 1:
        return f"the only one that fits ({'; '.join(refusals)})"
    facts = f", {known} facts of the target speak for it" if known else ""
    return f"the best of {fitting} that fit{facts}: {plugin.origin}, version {plugin.version}"


def _fit(capability: Capability, target_vars: Mapping[str, Any]) -> tuple[int, int] | str:
    """Return how many of a capability's facts the target has and how many are not known of it,
    or what is not met."""
    known = unknown = 0
    platform = target_vars.get("platform")
    if capability.platforms and isinstance(platform, str):
        # linux covers linux/x86_64, on either side: the shorter one leaves the rest open
        if not any(
            _covers(one, platform) or _covers(platform, one) for one in capability.platforms
        ):
            return f"platform {' or '.join(capability.platforms)}, the target is {platform}"
        known += 1
    for need in capability.requires:
        key, is_fact, value = need.partition("=")
        if not is_fact:  # a command, for the host to say
            continue
        if key not in target_vars:
            unknown += 1
        elif not is_same(target_vars[key], value):
            return f"{need}, the target has {key}={spelt(target_vars[key])}"
        else:
            known += 1
    return known, unknown


def _covers(wide: str, narrow: str) -> bool:
    return narrow == wide or narrow.startswith(f"{wide}/")


def _obeyed(
    place: PluginPlace, at: Path, files: Iterable[Path], broken: list[BrokenPlugin]
) -> bool:
    """Whether files of the plugin ``at`` may be used; if not, that is noted, or an error."""
    try:
        for file in files if place.found else ():
            refuse_foreign(file)
    except RequestError as error:
        if not place.yields:
            raise
        broken.append(BrokenPlugin(at, place.origin, error))
        return False
    return True


def _plugin_folders(place: Path) -> Iterator[Path]:
    """Yield the plugin folders of a place, by name; a place may also be one plugin's folder."""
    if os.path.lexists(place / MANIFEST):
        yield place
        return
    try:
        names = sorted(os.listdir(place))
    except OSError:
        return
    for name in names:
        if not is_leftover(name) and os.path.lexists(place / name / MANIFEST):
            yield place / name
