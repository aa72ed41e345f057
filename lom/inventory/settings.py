"""The settings of targets and groups as they stand in a file, checked and made into layers.

Nearly every inventory is right, and pydantic costs more to import than two hundred targets cost to
read. So what is plainly right is taken here. All else, and whatever stands here in no table, is
left to ``schema``, which has the last word and finds the words for faults.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmm.model import JSON
from lmm.register import is_choice
from lom.documents.document import Document, Location
from lom.documents.values import path
from lom.inventory import values as values

if TYPE_CHECKING:
    from lom.inventory.schema import SettingsModel

Layer = Mapping[str, Any]  # settings that are given in one place; the merged ones are mappings
Check = Callable[[Any, Path], Any]  # raises ValueError for all that is not plainly right


@dataclass(frozen=True, slots=True)
class GroupSettings:
    """A group as one file gives it: the names of its members, and settings for all of them."""

    targets: list[str]
    groups: list[str]
    layer: Layer


def settings_of(data: JSON, document: Document, location: Location) -> Layer | None:
    """Return the settings that are given, None after noting every fault in the document."""
    try:
        return _fields(data, document.folder, _SETTINGS)
    except ValueError:
        from lom.documents.model import validate
        from lom.inventory.schema import SettingsModel

        settings = validate(SettingsModel, data, document, location)
        return layer_of(settings) if settings else None


def group_of(data: JSON, document: Document, location: Location) -> GroupSettings | None:
    """Return a group, None after noting every fault in the document."""
    try:
        found = _fields(data, document.folder, _GROUP)
    except ValueError:
        from lom.documents.model import validate
        from lom.inventory.schema import GroupModel

        group = validate(GroupModel, data, document, location)
        if group is None:
            return None
        found = {name: getattr(group, name) for name in group.model_fields_set}
        found["defaults"] = layer_of(group.defaults)
    shared = found.get("vars")
    layer = over(found.get("defaults", {}), {"vars": shared} if shared else {})
    return GroupSettings(found.get("targets", []), found.get("groups", []), layer)


def layer_of(settings: SettingsModel) -> Layer:
    """Return the settings that are given, as a mapping; null takes a setting back."""
    layer = {name: getattr(settings, name) for name in settings.model_fields_set}
    for name in ("ssh", "ssm", "become"):
        block = layer.get(name)
        if block is not None:
            layer[name] = {key: getattr(block, key) for key in block.model_fields_set}
    ssh = layer.get("ssh")
    if ssh:
        for name in ("identity_files", "known_hosts"):
            if name in ssh:
                ssh[name] = tuple(ssh[name])
    return layer


def over(base: Layer, layer: Layer) -> Layer:
    """Return ``base`` with ``layer`` over it.

    ``vars``, ``ssh``, ``ssh.options``, ``ssm`` and ``become`` merge per key, all else is replaced.
    """
    if not layer or not base:
        return layer or base
    merged = {**base, **layer}
    for name in ("vars", "ssh", "ssm", "become"):
        below, above = base.get(name), layer.get(name)
        if below and above is not None:
            merged[name] = {**below, **above}
            if name == "ssh" and "options" in below and "options" in above:
                merged[name]["options"] = {**below["options"], **above["options"]}
    return merged


# -- what is plainly right -----------------------------------------------------------------------


def _fields(data: Any, folder: Path, checks: Mapping[str, Check]) -> dict[str, Any]:
    """Return the values of a mapping as ``checks`` make them. Raises ValueError."""
    data = {} if data is None else data
    if not isinstance(data, dict) or not data.keys() <= checks.keys():
        raise ValueError
    return {name: checks[name](value, folder) for name, value in data.items()}


def _text(make: Callable[[str], str]) -> Check:
    def check(value: Any, folder: Path) -> str:
        if type(value) is not str:
            raise ValueError
        return make(value)

    return check


def _whole(least: int, most: int) -> Check:
    def check(value: Any, folder: Path) -> int:
        if type(value) is not int or not least <= value <= most:
            raise ValueError
        return value

    return check


def _seconds(*, may_be_zero: bool = False) -> Check:
    def check(value: Any, folder: Path) -> float:
        if type(value) not in (int, float) or not 0 <= value <= values.DAY_S:
            raise ValueError
        if not (value or may_be_zero):
            raise ValueError
        return float(value)

    return check


def _one_of(*known: object) -> Check:
    def check(value: Any, folder: Path) -> Any:
        if not any(value is one or (type(value) is str and value == one) for one in known):
            raise ValueError
        return value

    return check


def _path(value: Any, folder: Path) -> str:
    if type(value) is not str:
        raise ValueError
    return path(value, folder)


def _config_file(value: Any, folder: Path) -> str:
    if type(value) is not str:
        raise ValueError
    return values.config_file(value, folder)


def _transport(value: Any, folder: Path) -> Any:
    if value is not None and (type(value) is not str or not is_choice(value)):
        raise ValueError
    return value


def _each(check: Check) -> Callable[[Any, Path], list[Any]]:
    def of_all(value: Any, folder: Path) -> list[Any]:
        if type(value) is not list:
            raise ValueError
        return [check(one, folder) for one in value]

    return of_all


def _paths(value: Any, folder: Path) -> tuple[str, ...]:
    return tuple(_each(_path)(value, folder))


def _names(value: Any, folder: Path) -> list[str]:
    return _each(_text(str))([] if value is None else value, folder)


def _vars(value: Any, folder: Path) -> dict[str, Any]:
    if value is not None and type(value) is not dict:
        raise ValueError
    return value or {}


def _or_null(check: Check) -> Check:
    return lambda value, folder: None if value is None else check(value, folder)


def _block(checks: Mapping[str, Check]) -> Check:
    return lambda value, folder: _fields(value, folder, checks)


def _become(value: Any, folder: Path) -> dict[str, Any] | None:
    value = values.become(value)
    return None if value is None else _fields(value, folder, _BECOME)


_WORD = _or_null(_text(values.word))
_SSH: Mapping[str, Check] = {
    "identity_files": _paths,
    "known_hosts": _paths,
    "certificate_file": _or_null(_path),
    "config_file": _or_null(_config_file),
    "password": _or_null(values.secret),
    "passphrase": _or_null(values.secret),
    "use_agent": _one_of(True, False),
    "host_key_policy": _one_of("strict", "accept-new", None),
    "proxy_jump": _WORD,
    "connect_timeout_s": _or_null(_seconds()),
    "banner_timeout_s": _seconds(),
    "auth_timeout_s": _seconds(),
    "keepalive_s": _seconds(may_be_zero=True),
    "persist_s": _seconds(may_be_zero=True),
    "connect_attempts": _whole(*values.CONNECT_ATTEMPTS),
}
_BECOME: Mapping[str, Check] = {"user": _WORD, "password": _or_null(values.secret)}
_SETTINGS: Mapping[str, Check] = {
    "host": _or_null(_text(values.host)),
    "port": _or_null(_whole(*values.PORTS)),
    "user": _WORD,
    "transport": _transport,
    "vars": _vars,
    "ssh": _block(_SSH),
    "become": _become,
}
_GROUP: Mapping[str, Check] = {
    "targets": _names,
    "groups": _names,
    "vars": _vars,
    "defaults": _block(_SETTINGS),
}
