"""The settings of targets and groups as they stand in a file, made into layers.

What may stand there is for ``specs/inventory_v1.json`` to say; here is what it becomes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from lmm.model import JSON, SecretRef
from lmm.register import choices, is_choice
from lom.documents.document import Document, Location

Layer = Mapping[str, Any]  # settings that are given in one place; the merged ones are mappings


@dataclass(frozen=True, slots=True)
class GroupSettings:
    """A group as one file gives it: the names of its members, and settings for all of them."""

    targets: list[str]
    groups: list[str]
    layer: Layer


def settings_of(data: Any, document: Document, location: Location) -> Layer:
    """Return the settings that are given, as a mapping; null takes a setting back.

    Notes in the document a transport that there is none of.
    """
    layer: dict[str, Any] = _block(_SETTINGS)(data, document)
    for name in ("vars", "ssh", "ssm"):
        if name in layer and layer[name] is None:
            del layer[name]  # a key with nothing behind it is an empty mapping
    transport = layer.get("transport")
    if transport is not None and not is_choice(transport):
        from lom.documents.schema import not_one_of

        document.fault((*location, "transport"), not_one_of(transport, choices()))
    return layer


def group_of(data: Mapping[str, Any], document: Document, location: Location) -> GroupSettings:
    """Return a group; what is wrong with its settings is noted in the document."""
    layer = shared_of(data, document, location)
    return GroupSettings(data.get("targets") or [], data.get("groups") or [], layer)


def shared_of(data: Mapping[str, Any], document: Document, location: Location) -> Layer:
    """Return the ``defaults`` of a group or a source with its ``vars`` over them."""
    defaults = settings_of(data.get("defaults"), document, (*location, "defaults"))
    return over(defaults, {"vars": data["vars"]} if data.get("vars") else {})


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


# -- what values become; null stays null -----------------------------------------------------------

Make = Callable[[Any, Document], Any]


def _block(makes: Mapping[str, Make]) -> Make:
    def block(data: Any, document: Document) -> dict[str, Any]:
        return {
            name: makes[name](value, document) if name in makes and value is not None else value
            for name, value in (data or {}).items()
        }

    return block


def _whole(value: float, document: Document) -> int:
    return int(value)  # 22.0 is a whole number, too


def _seconds(value: float, document: Document) -> float:
    return float(value)


def _host(value: str, document: Document) -> str:
    return value[1:-1] if value[:1] == "[" and value[-1:] == "]" else value


def _path(value: str, document: Document) -> str:
    return document.path(value)


def _paths(value: list[str], document: Document) -> tuple[str, ...]:
    return tuple(map(document.path, value))


def _config_file(value: str, document: Document) -> str:
    return "none" if value.lower() == "none" else document.path(value)  # as for ``ssh -F``


def _secret(value: str, document: Document) -> SecretRef:
    kind, _, rest = value.partition(":")
    return SecretRef(f"file:{document.path(rest)}" if kind == "file" else value)


def _options(value: dict[str, JSON], document: Document) -> dict[str, str]:
    return {name: _option(one) for name, one in value.items()}


def _option(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if isinstance(value, str) else str(int(value))


def _become(value: JSON, document: Document) -> dict[str, Any] | None:
    """``true`` and a user's name are short for the mapping, ``false`` takes it back."""
    if isinstance(value, str):
        return {"user": value}
    if isinstance(value, bool):
        return {} if value else None
    return dict(_block({"password": _secret})(value, document))


_SSH: Mapping[str, Make] = {
    "identity_files": _paths,
    "known_hosts": _paths,
    "certificate_file": _path,
    "config_file": _config_file,
    "password": _secret,
    "passphrase": _secret,
    "connect_timeout_s": _seconds,
    "banner_timeout_s": _seconds,
    "auth_timeout_s": _seconds,
    "keepalive_s": _seconds,
    "persist_s": _seconds,
    "connect_attempts": _whole,
    "options": _options,
}
_SETTINGS: Mapping[str, Make] = {
    "host": _host,
    "port": _whole,
    "ssh": _block(_SSH),
    "become": _become,
}
