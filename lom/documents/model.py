"""The shape of a file that people write, as a pydantic model, and how a fault in it is worded.

Imported only where there is such a file, because pydantic is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError, ValidationInfo

from lmm.model import JSON
from lom.documents import values
from lom.documents.document import Document, Location
from lom.names import did_you_mean

M = TypeVar("M", bound="Strict")
_MAY_BE_SECRET = ("ssh", "ssm", "become", "password", "passphrase")  # or hold one


class Strict(BaseModel):
    """No unknown keys, no guessing of types, no value in pydantic's own messages."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        hide_input_in_errors=True,
        arbitrary_types_allowed=True,
    )


def checked(fault: Callable[[str], str | None]) -> AfterValidator:
    """Refuse a text for the reason that ``fault`` gives."""

    def check(value: str) -> str:
        if why := fault(value):
            raise ValueError(why)
        return value

    return AfterValidator(check)


def mapping(value: Any) -> Any:
    """A key with nothing behind it is an empty mapping, as YAML writers expect."""
    return {} if value is None else value


def folder_of(info: ValidationInfo) -> Path:
    """Return the folder of the file that is validated; relative paths in it start there."""
    context: dict[str, Path] = info.context or {}
    return context["folder"]


def _path(value: str, info: ValidationInfo) -> str:
    return values.path(value, folder_of(info))


PathText = Annotated[str, AfterValidator(_path)]


def validate(model: type[M], data: JSON, document: Document, location: Location) -> M | None:
    """Return ``data`` as a ``model``, or None after noting every fault in the document."""
    try:
        return model.model_validate(
            {} if data is None else data, context={"folder": document.folder}
        )
    except ValidationError as error:
        faults = list(_faults(model, error))
    for where, message in faults:
        document.fault(location + where, message)
    return None


def _faults(model: type[Strict], error: ValidationError) -> Iterator[tuple[Location, str]]:
    for fault in error.errors(include_url=False):
        where = tuple(part for part in fault["loc"] if part != "[key]")
        kind, value, limits = fault["type"], fault["input"], fault.get("ctx", {})
        if kind == "extra_forbidden":
            owner = model
            for part in where[:-1]:
                owner = _model_at(owner, str(part)) or owner
            hint = did_you_mean(str(where[-1]), owner.model_fields)
            known = hint or f"; known are {', '.join(owner.model_fields)}"
            yield where, f"unknown key {where[-1]!r}{known}"
        elif kind == "missing":
            yield where, f"the key {where[-1]!r} is needed"
        elif kind == "value_error":
            yield where, str(limits["error"])
        elif kind in _WORDING:
            yield where, f"{_shown(where, value)} is {_WORDING[kind](limits)}"
        elif kind == "literal_error":
            hint = did_you_mean(str(value), re.findall(r"'([^']*)'", limits["expected"]))
            yield where, f"{_shown(where, value)} is not {limits['expected']}{hint}"
        else:
            yield where, fault["msg"]


def _model_at(owner: type[Strict], key: str) -> type[Strict] | None:
    """Return the model of what stands under a key, None if that is no model."""
    field = owner.model_fields.get(key)
    kinds = (field.annotation, *get_args(field.annotation)) if field else ()
    return next((k for k in kinds if isinstance(k, type) and issubclass(k, Strict)), None)


_WORDING: dict[str, Callable[[dict[str, Any]], str]] = {
    "less_than_equal": lambda limits: f"greater than the maximum of {limits['le']:g}",
    "greater_than_equal": lambda limits: f"less than the minimum of {limits['ge']:g}",
    "greater_than": lambda limits: f"not greater than {limits['gt']:g}",
    "finite_number": lambda limits: "not a number",
    "int_type": lambda limits: "not a whole number",
    "float_type": lambda limits: "not a number",
    "bool_type": lambda limits: "not true or false",
    "string_type": lambda limits: "not text; put it in quotes",
    "list_type": lambda limits: "not a list",
    "dict_type": lambda limits: "not a mapping",
    "model_type": lambda limits: "not a mapping",
}


def _shown(location: Location, value: JSON) -> str:
    """Return the value for a message, its kind only where it may be or hold a secret."""
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if not location or location[-1] in _MAY_BE_SECRET:
        return "the value"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else "the value"
