"""Settings: where they come from and which source wins.

Flags win over the environment, the environment over ``./rune.yaml``, that over
``~/.config/rune/config.yaml``, and all of them over the defaults. ``RUNE_CONFIG`` names a file
that is read instead of the two. What decides whether a run is admitted is no setting: it adds up
over these files and the machine's own ``/etc/rune/policy.yaml``, which nothing replaces. yaml, and
pydantic in ``lom.settings.schema``, are imported only when there is a file: they cost more than all
the rest of a start-up.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from lmm.errors import RequestError
from lom.documents.places import CONFIG, STATE, home, user_folder

if TYPE_CHECKING:
    from pathlib import Path

    from lom.documents.read import Document
    from lom.settings.policy.values import Safeguards

SYSTEM_POLICY = "/etc/rune/policy.yaml"
LOCK_FILE = "plugins.lock.json"  # in force where it stands in the current folder
OUTPUTS = ("table", "json", "ndjson", "yaml", "csv")
COLORS = ("auto", "always", "never")
WAIT, FAIL = ON_LOCKED = ("wait", "fail")
LONGEST_S = 1e9  # of a duration: what is longer has no date to end at, and cannot be waited for
FLAG, VARIABLE = "flag", "environment variable"  # sources of settings


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
    home: str | os.PathLike[str] | None,
    *,
    unchecked: bool = False,
) -> Settings:
    """Return the settings in force; a flag that is ``None`` or ``()`` was not given.

    ``home`` is None where there is none. With ``unchecked`` what is in the files is not checked,
    which is what shell completion can afford, and files that may not be obeyed are left out. Raises
    RequestError (``config_invalid``) naming the source and the value, or ``untrusted_path``.
    """
    values: dict[str, Any] = {}
    sources = dict.fromkeys(KEYS, "default")
    files = [_read(path, unchecked) for path in config_files(environ, cwd, home, unchecked)]
    safeguards = None if unchecked else _safeguards(files, cwd)
    layers = [
        _system(safeguards),
        *(_layer(file, unchecked) for file in files),
        _environment(environ),
        _flags(flags),
    ]
    for layer in layers:
        for key, (value, source) in layer.items():
            values[key] = value
            sources[key] = source
    return Settings(**values, sources=MappingProxyType(sources), safeguards=safeguards)


def is_named(settings: Settings, key: str) -> bool:
    """Whether a path was named for this very call, by a program, an option or a variable. What was
    found, or stands in a file, must be the user's own."""
    source = settings.sources.get(key, FLAG)
    return source == FLAG or source.startswith(VARIABLE)


def system_safeguards() -> Safeguards:
    """Return what the machine's own policy asks for, nothing if there is none.

    Raises RequestError (``config_invalid``): also if it is there and cannot be read.
    """
    from lom.settings.policy.values import Safeguards

    return _safeguards((), None) or Safeguards()


def config_files(
    environ: Mapping[str, str],
    cwd: Path,
    home: str | os.PathLike[str] | None,
    unchecked: bool = False,
) -> Iterator[Path]:
    """Yield the files that are read, the weakest first; those that do not exist are left out.

    Raises RequestError (``untrusted_path``) for one that is not the user's own, or with
    ``unchecked`` leaves it out.
    """
    from pathlib import Path

    named = environ.get("RUNE_CONFIG")
    if named:
        path = cwd / os.path.expanduser(named)
        if not os.path.isfile(path):
            why = "which is no file, or not to be reached"
            raise RequestError("config_invalid", f"RUNE_CONFIG names {named}, {why}")
        yield path
        return
    folder = user_folder(CONFIG, environ, os.fspath(home) if home else None)
    own = (Path(folder, "config.yaml"),) if folder else ()
    if folder and os.path.isdir(folder) and not (unchecked or os.access(folder, os.X_OK)):
        raise RequestError("config_invalid", f"you may not look into {folder}, which is yours")
    for path in (*own, cwd / "rune.yaml"):
        if os.path.isfile(path):  # in a current folder where one may not look, there is nothing
            from lom.documents.trust import is_own, refuse_foreign

            if not unchecked:
                refuse_foreign(path)
            elif not is_own(path):
                continue
            yield path


_Layer = dict[str, tuple[Any, str]]


def state_folder(settings: Settings) -> Path:
    """Return where RUNE keeps what lasts: ``state_dir``, else below ``$XDG_STATE_HOME`` or
    ``~/.local/state``.

    Raises RequestError: ``config_invalid`` where there is no home, ``untrusted_path`` for one that
    a file names and others may change: what they write there would be the record of runs.
    """
    from pathlib import Path

    if settings.state_dir is not None:
        named = Path(os.path.expanduser(settings.state_dir)).absolute()
        if not is_named(settings, "state_dir"):
            from lom.documents.trust import refuse_foreign

            refuse_foreign(named)
        return named
    folder = user_folder(STATE, home=home())
    if folder is None:
        raise RequestError(
            "config_invalid",
            f"there is no place to keep runs: HOME is not set and uid {os.geteuid()} has no entry"
            " among the users; set HOME, or name a folder with RUNE_STATE_DIR or --state-dir",
            field="state_dir",
        )
    return Path(folder)


def _safeguards(files: Sequence[Document], cwd: Path | None) -> Safeguards | None:
    system = system_file()
    lock = cwd / LOCK_FILE if cwd and os.path.exists(cwd / LOCK_FILE) else None
    files = [one for one in files if any(key in one.data for key in SAFEGUARD_KEYS)]
    if system is None and lock is None and not files:
        return None
    from lom.settings.policy.gather import gather

    return gather(system, files, lock)


def system_file() -> Document | None:
    """Return the machine's own policy as it stands there, None if there is none.

    Raises RequestError (``config_invalid``) if it cannot be read, or says nothing, or others than
    root and this user can change it, and it would bind nobody.
    """
    try:
        os.stat(SYSTEM_POLICY)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RequestError(
            "config_invalid", f"cannot read {SYSTEM_POLICY}: {error.strerror}"
        ) from None
    from pathlib import Path

    from lom.documents.trust import refuse_foreign

    refuse_foreign(SYSTEM_POLICY, machine=True)
    file = _read(Path(SYSTEM_POLICY))
    if not file.data:  # as a full disk, or who has not written it to its end, leaves it
        raise RequestError(
            "config_invalid", f"{SYSTEM_POLICY} is empty; write `default: allow`, or remove it"
        )
    return file


def _system(safeguards: Safeguards | None) -> _Layer:
    """Return the inventory of the machine's policy: with another, most runs are denied."""
    for policy in safeguards.policies if safeguards else ():
        if policy.source == SYSTEM_POLICY and policy.inventory is not None:
            return {"inventory": ((policy.inventory,), SYSTEM_POLICY)}
    return {}


def _layer(file: Document, unchecked: bool) -> _Layer:
    if not unchecked:
        from lom.settings.schema import check

        check(file)
    layer: _Layer = {}
    for key, value in file.data.items():
        if key not in KEYS or value is None:
            continue
        if key in _PLACES:
            listed = (value,) if isinstance(value, str) else value
            value = tuple(str(file.folder / os.path.expanduser(one)) for one in listed)
            value = value if key in _PATHS else value[0]
        layer[key] = (value, f"{file.file}:{file.line((key,))}")
    return layer


def _read(path: Path, unchecked: bool = False) -> Document:
    from lom.documents.read import read_document, refuse

    document = read_document(path, as_json=False)
    if not unchecked or document.data is None:
        refuse(document, "config_invalid")
    if document.data is None:
        document.data = {}
    if not isinstance(document.data, dict):
        raise RequestError("config_invalid", f"{path} must hold a mapping of settings")
    return document


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
