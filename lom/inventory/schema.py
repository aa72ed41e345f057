"""The schema of the inventory: what may stand in a file, and how a fault in it is worded.

Imported only for what ``inventory_settings`` does not take for plainly right, because pydantic is.
Values become the frozen dataclasses of ``lmm.model`` in ``inventory_merge``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
)

from lmm.aws import names as aws
from lmm.model import JSON, SecretRef
from lmm.register import AUTO, names
from lom.documents.read import Document, Location
from lom.inventory import values as values
from lom.names import did_you_mean

M = TypeVar("M", bound="Strict")


def _path(value: str, info: ValidationInfo) -> str:
    return values.path(value, _folder(info))


def _config_file(value: str, info: ValidationInfo) -> str:
    return values.config_file(value, _folder(info))


def _secret(value: Any, info: ValidationInfo) -> SecretRef:
    return values.secret(value, _folder(info))


def _folder(info: ValidationInfo) -> Path:
    context: dict[str, Path] = info.context or {}
    return context["folder"]


def checked(fault: Callable[[str], str | None]) -> AfterValidator:
    """Refuse a text for the reason that ``fault`` gives."""

    def check(value: str) -> str:
        if why := fault(value):
            raise ValueError(why)
        return value

    return AfterValidator(check)


def _profile_fault(value: str) -> str | None:
    fits = value.strip() and value.isprintable()
    return None if fits else "the name of a profile of the AWS configuration is needed"


def mapping(value: Any) -> Any:
    """A key with nothing behind it is an empty mapping, as YAML writers expect."""
    return {} if value is None else value


def _list(value: Any) -> Any:
    return [] if value is None else value


if TYPE_CHECKING:
    TransportName = str
else:
    TransportName = Literal[(*names(), AUTO)]
WordText = Annotated[str, AfterValidator(values.word)]
HostText = Annotated[str, AfterValidator(values.host)]
PathText = Annotated[str, AfterValidator(_path)]
ConfigFileText = Annotated[str, AfterValidator(_config_file)]
Secret = Annotated[SecretRef, BeforeValidator(_secret)]
Seconds = Annotated[float, Field(gt=0, le=values.DAY_S, allow_inf_nan=False)]
OptionText = Annotated[str, AfterValidator(values.line), BeforeValidator(values.option)]
Profile = Annotated[str, checked(_profile_fault)]
Region = Annotated[str, checked(aws.region_fault)]
RoleArn = Annotated[str, checked(aws.role_fault)]
ExternalId = Annotated[str, checked(aws.external_id_fault)]
Vars = Annotated[dict[str, Any], BeforeValidator(mapping)]
Names = Annotated[list[str], BeforeValidator(_list)]


class Strict(BaseModel):
    """No unknown keys, no guessing of types, no value in pydantic's own messages."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        hide_input_in_errors=True,
        arbitrary_types_allowed=True,
    )


class SshModel(Strict):
    """``ssh`` of a target: every field of ``lmm.model.SshSettings``."""

    identity_files: list[PathText] = []
    certificate_file: PathText | None = None
    password: Secret | None = None
    passphrase: Secret | None = None
    use_agent: bool = True
    host_key_policy: Literal["strict", "accept-new"] | None = None
    known_hosts: list[PathText] = []
    config_file: ConfigFileText | None = None
    proxy_jump: WordText | None = None
    connect_timeout_s: Seconds | None = None
    banner_timeout_s: Seconds = 15.0
    auth_timeout_s: Seconds = 20.0
    keepalive_s: Annotated[float, Field(ge=0, le=values.DAY_S, allow_inf_nan=False)] = 15.0
    connect_attempts: Annotated[
        int, Field(ge=values.CONNECT_ATTEMPTS[0], le=values.CONNECT_ATTEMPTS[1])
    ] = 3
    persist_s: Annotated[float, Field(ge=0, le=values.DAY_S, allow_inf_nan=False)] = 600.0
    options: dict[WordText, OptionText] = {}


class SsmModel(Strict):
    """``ssm`` of a target: every field of ``lmm.model.SsmSettings`` that a person decides."""

    region: Region | None = None
    profile: Profile | None = None
    role_arn: RoleArn | None = None
    external_id: ExternalId | None = None
    s3_bucket: Annotated[str, checked(aws.bucket_fault)] | None = None
    s3_prefix: Annotated[str, checked(aws.prefix_fault)] = "rune"
    s3_region: Region | None = None
    keep_output: bool = False


class BecomeModel(Strict):
    """``become`` of a target: run as another user through sudo."""

    user: WordText | None = None
    password: Secret | None = None


class SettingsModel(Strict):
    """A target, the ``defaults`` of the inventory or those of a group."""

    host: HostText | None = None
    port: Annotated[int, Field(ge=values.PORTS[0], le=values.PORTS[1])] | None = None
    user: WordText | None = None
    transport: TransportName | None = None
    vars: Vars = {}
    ssh: Annotated[SshModel | None, BeforeValidator(mapping)] = None  # copying a model is slow
    ssm: Annotated[SsmModel | None, BeforeValidator(mapping)] = None
    become: Annotated[BecomeModel | None, BeforeValidator(values.become)] = None


class GroupModel(Strict):
    """A named set of targets and of other groups, with settings for all of them."""

    targets: Names = []
    groups: Names = []
    vars: Vars = {}
    defaults: Annotated[SettingsModel, BeforeValidator(mapping)] = SettingsModel()


_CHILDREN: dict[str, type[Strict]] = {
    "ssh": SshModel,
    "ssm": SsmModel,
    "become": BecomeModel,
    "defaults": SettingsModel,
}


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
                owner = _CHILDREN.get(str(part), owner)
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
    if not location or location[-1] in ("ssh", "ssm", "become", "password", "passphrase"):
        return "the value"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else "the value"
