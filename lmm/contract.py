"""The contract as code: the schemas of ``specs/`` and of plugins, and what they say of a value.

jsonschema-rs decides, because it is a hundred times faster; jsonschema is imported only when a
value is refused, to say why. Parsing and the meaning of messages belong in ``envelope``.
"""

from __future__ import annotations

import functools
import json
import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from itertools import islice
from typing import TYPE_CHECKING, Any

from lmm.errors import shortened, spec_text
from lmm.model import JSON
from lmm.shortage import wanting

if TYPE_CHECKING:
    import jsonschema_rs

SPECS = (
    "rcs_v3",
    "mrs_v2",
    "bpcs_input_v2",
    "bpcs_output_v2",
    "bpcs_event_v2",
    "eps_v2",
    "result_v1",
    "event_v1",
    "plan_v1",
    "runs_v1",
    "fleet_v1",
    "actions_v1",
    "plugins_v1",
    "targets_v1",
    "approval_v1",
    "approvals_v1",
    "audit_v1",
    "settings_v1",
    "doctor_v1",
    "inventory_v1",
    "config_v1",
    "policy_v1",
)
BASE_URI = "https://rune.dev/specs/"
DIALECT = "https://json-schema.org/draft/2020-12/schema"

_MOST = 20  # violations told of one value; the author mends the first anyway
_LONGEST = 300  # characters of one violation's message
_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


@dataclass(frozen=True, slots=True)
class Violation:
    """One breach of a schema: ``path`` as ``$.payload.data[0].x``, ``message`` what is wrong."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.message} @ {self.path}"


@dataclass(frozen=True, slots=True)
class Breach:
    """One rule of a schema that is broken: ``keyword`` and what it asks, in ``schema``, by the
    ``value`` at ``location``."""

    location: tuple[str | int, ...]
    keyword: str
    asked: Any
    value: JSON
    schema: Mapping[str, Any]


class SchemaValidator:
    """A compiled JSON Schema 2020-12. May be used from several threads.

    References lead to ``specs/`` or stay inside the schema; nothing is ever fetched. Raises
    ValueError for a schema that ``check_schema`` refuses.
    """

    def __init__(self, schema: Mapping[str, JSON]) -> None:
        self.schema = dict(schema)
        self._fast = _compile(self.schema)

    def violations(
        self, instance: JSON, hide: Callable[[str], str] | None = None
    ) -> list[Violation]:
        """Return what is wrong with ``instance``, at most 20 violations; [] means valid.

        Values of fields marked ``writeOnly`` stand in no message, and what ``hide`` takes out of
        a text neither: it is given each message before that is shortened.
        """
        hide = hide or _as_it_is
        try:
            if self._fast.is_valid(instance):
                return []
        except (ValueError, TypeError) as error:
            return [Violation("$", f"not a JSON value: {error}")]
        return _worded(self.schema, instance, hide) or [
            Violation(json_path(error.instance_path), shortened(hide(error.message), _LONGEST))
            for error in _first(_compile(self.schema, mask="the value").iter_errors(instance))
        ]

    def breaches(self, instance: JSON) -> list[Breach]:
        """Return every rule that ``instance`` breaks, for who words them otherwise.

        Raises ValueError for what is no JSON value.
        """
        if self._fast.is_valid(instance):
            return []
        return [self._breach(error) for error in self._fast.iter_errors(instance)]

    def _breach(self, error: jsonschema_rs.ValidationError) -> Breach:
        root: Any = self.schema
        rule = root
        for part in error.evaluation_path[:-1]:
            if part == "$ref":
                file, _, pointer = rule["$ref"].partition("#")
                root = _retrieve(file) if file else root
                rule = functools.reduce(operator.getitem, pointer.split("/")[1:], root)
            else:
                rule = rule[part]
        location = tuple(error.instance_path)
        if error.kind.name == "propertyNames":
            error = error.kind.value
            location = (*location, str(error.instance))
        return Breach(location, error.kind.name, error.kind.value, error.instance, rule)


def validator_for(schema: Mapping[str, JSON]) -> SchemaValidator:
    """Return the validator of a schema, compiled once for equal schemas. Raises ValueError."""
    return _validator_of(json.dumps(schema, sort_keys=True))


@functools.lru_cache(maxsize=512)
def _validator_of(text: str) -> SchemaValidator:
    return SchemaValidator(json.loads(text))


@functools.cache
def spec_validator(name: str) -> SchemaValidator:
    """Return the validator of a message of the contract; ``name`` is one of ``SPECS``."""
    return SchemaValidator(_retrieve(f"{BASE_URI}{name}.json"))


def check_schema(schema: JSON) -> list[Violation]:
    """Return why ``schema`` is no usable JSON Schema 2020-12; [] means that it is one.

    Also refused: another dialect, a reference that leads nowhere, a pattern that cannot be read.
    """
    import jsonschema_rs

    if not isinstance(schema, dict):
        return [Violation("$", "a schema must be an object")]
    if schema.get("$schema", DIALECT) != DIALECT:
        return [Violation(json_path(["$schema"]), f"only {DIALECT} is supported")]
    found = validator_for({"$ref": DIALECT}).violations(schema)
    if found:
        return found
    try:
        _compile(schema)
    except jsonschema_rs.ValidationError as error:
        return [Violation(json_path(error.instance_path), shortened(error.message, _LONGEST))]
    return []


def json_path(parts: Iterable[str | int]) -> str:
    """Return a path as messages show it: ``$.payload.data[0]["odd name"]``."""
    path = "$"
    for part in parts:
        if isinstance(part, int):
            path += f"[{part}]"
        elif _PLAIN_NAME.fullmatch(part):
            path += f".{part}"
        else:
            path += f"[{json.dumps(part, ensure_ascii=False)}]"
    return path


# -- the fast path -----------------------------------------------------------------------------


def _compile(schema: dict[str, JSON], mask: str | None = None) -> jsonschema_rs.Validator:
    import jsonschema_rs

    return jsonschema_rs.Draft202012Validator(schema, retriever=_retrieve, mask=mask)


def _retrieve(uri: str) -> Any:
    """Return the document of ``specs/`` that a reference names; nothing else is ever read."""
    name = uri.removeprefix(BASE_URI).removesuffix(".json")
    if name not in (*SPECS, "common"):
        raise ValueError("only references into the schema itself or to the contract are followed")
    return json.loads(spec_text(f"{name}.json"))


# -- the authority, which finds the words ------------------------------------------------------


def _worded(schema: dict[str, JSON], instance: JSON, hide: Callable[[str], str]) -> list[Violation]:
    """Return the violations as jsonschema sees them; [] where it sees none or gives up."""
    secrets: list[JSON] = []
    try:
        errors = authority(schema, on_secret=secrets.append).iter_errors(instance)
        # a secret must be known before the first message is worded, so none may be left unseen
        kept = list(errors)[:_MOST] if '"writeOnly"' in json.dumps(schema) else _first(errors)
        if any(error.validator is None for error in kept):  # it loses a false schema's path
            return []
        hidden = _scalars(secrets)
        return [
            Violation(
                json_path(error.absolute_path),
                shortened(hide(_word(error, hidden, hide)), _LONGEST),
            )
            for error in map(_sharpest, kept)
        ]
    except (re.error, RecursionError):  # a pattern that only the fast path can read
        return []
    except (OSError, MemoryError, ImportError) as error:
        if wanting(error) is None:
            raise
        return []


def authority(schema: dict[str, JSON], on_secret: Callable[[JSON], None] | None = None) -> Any:
    """Return jsonschema's validator of ``schema``; ``on_secret`` is given writeOnly values."""
    jsonschema: Any = import_module("jsonschema")

    def pattern(validator: Any, pattern: str, instance: JSON, _: JSON) -> Iterator[Any]:
        # ECMA-262 as the fast path reads it: Python's $ also matches before a final newline,
        # its \d matches any script's digits, and it backtracks without a limit
        if isinstance(instance, str) and not _pattern(pattern).is_valid(instance):
            yield jsonschema.ValidationError(f"{instance!r} does not match {pattern!r}")

    def write_only(validator: Any, marked: JSON, instance: JSON, _: JSON) -> None:
        if marked is True and on_secret is not None:
            on_secret(instance)

    kind = jsonschema.validators.extend(
        jsonschema.Draft202012Validator, {"pattern": pattern, "writeOnly": write_only}
    )
    return kind(schema, registry=_registry())


@functools.cache
def _registry() -> Any:
    """Return all documents that a reference may lead to; jsonschema would read one that it has to
    retrieve at every reference to it."""
    referencing: Any = import_module("referencing")
    standard: Any = import_module("jsonschema_specifications").REGISTRY
    documents = [_retrieve(f"{BASE_URI}{name}.json") for name in (*SPECS, "common")]
    read = [referencing.Resource.from_contents(document) for document in documents]
    return referencing.Registry().with_resources((one.id(), one) for one in read).combine(standard)


@functools.lru_cache(maxsize=512)
def _pattern(pattern: str) -> jsonschema_rs.Validator:
    return _compile({"pattern": pattern})


def _sharpest(error: Any) -> Any:
    """Return the error inside an ``anyOf`` or ``oneOf`` that most likely was meant."""
    return import_module("jsonschema").exceptions.best_match([error])


def _word(error: Any, hidden: list[JSON], hide: Callable[[str], str]) -> str:
    """Return what is wrong, without the text of containers and secrets."""
    value, rule, schema = error.instance, error.validator_value, error.schema
    if error.validator in ("anyOf", "oneOf"):
        if all(isinstance(branch, dict) and set(branch) == {"required"} for branch in rule):
            how_many = "exactly" if error.validator == "oneOf" else "at least"
            names = ", ".join(repr(name) for branch in rule for name in branch["required"])
            return f"{how_many} one of {names} is required"
        if error.context:
            return " or ".join(dict.fromkeys(_word(inner, hidden, hide) for inner in error.context))
    if error.validator in ("items", "unevaluatedItems"):
        return "has more items than the schema allows"
    if error.validator == "additionalProperties" and "patternProperties" not in schema:
        return _unknown_fields(value, schema.get("properties", {}))
    message: str = error.message
    if error.validator == "pattern" and "description" in schema:
        message += f" ({schema['description']})"
    shown = repr(value)
    if not message.startswith(shown):
        return message
    if isinstance(value, dict | list):
        return ("the object" if isinstance(value, dict) else "the array") + message[len(shown) :]
    if value in hidden:
        return "the value" + message[len(shown) :]
    rest, shown = message[len(shown) :], hide(shown)
    return (shown if len(shown) <= 100 else f"{shown[:96]}…{shown[-1]}") + rest


def _unknown_fields(value: Mapping[str, JSON], known: Mapping[str, JSON]) -> str:
    import difflib

    told = []
    for name in value:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f", did you mean {near[0]!r}?" if near else ""
            told.append(f"unknown field {name!r}{hint}")
    return "; ".join(told)


def _scalars(values: Iterable[JSON]) -> list[JSON]:
    found: list[JSON] = []
    for value in values:
        if isinstance(value, dict):
            found += _scalars(value.values())
        elif isinstance(value, list):
            found += _scalars(value)
        else:
            found.append(value)
    return found


def _first(errors: Iterable[Any]) -> list[Any]:
    return list(islice(errors, _MOST))


def _as_it_is(text: str) -> str:
    return text
