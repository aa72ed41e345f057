"""Settings: where they come from and which source wins.

Flags win over the environment, the environment over ``./rune.yaml``, that over
``~/.config/rune/config.yaml``, and all of them over the defaults. ``RUNE_CONFIG`` names a file
that is read instead of the two. What decides whether a run is admitted is no setting: it adds up
over these files and the machine's own ``/etc/rune/policy.yaml``, which nothing replaces. What may
stand in them is for ``specs/config_v1.json`` and ``policy_v1.json`` to say.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from lmm.errors import RequestError
from lom.settings import values
from lom.settings.files import config_files, read_config, system_file
from lom.settings.values import (
    FLAG,
    KEYS,
    LOCK_FILE,
    OUTPUTS,
    SAFEGUARD_KEYS,
    VARIABLE,
    Settings,
)

if TYPE_CHECKING:
    from pathlib import Path

    from lom.documents.document import Document
    from lom.settings.policy.values import Safeguards

_PATHS = ("inventory", "plugin_path")
_PLACES = (*_PATHS, "state_dir")  # relative to the file that says so

_Layer = dict[str, tuple[Any, str]]


def load_settings(
    flags: Mapping[str, Any],
    environ: Mapping[str, str],
    cwd: Path,
    home: str | os.PathLike[str] | None,
    *,
    unchecked: bool = False,
) -> Settings:
    """Return the settings in force; a flag that is ``None`` or ``()`` was not given.

    ``home`` is None where there is none. With ``unchecked`` what is in the files is not checked,
    which is what shell completion can afford, and files that may not be obeyed are left out. Raises
    RequestError (``config_invalid``) naming the source and the value, or ``untrusted_path``.
    """
    given: dict[str, Any] = {}
    sources = dict.fromkeys(KEYS, "default")

    def read() -> list[Document]:
        paths = config_files(environ, cwd, home, unchecked)
        return [read_config(path, "config_v1", unchecked) for path in paths]

    files = read()
    layers = [
        _system(None if unchecked else _safeguards(files, cwd)),
        *map(_layer, files),
        _environment(environ),
        _flags(flags),
    ]
    for layer in layers:
        for key, (value, source) in layer.items():
            given[key] = value
            sources[key] = source
    safeguards = None if unchecked else lambda: _safeguards(read(), cwd)
    return Settings(**given, sources=MappingProxyType(sources), safeguards=safeguards)


def system_safeguards() -> Safeguards:
    """Return what the machine's own policy asks for, nothing if there is none.

    Raises RequestError (``config_invalid``): also if it is there and cannot be read.
    """
    return _safeguards((), None)


def _safeguards(files: Sequence[Document], cwd: Path | None) -> Safeguards:
    system = system_file()
    lock = cwd / LOCK_FILE if cwd and os.path.exists(cwd / LOCK_FILE) else None
    files = [one for one in files if any(key in one.data for key in SAFEGUARD_KEYS)]
    if system is None and lock is None and not files:
        from lom.settings.policy.values import Safeguards

        return Safeguards()
    from lom.settings.policy.gather import gather

    return gather(system, files, lock)


def _system(safeguards: Safeguards | None) -> _Layer:
    """Return the inventory of the machine's policy: with another, most runs are denied."""
    for policy in safeguards.policies if safeguards else ():
        if policy.source == values.SYSTEM_POLICY and policy.inventory is not None:
            return {"inventory": ((policy.inventory,), values.SYSTEM_POLICY)}
    return {}


def _layer(file: Document) -> _Layer:
    layer: _Layer = {}
    for key, value in file.data.items():
        if key not in KEYS or value is None:
            continue
        if key in _PLACES:
            listed = (value,) if isinstance(value, str) else value
            value = tuple(str(file.folder / os.path.expanduser(one)) for one in listed)
            value = value if key in _PATHS else value[0]
        elif isinstance(value, float) and value.is_integer():
            value = int(value)  # 8.0 is a whole number, too
        layer[key] = (value, f"{file.file}:{file.line((key,))}")
    return layer


def _environment(environ: Mapping[str, str]) -> _Layer:
    layer: _Layer = {}
    for variable, key in (
        ("RUNE_OUTPUT", "output"),
        ("RUNE_INVENTORY", "inventory"),
        ("RUNE_PLUGIN_PATH", "plugin_path"),
        ("RUNE_STATE_DIR", "state_dir"),
    ):
        text = environ.get(variable)
        if text:
            value = tuple(filter(None, text.split(os.pathsep))) if key in _PATHS else text
            layer[key] = (value, f"{VARIABLE} {variable}")
    if environ.get("NO_COLOR"):
        layer["color"] = ("never", f"{VARIABLE} NO_COLOR")
    output = environ.get("RUNE_OUTPUT")
    if output and output not in OUTPUTS:
        raise RequestError(
            "config_invalid", f"RUNE_OUTPUT is {output!r}; it must be one of {', '.join(OUTPUTS)}"
        )
    return layer


def _flags(flags: Mapping[str, Any]) -> _Layer:
    return {key: (value, FLAG) for key, value in flags.items() if value not in (None, ())}
