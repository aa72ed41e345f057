"""The services' own models, as botocore ships them: they check what goes in and what goes out.

botocore's ParamValidator checks types, required members and lower bounds; upper bounds, patterns
and enumerations, which it leaves to the service, are checked here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from functools import cache
from typing import Any

import botocore.loaders
import botocore.model
import botocore.validate

from lmm.testing.aws.errors import ServiceError

# Java's classes for letters, numbers and separators, which Python's re does not know.
JAVA_CLASSES = {r"\p{L}": r"\w", r"\p{N}": r"\d", r"\p{Z}": r"\s"}


# The operations that are not SSM's.
SERVICES = {"ListGroupResources": "resource-groups"}


@cache
def operation_model(operation: str) -> Any:
    """Return botocore's model of an operation."""
    return _service_model(SERVICES.get(operation, "ssm")).operation_model(operation)


@cache
def _service_model(name: str) -> botocore.model.ServiceModel:
    loader = botocore.loaders.create_loader()
    return botocore.model.ServiceModel(loader.load_service_model(name, "service-2"), name)


def check_input(operation: str, given: Any) -> None:
    """Raise ServiceError where a request does not fit the operation's input shape."""
    shape = operation_model(operation).input_shape
    if not isinstance(given, dict):
        raise ServiceError("SerializationException", "Start of structure or map found no object.")
    report = botocore.validate.ParamValidator().validate(given, shape)
    if report.has_errors():
        raise ServiceError("ValidationException", report.generate_report())
    missed = list(_missed(given, shape, ""))
    if missed:
        noun = "error" if len(missed) == 1 else "errors"
        raise ServiceError(
            "ValidationException", f"{len(missed)} validation {noun} detected: {'; '.join(missed)}"
        )


def _missed(value: Any, shape: Any, path: str) -> Iterator[str]:
    for rule in _broken(value, shape):
        yield f"Value '{value}' at '{path}' failed to satisfy constraint: {rule}"
    if shape.type_name == "structure":
        for name, member in value.items():
            inner = name[:1].lower() + name[1:]
            yield from _missed(member, shape.members[name], f"{path}.{inner}" if path else inner)
    elif shape.type_name == "list":
        for number, member in enumerate(value, 1):
            yield from _missed(member, shape.member, f"{path}.{number}.member")
    elif shape.type_name == "map":
        for key, member in value.items():
            yield from _missed(key, shape.key, f"{path}.key")
            yield from _missed(member, shape.value, f"{path}.{key}.member")


def _broken(value: Any, shape: Any) -> Iterator[str]:
    rules = shape.metadata
    if shape.type_name in ("string", "list", "map") and len(value) > rules.get("max", len(value)):
        yield f"Member must have length less than or equal to {rules['max']}"
    if shape.type_name in ("integer", "long") and value > rules.get("max", value):
        yield f"Member must have value less than or equal to {rules['max']}"
    if "pattern" in rules and not _pattern(rules["pattern"]).fullmatch(value):
        yield f"Member must satisfy regular expression pattern: {rules['pattern']}"
    if "enum" in rules and value not in rules["enum"]:
        yield f"Member must satisfy enum value set: [{', '.join(rules['enum'])}]"


@cache
def _pattern(pattern: str) -> re.Pattern[str]:
    flags = re.RegexFlag(0) if r"\p{" in pattern else re.ASCII
    for java, python in JAVA_CLASSES.items():
        pattern = pattern.replace(java, python)
    return re.compile(pattern, flags)


def shape_output(operation: str, result: dict[str, Any]) -> Any:
    """Return a result as the wire has it: times as seconds, members without a value left out.

    Raises ValueError for a member that the output shape does not know.
    """
    return _shaped(result, operation_model(operation).output_shape)


def _shaped(value: Any, shape: Any) -> Any:
    if shape.type_name == "structure":
        if unknown := value.keys() - shape.members.keys():
            raise ValueError(f"{shape.name} has no {sorted(unknown)}")
        kept = {name: member for name, member in value.items() if member is not None}
        return {name: _shaped(member, shape.members[name]) for name, member in kept.items()}
    if shape.type_name == "list":
        return [_shaped(member, shape.member) for member in value]
    if shape.type_name == "map":
        return {key: _shaped(member, shape.value) for key, member in value.items()}
    if isinstance(value, datetime):
        return round(value.timestamp(), 3)
    return value
