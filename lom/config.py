"""Settings: where they come from and which source wins.

Flags win over the environment, the environment over ``./rune.yaml``, that over
``~/.config/rune/config.yaml``, and all of them over the defaults. ``RUNE_CONFIG`` names a file
that is read instead of the two. What decides whether a run is admitted is no setting: it adds up
over these files and the machine's own ``/etc/rune/policy.yaml``, which nothing replaces. yaml, and
pydantic in ``lom.config_model``, are imported only when there is a file: they cost more than all
the rest of a start-up.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from lmm.errors import RequestError

if TYPE_CHECKING:
    from pathlib import Path

    import yaml

    from lom.policy.values import Safeguards

SYSTEM_POLICY = "/etc/rune/policy.yaml"
LOCK_FILE = "plugins.lock.json"  # in force where it stands in the current folder
OUTPUTS = ("table", "json", "ndjson", "yaml", "csv")
COLORS = ("auto", "always", "never")
WAIT, FAIL = ON_LOCKED = ("wait", "fail")


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings in force; durations in seconds, sizes in bytes.

    ``None`` means: as the action, the target or ``~/.ssh/config`` says. ``calls_at_once``
    bounds the calls of all runs of one process; None: 256, or a run's own concurrency if that is
    more. ``sources`` tells for each setting where its value came from. ``safeguards`` that are None
    are read when a run starts.
    """

    output: str = "table"
    inventory: tuple[str, ...] = ()
    plugin_path: tuple[str, ...] = ()
    concurrency: int = 64
    timeout_s: float | None = None
    connect_timeout_s: float | None = None
    max_stdout_bytes: int = 16 * 1024 * 1024
    max_stderr_bytes: int = 1024 * 1024
    transport: str | None = None
    color: str = "auto"
    retries: int = 0
    retry_wait_s: float = 5.0
    on_locked: str = WAIT
    lock_timeout_s: float = 300.0
    calls_at_once: int | None = None
    state_dir: str | None = None
    ledger: bool = True
    sources: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    safeguards: Safeguards | None = None


KEYS = tuple(one.name for one in fields(Settings) if one.name not in ("sources", "safeguards"))
SAFEGUARD_KEYS = ("policy", "plugin_lock", "audit", "approvals")
_PATHS = ("inventory", "plugin_path")
_PLACES = (*_PATHS, "state_dir")  # relative to the file that says so


def load_settings(
    flags: Mapping[str, Any],
    environ: Mapping[str, str],
    cwd: Path,
    home: Path,
    *,
    trusting: bool = False,
) -> Settings:
    """Return the settings in force; a flag that is ``None`` or ``()`` was not given.

    With ``trusting`` the files are read but not checked, which is what shell completion can
    afford. Raises RequestError (``config_invalid``) naming the source and the value.
    """
    values: dict[str, Any] = {}
    sources = dict.fromkeys(KEYS, "default")
    files = [_read(path) for path in config_files(environ, cwd, home)]
    safeguards = None if trusting else _safeguards(files, cwd)
    layers = [
        _system(safeguards),
        *(_layer(file, trusting) for file in files),
        _environment(environ),
        _flags(flags),
    ]
    for layer in layers:
        for key, (value, source) in layer.items():
            values[key] = value
            sources[key] = source
    return Settings(**values, sources=MappingProxyType(sources), safeguards=safeguards)


@dataclass(frozen=True, slots=True)
class ConfigText:
    """A file as it was read: its top-level values, the line of each key, and its YAML."""

    path: Path
    values: Mapping[str, Any]
    lines: Mapping[str, int]
    root: yaml.Node | None


def system_safeguards() -> Safeguards:
    """Return what the machine's own policy asks for, nothing if there is none.

    Raises RequestError (``config_invalid``): also if it is there and cannot be read.
    """
    from lom.policy.values import Safeguards

    return _safeguards((), None) or Safeguards()


def config_files(environ: Mapping[str, str], cwd: Path, home: Path) -> Iterator[Path]:
    """Yield the files that are read, the weakest first; those that do not exist are left out."""
    from pathlib import Path

    named = environ.get("RUNE_CONFIG")
    if named:
        path = cwd / Path(named).expanduser()
        if not path.is_file():
            raise RequestError("config_invalid", f"RUNE_CONFIG names {named}, which is no file")
        yield path
        return
    shelf = environ.get("XDG_CONFIG_HOME") or home / ".config"
    for path in (Path(shelf) / "rune" / "config.yaml", cwd / "rune.yaml"):
        if path.is_file():
            yield path


_Layer = dict[str, tuple[Any, str]]


def state_folder(settings: Settings) -> Path:
    """Return where RUNE keeps what lasts: ``state_dir``, else below ``$XDG_STATE_HOME`` or
    ``~/.local/state``."""
    from pathlib import Path

    if settings.state_dir is not None:
        return Path(settings.state_dir).expanduser().absolute()
    shelf = os.environ.get("XDG_STATE_HOME")
    return (Path(shelf) if shelf else Path.home() / ".local" / "state") / "rune"


def _safeguards(files: Sequence[ConfigText], cwd: Path | None) -> Safeguards | None:
    system = _system_file()
    lock = cwd / LOCK_FILE if cwd and (cwd / LOCK_FILE).exists() else None
    files = [one for one in files if any(key in one.values for key in SAFEGUARD_KEYS)]
    if system is None and lock is None and not files:
        return None
    from lom.policy.gather import gather

    return gather(system, files, lock)


def _system_file() -> ConfigText | None:
    try:
        os.stat(SYSTEM_POLICY)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RequestError(
            "config_invalid", f"cannot read {SYSTEM_POLICY}: {error.strerror}"
        ) from None
    from pathlib import Path

    return _read(Path(SYSTEM_POLICY))


def _system(safeguards: Safeguards | None) -> _Layer:
    """Return the inventory of the machine's policy: with another, most runs are denied."""
    for policy in safeguards.policies if safeguards else ():
        if policy.source == SYSTEM_POLICY and policy.inventory is not None:
            return {"inventory": ((policy.inventory,), SYSTEM_POLICY)}
    return {}


def _layer(file: ConfigText, trusting: bool) -> _Layer:
    path = file.path
    if not trusting:
        from lom.config_model import check

        check(file.values, file.lines, path)
    layer: _Layer = {}
    for key, value in file.values.items():
        if key not in KEYS or value is None:
            continue
        if key in _PLACES:
            from pathlib import Path

            listed = (value,) if isinstance(value, str) else value
            value = tuple(str(path.parent / Path(one).expanduser()) for one in listed)
            value = value if key in _PATHS else value[0]
        layer[key] = (value, f"{path}:{file.lines[key]}")
    return layer


def _read(path: Path) -> ConfigText:
    import yaml

    loader_class = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    lines: dict[str, int] = {}
    try:
        loader = loader_class(path.read_text(encoding="utf-8"))
        node = loader.get_single_node()
        if node is None:
            return ConfigText(path, {}, {}, None)
        if not isinstance(node, yaml.MappingNode):
            raise RequestError("config_invalid", f"{path} must hold a mapping of settings")
        for name, _ in node.value:
            line = name.start_mark.line + 1
            if not isinstance(name, yaml.ScalarNode):
                raise RequestError("config_invalid", f"line {line} of {path}: a key must be a word")
            if name.value in lines:
                raise RequestError(
                    "config_invalid",
                    f"{name.value} is set twice, in lines {lines[name.value]} and {line} of {path}",
                )
            lines[name.value] = line
        return ConfigText(path, loader.construct_document(node), lines, node)
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not UTF-8"
        raise RequestError("config_invalid", f"cannot read {path}: {why}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        why = getattr(error, "problem", None) or "it is not YAML"
        raise RequestError("config_invalid", f"cannot read {path}{where}: {why}") from None


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
            layer[key] = (value, f"environment variable {variable}")
    if environ.get("NO_COLOR"):
        layer["color"] = ("never", "environment variable NO_COLOR")
    output = environ.get("RUNE_OUTPUT")
    if output and output not in OUTPUTS:
        raise RequestError(
            "config_invalid", f"RUNE_OUTPUT is {output!r}; it must be one of {', '.join(OUTPUTS)}"
        )
    return layer


def _flags(flags: Mapping[str, Any]) -> _Layer:
    return {key: (value, "flag") for key, value in flags.items() if value not in (None, ())}
