"""What docs/compatibility.md promises by name is still there: ``promised.json`` has the names.

After something was added, ``RUNE_RECORD=1 pytest tests/packaging/test_compatibility.py`` adds it to
the file. What is in the file stays: only who edits it by hand breaks a promise.
"""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import click
import pytest

from lmm import errors
from lmm.contract import SPECS
from lom.cli.app import rune
from lom.exit_codes import ExitCode
from lom.settings.values import KEYS, SAFEGUARD_KEYS
from tests.integration.cli.everything import leaves

RECORD = "RUNE_RECORD" in os.environ
PROMISED = Path(__file__).with_name("promised.json")
# Others write these, so they may demand no more; the others RUNE writes: they may have no less.
READ = ("mrs_v2", "rcs_v3", "bpcs_output_v2", "bpcs_event_v2", "approval_v1")


def options(command: click.Command) -> list[str]:
    given = (one for one in command.params if isinstance(one, click.Option))
    return sorted(name for one in given for name in (*one.opts, *one.secondary_opts))


def objects(schema: Any, path: str = "$") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each part of a schema that has properties, with its place."""
    if isinstance(schema, dict):
        if "properties" in schema:
            yield path, schema
        for key, child in schema.items():
            yield from objects(child, f"{path}.{key}")
    elif isinstance(schema, list):
        for number, child in enumerate(schema):
            yield from objects(child, f"{path}[{number}]")


@cache
def standing() -> dict[str, dict[str, Any]]:
    """Return all that is promised as it is now: kind -> name -> what of it must stay."""
    schemas = {}
    for name in (*SPECS, "common"):
        for path, part in objects(json.loads(errors.spec_text(f"{name}.json"))):
            schemas[f"{name}{path[1:]}"] = sorted(part["properties"])
            if name not in READ:
                schemas[f"{name}{path[1:]} always"] = sorted(part.get("required", ()))
    modules = ("lom", "lmm", "lmm.testing")
    return {
        "exit codes": {code.name: [int(code)] for code in ExitCode},
        "reasons": {reason: [row["code"]] for reason, row in errors.code_table().items()},
        "commands": {f"rune {path}": options(one) for path, one in leaves(rune).items()},
        "settings": {"all": sorted([*KEYS, *SAFEGUARD_KEYS])},
        "library": {name: sorted(importlib.import_module(name).__all__) for name in modules},
        "schemas": schemas,
    }


def demands() -> dict[str, list[str]]:
    """Return what the schemas of what others write demand now."""
    return {
        f"{name}{path[1:]}": sorted(part.get("required", ()))
        for name in READ
        for path, part in objects(json.loads(errors.spec_text(f"{name}.json")))
    }


def kept(old: dict[str, list[Any]], new: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """Return ``old`` with what is new in ``new``."""
    merged = {name: [*old.get(name, ()), *new.get(name, ())] for name in {**old, **new}}
    return {name: sorted(set(found), key=str) for name, found in sorted(merged.items())}


def recorded() -> dict[str, Any]:
    now = standing()
    if RECORD:
        old = json.loads(PROMISED.read_text("utf-8")) if PROMISED.exists() else {}
        new = {kind: kept(old.get(kind, {}), names) for kind, names in now.items()}
        new["demands"] = {**demands(), **old.get("demands", {})}
        lines = [
            f'"{kind}": {{\n'
            + ",\n".join(f"  {json.dumps(name)}: {json.dumps(of)}" for name, of in names.items())
            + "\n}"
            for kind, names in new.items()
        ]
        PROMISED.write_text("{" + ",\n".join(lines) + "}\n", "utf-8")
    found: dict[str, Any] = json.loads(PROMISED.read_text("utf-8"))
    return found


@pytest.mark.parametrize("kind", standing())
def test_what_was_promised_is_still_there(kind: str) -> None:
    promised, now = recorded()[kind], standing()[kind]
    gone = {name: set(of) - set(now.get(name, ())) for name, of in promised.items()}
    assert not {name: of for name, of in gone.items() if of or name not in now}
    new = {name: set(of) - set(promised.get(name, ())) for name, of in now.items()}
    assert not {name: of for name, of in new.items() if of}, "record it with RUNE_RECORD=1"


def test_what_others_write_needs_no_more_than_before() -> None:
    before = recorded()["demands"]
    more = {name: set(of) - set(before[name]) for name, of in demands().items() if name in before}
    assert not {name: of for name, of in more.items() if of}


def test_an_exit_code_and_a_reason_have_one_number() -> None:
    """So that a number that was changed stands beside the old one in the file, and is found."""
    for kind in ("exit codes", "reasons"):
        assert [name for name, numbers in recorded()[kind].items() if len(numbers) != 1] == []
