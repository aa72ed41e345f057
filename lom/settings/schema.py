"""The shape of a configuration file. Imported only when there is one, for pydantic's sake."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lmm.errors import RequestError
from lom.documents.document import Document
from lom.names import did_you_mean
from lom.settings.values import KEYS, LONGEST_S, SAFEGUARD_KEYS

_Seconds = Annotated[float, Field(gt=0, le=LONGEST_S, allow_inf_nan=False)]
_Count = Annotated[int, Field(ge=1)]
_Paths = str | list[str]


class ConfigFile(BaseModel):
    """What a configuration file may hold; every key may be left out or null."""

    model_config = ConfigDict(extra="forbid", strict=True)

    output: Literal["table", "json", "ndjson", "yaml", "csv"] | None = None
    inventory: _Paths | None = None
    plugin_path: _Paths | None = None
    concurrency: _Count | None = None
    timeout_s: _Seconds | None = None
    connect_timeout_s: _Seconds | None = None
    max_stdout_bytes: _Count | None = None
    max_stderr_bytes: _Count | None = None
    transport: str | None = None
    color: Literal["auto", "always", "never"] | None = None
    policy: Any = None  # these four are checked in lom.settings.policy.schema
    plugin_lock: Any = None
    audit: Any = None
    approvals: Any = None
    retries: Annotated[int, Field(ge=0)] | None = None
    retry_wait_s: _Seconds | None = None
    on_locked: Literal["wait", "fail"] | None = None
    lock_timeout_s: _Seconds | None = None
    calls_at_once: _Count | None = None
    state_dir: str | None = None
    ledger: bool | None = None


def check(file: Document) -> None:
    """Raise RequestError (``config_invalid``) naming key, value, file and line."""
    known = (*KEYS, *SAFEGUARD_KEYS)
    unknown = next((key for key in file.data if key not in known), None)
    if unknown is not None:
        advice = did_you_mean(unknown, known) or f"; known are {', '.join(known)}"
        raise _invalid(f"unknown setting{advice}", unknown, file)
    try:
        ConfigFile.model_validate(file.data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = str(first["loc"][0])
        reason = first["msg"].replace("Input should be", "must be")
        raise _invalid(f"{file.data[key]!r} {reason}", key, file) from None


def _invalid(reason: str, key: str, file: Document) -> RequestError:
    line = file.line((key,))
    return RequestError(
        "config_invalid",
        f"{reason} @ $.{key}, line {line} of {file.file}",
        field=f"$.{key}",
        file=file.file,
        line=line,
    )
