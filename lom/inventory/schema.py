"""The schema of the inventory: what may stand in a file.

Imported only for what ``settings`` does not take for plainly right, because pydantic is. Values
become the frozen dataclasses of ``lmm.model`` in ``merge``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo

from lmm.aws import names as aws
from lmm.model import SecretRef
from lmm.register import choices
from lom.documents.model import PathText, Strict, checked, folder_of, mapping
from lom.documents.values import line
from lom.inventory import values as values


def _config_file(value: str, info: ValidationInfo) -> str:
    return values.config_file(value, folder_of(info))


def _secret(value: Any, info: ValidationInfo) -> SecretRef:
    return values.secret(value, folder_of(info))


def _profile_fault(value: str) -> str | None:
    fits = value.strip() and value.isprintable()
    return None if fits else "the name of a profile of the AWS configuration is needed"


def _list(value: Any) -> Any:
    return [] if value is None else value


if TYPE_CHECKING:
    TransportName = str
else:
    TransportName = Literal[choices()]
WordText = Annotated[str, AfterValidator(values.word)]
HostText = Annotated[str, AfterValidator(values.host)]
ConfigFileText = Annotated[str, AfterValidator(_config_file)]
Secret = Annotated[SecretRef, BeforeValidator(_secret)]
Seconds = Annotated[float, Field(gt=0, le=values.DAY_S, allow_inf_nan=False)]
OptionText = Annotated[str, AfterValidator(line), BeforeValidator(values.option)]
Profile = Annotated[str, checked(_profile_fault)]
Region = Annotated[str, checked(aws.region_fault)]
RoleArn = Annotated[str, checked(aws.role_fault)]
ExternalId = Annotated[str, checked(aws.external_id_fault)]
Vars = Annotated[dict[str, Any], BeforeValidator(mapping)]
Names = Annotated[list[str], BeforeValidator(_list)]


class SshModel(Strict):
    """``ssh`` of a target: every field of ``lmm.model.SshSettings``."""

    identity_files: list[PathText] = Field(default=[])
    certificate_file: PathText | None = None
    password: Secret | None = None
    passphrase: Secret | None = None
    use_agent: bool = True
    host_key_policy: Literal["strict", "accept-new"] | None = None
    known_hosts: list[PathText] = Field(default=[])
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
    options: dict[WordText, OptionText] = Field(default={})


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
    vars: Vars = Field(default={})
    ssh: Annotated[SshModel | None, BeforeValidator(mapping)] = None  # copying a model is slow
    ssm: Annotated[SsmModel | None, BeforeValidator(mapping)] = None
    become: Annotated[BecomeModel | None, BeforeValidator(values.become)] = None


class GroupModel(Strict):
    """A named set of targets and of other groups, with settings for all of them."""

    targets: Names = Field(default=[])
    groups: Names = Field(default=[])
    vars: Vars = Field(default={})
    defaults: Annotated[SettingsModel, BeforeValidator(mapping)] = SettingsModel()
