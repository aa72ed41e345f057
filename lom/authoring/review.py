"""What is wrong with a plugin that can be told without running it."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from lmm.contract import BASE_URI, json_path, validator_for
from lmm.errors import RequestError, spec_text
from lom.authoring import inputs
from lom.authoring.cases import Case, case_files, filled, load_case
from lom.authoring.findings import Finding, failed, ok, warn
from lom.authoring.lint import script_findings
from lom.planning.input_schema import place_of
from lom.registry.manifest import Capability, Plugin

_SECRET = re.compile(
    r"(.*[_-])?(password|passwd|passphrase|secret|token|(api|private)[_-]?key)", re.IGNORECASE
)


def review(plugin: Plugin) -> list[Finding]:
    """Return the findings on a plugin whose manifest could be loaded; nothing of it is run."""
    found = [ok("manifest", f"{plugin.name} {plugin.version}"), _name(plugin)]
    for capability in plugin.capabilities:
        for check in (_input_schema, _output_schema, _parameters):
            found += check(capability)
    return [*found, *_cases(plugin), *script_findings(plugin)]


def _name(plugin: Plugin) -> Finding:
    folder = plugin.directory.name
    if folder == plugin.name:
        return ok("name", f"the folder has the plugin's name, {folder}")
    return warn(
        "name",
        f"the folder is named {folder}, the plugin {plugin.name}",
        "Give both the same name, so that whoever looks for one finds the other.",
    )


# -- schemas -----------------------------------------------------------------------------------


def _input_schema(capability: Capability) -> Iterator[Finding]:
    yield from _satisfiable("input_schema", capability.input_schema, capability.action)


def _output_schema(capability: Capability) -> Iterator[Finding]:
    if not set(capability.output_schema) - {"$schema", "$comment", "title", "description"}:
        yield failed(
            "output_schema",
            "it says nothing, so every answer would pass for a good one",
            "Name the properties of output_data, those that are required, and their types.",
            capability.action,
        )
        return
    yield from _satisfiable("output_schema", capability.output_schema, capability.action)


def _satisfiable(name: str, schema: Mapping[str, Any], action: str) -> Iterator[Finding]:
    from jsonschema_rs import canonical

    try:
        empty = canonical.find_unsatisfiable(dict(schema), retriever=_retrieve)
    except canonical.CanonicalizationError as error:
        yield warn(name, f"whether a value can match is not known: {error}", "", action)
        return
    faults = {
        pointer: reason
        for pointer, reason in empty.items()
        if not isinstance(reason, canonical.UnsatisfiableReason.Literal)
    }
    for pointer, reason in faults.items():
        # One that is empty because of a part of it is told of at that part.
        if not any(other.startswith(f"{pointer}/") for other in faults):
            where = json_path(["capabilities", action, name, *pointer.split("/")[1:]])
            yield failed(
                name,
                f"no value can match it @ {where}{_why(reason)}",
                "Take back what contradicts the rest.",
                action,
            )
    if not faults:
        yield ok(name, "values can match it", action)


def _why(reason: Any) -> str:
    causes = getattr(reason, "causes", None) or [getattr(reason, "cause", None)]
    words = [word for cause in causes if cause for word in cause.keywords]
    return f": {', '.join(dict.fromkeys(words))}" if words else ""


def _retrieve(uri: str) -> Any:
    return json.loads(spec_text(uri.removeprefix(BASE_URI)))


def _parameters(capability: Capability) -> Iterator[Finding]:
    """What the schema of schemas cannot see: defaults, examples, names."""
    place = place_of(capability.input_schema)
    definitions = {"$defs": capability.input_schema.get("$defs", {})}
    variables: dict[str, list[str]] = defaultdict(list)
    troubles = []
    for name in place.names:
        variables[re.sub("[^A-Z0-9]", "_", name.upper())].append(name)
        for part in place.child(name).parts:
            shown = [("default", part["default"])] if "default" in part else []
            shown += [("an example", one) for one in part.get("examples", ())]
            validator = validator_for({**definitions, **part})
            for what, value in shown:
                for violation in validator.violations(value)[:1]:
                    troubles.append(f"{what} of {name} does not match its schema: {violation}")
        marked = any(part.get("writeOnly") for part in place.child(name).parts)
        if _SECRET.fullmatch(name) and not marked and "boolean" not in place.child(name).types:
            yield warn(
                "parameters",
                f"{name} sounds like a secret",
                'If it is one, mark it "writeOnly": true: then RUNE shows it nowhere.',
                capability.action,
            )
    for variable, names in variables.items():
        if len(names) > 1:
            troubles.append(f"{' and '.join(names)} would both be RUNE_PARAM_{variable}")
    for trouble in troubles:
        remedy = "Mend the schema, or rename the parameter."
        yield failed("parameters", trouble, remedy, capability.action)
    if not troubles:
        yield ok("parameters", f"{len(place.names)} declared", capability.action)


# -- cases -------------------------------------------------------------------------------------


def _cases(plugin: Plugin) -> Iterator[Finding]:
    shown = set()
    for file in case_files(plugin):
        name = f"case {file.stem}"
        try:
            case = load_case(plugin, file)
        except RequestError as error:
            yield failed(name, error.message, "Mend the case.")
            continue
        shown.add(case.action)
        trouble = _case_trouble(plugin, case)
        if trouble:
            yield failed(name, trouble, "Mend the case, or the manifest.", case.action)
        else:
            yield ok(name, case.description, case.action)
    for capability in plugin.capabilities:
        if capability.action not in shown:
            yield warn(
                "cases",
                "there is no case of it, so nothing shows that it works",
                "Add a file cases/NAME.json with description, input_parameters and expect"
                " (`rune plugin new` writes one as an example).",
                capability.action,
            )


def _case_trouble(plugin: Plugin, case: Case) -> str | None:
    """Return how a case contradicts the manifest or itself, None if it does not."""
    capability = plugin.capability(case.action)
    assert capability
    refusal = inputs.refusal(capability, case.input_parameters)
    if refusal:
        return f"RUNE would refuse its input_parameters: {refusal}"
    if case.output_data is not None:
        if case.exit_code:
            return f"it expects output_data with the exit code {case.exit_code}"
        schema = _without_required(_inlined(capability.output_schema))
        violations = validator_for(schema).violations(filled(case.output_data, inputs.PLACES))
        if violations:
            return f"the output schema refuses what it expects: {violations[0]}"
    if case.error is not None and case.error.get("code", case.exit_code) != case.exit_code:
        return f"it expects error.code {case.error['code']} with the exit code {case.exit_code}"
    missing = [file for file in case.commands.values() if not (case.folder / file).is_file()]
    return f"there is no file {missing[0]} beside it" if missing else None


def _inlined(schema: Mapping[str, Any]) -> Any:
    """Return a schema with what it refers to in the place of the references."""
    from jsonschema_rs import dereference

    return dereference(dict(schema), retriever=_retrieve)


def _without_required(schema: Any) -> Any:
    """Return a schema that a part of a matching value matches, too."""
    if isinstance(schema, Mapping):
        return {
            key: _without_required(value)
            for key, value in schema.items()
            if not (key == "required" and isinstance(value, list)) and key != "minProperties"
        }
    return [_without_required(one) for one in schema] if isinstance(schema, list) else schema
