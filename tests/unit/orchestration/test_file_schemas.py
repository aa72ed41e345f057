"""The schemas of the files that people write: complete, worded, and as the docs have them."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmm.contract import spec_validator
from lmm.errors import RequestError
from lmm.register import choices
from lom.documents.document import Document, refuse
from lom.documents.schema import check
from lom.documents.yaml_values import parse_yaml
from lom.inventory.load import load_inventory
from lom.inventory.merge import _Builder
from lom.settings.policy.gather import gather
from lom.settings.policy.parse import system_safeguards
from lom.settings.values import KEYS, LONGEST_S, ON_LOCKED, OUTPUTS, SAFEGUARD_KEYS

ROOT = Path(__file__).resolve().parents[3]
SCHEMAS = {name: spec_validator(name).schema for name in ("inventory_v1", "config_v1", "policy_v1")}
INVENTORY = SCHEMAS["inventory_v1"]["$defs"]


# -- the documents -----------------------------------------------------------------------------


EXAMPLES = [
    (str(page.relative_to(ROOT)), text)
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
    for text in re.findall(r"^```yaml[^\n]*\n(.*?)^```", page.read_text("utf-8"), re.M | re.S)
]


@pytest.mark.parametrize(("page", "text"), EXAMPLES)
def test_every_yaml_of_the_docs_fits_the_schema_of_its_kind(page: str, text: str) -> None:
    document = Document(page, ROOT)
    document.data = parse_yaml(document, text.encode())
    assert document.data
    kinds = [
        name for name, schema in SCHEMAS.items() if document.data.keys() <= {*schema["properties"]}
    ]
    assert kinds, f"{page} has YAML that is no file of ours"
    check(document, kinds[0])
    assert document.problems == []


def test_readme_and_every_guide_with_such_files_have_examples() -> None:
    pages = {page for page, _ in EXAMPLES}
    assert {"README.md", "docs/inventory.md", "docs/cli.md", "docs/policy.md"} <= pages


@pytest.mark.parametrize("page", ["inventory.md", "cli.md", "policy.md"])
def test_the_line_for_editors_names_a_schema_that_is_installed(page: str) -> None:
    text = (ROOT / "docs" / page).read_text("utf-8")
    names = re.findall(r"# yaml-language-server: \$schema=\S*?(\w+\.json)", text)
    assert names
    command = re.search(r'python3 -c "(.+?)"', (ROOT / "specs" / "README.md").read_text("utf-8"))
    assert command
    done = subprocess.run(
        [sys.executable, "-c", command[1]], capture_output=True, text=True, check=True
    )
    assert Path(done.stdout.strip()) == Path(str(resources.files("lmm") / "specs"))
    for name in names:
        assert f"/specs/{name}" in json.loads((ROOT / "specs" / name).read_text("utf-8"))["$id"]


# -- the schemas and the rest of RUNE ----------------------------------------------------------


def rules(schema: Any) -> Iterator[Mapping[str, Any]]:
    """Yield a schema and those inside of it whose faults are told: none that is only asked."""
    if not isinstance(schema, dict):
        return
    yield schema
    inner = [schema.get(key) for key in ("items", "additionalProperties", "then", "else")]
    for key in ("properties", "$defs"):
        inner += schema.get(key, {}).values()
    for one in (*inner, *schema.get("allOf", ()), *schema.get("anyOf", ())):
        yield from rules(one)


def test_the_configuration_has_every_setting_and_no_other() -> None:
    fields = SCHEMAS["config_v1"]["properties"]
    assert list(fields) == [*KEYS, *SAFEGUARD_KEYS]
    assert fields["output"]["enum"] == [*OUTPUTS, None]
    assert fields["on_locked"]["enum"] == [*ON_LOCKED, None]
    assert SCHEMAS["config_v1"]["$defs"]["seconds"]["maximum"] == LONGEST_S


def test_the_transports_that_editors_offer_are_those_that_there_are() -> None:
    offered = [
        one["anyOf"][0]["enum"]
        for schema in SCHEMAS.values()
        for one in rules(schema)
        if "anyOf" in one
    ]
    assert offered == [[*choices()]] * 2


def test_every_rule_has_words() -> None:
    """Those that ``lom.documents.schema`` has none for have their own; it raises for others."""
    common = {"type", "enum", "minimum", "maximum", "exclusiveMinimum", "maxLength", "minItems"}
    common |= {"required", "additionalProperties"}
    inside = {"properties", "propertyNames", "items", "$ref", "$defs", "allOf", "anyOf"}
    inside |= {"if", "then", "else"}
    told = {"$schema", "$id", "title", "description", "default"}
    words = {"pattern": "patternErrorMessage", "not": "errorMessage"}
    for name, schema in SCHEMAS.items():
        for rule in rules(schema):
            own = {key for key in rule if not key.endswith("rrorMessage")} - common - inside - told
            assert own <= words.keys(), (name, rule)
            for key in own:
                assert rule.get(words[key]) or rule.get("errorMessage"), (name, rule)


def test_a_file_that_is_right_needs_no_pydantic(tmp_path: Path) -> None:
    (tmp_path / "inventory.yaml").write_text("targets: {'n[1-3]': {user: ops}}\n")
    code = (
        "import sys; from lom.inventory.load import load_inventory\n"
        f"found = load_inventory({str(tmp_path / 'inventory.yaml')!r})\n"
        "print(found.targets['n2'].user, 'pydantic' in sys.modules, 'jsonschema' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["ops", "False", "False"]


# -- what the schemas let pass becomes a value -------------------------------------------------

PLAIN = st.sampled_from(
    [
        *(0, 1, 22.0, 65536, -1, 3.5, 86400.5, 10**400, None, True, False, "", "h", "-h", "a b"),
        *("\x00", "[::1]", "[", "ops@h", "h:22", "~/id", "x\ny", "yes", "ssh", "strict", "env:P"),
        *("file:~/p", "file:", "none", "eu-west-1", "ec2", "tags.X", "allow", "deny", "read", "@"),
        *("8h", "31d", "Mon 08:00-09:00 UTC", "8-18", "a and", "\ud800"),
    ]
)
ODD = PLAIN | st.lists(PLAIN, max_size=2) | st.dictionaries(PLAIN.map(str), PLAIN, max_size=2)
RIGHT: dict[str, list[Any]] = {
    "identity_files": [["~/k"]],
    "known_hosts": [[]],
    "options": [{"A": True, "B": 3, "C": "x"}],
    "password": ["env:P", "file:p"],
    "passphrase": ["file:~/p"],
    "host": ["h", "[::1]"],
    "port": [22],
    "user": ["ops"],
    "become": [True, False, "pg", {"password": "env:P"}],
    "transport": ["ssh", "auto"],
    "vars": [{"a": [1]}],
    "source": ["ec2"],
    "regions": [["eu-west-1"]],
    "region": ["eu-west-1"],
    "filters": [{"a": "b", "c": ["d"]}],
    "targets": [["a"]],
    "groups": [[]],
}


def blocks(name: str, **inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Mappings with some fields of a definition, mostly right, and at times what is none."""
    fields = {
        key: inner[key] if key in inner else st.sampled_from(RIGHT[key])
        for key in INVENTORY[name]["properties"]
        if key in inner or key in RIGHT
    }
    wrong = st.dictionaries(
        st.sampled_from([*INVENTORY[name]["properties"], "odd"]), ODD, max_size=1
    )
    some = st.fixed_dictionaries({}, optional=fields)
    return some | some | st.builds(lambda one, two: {**one, **two}, some, wrong) | ODD


SETTINGS = blocks("settings", ssh=blocks("ssh"), ssm=blocks("ssm"))


@settings(max_examples=60, deadline=None)
@given(SETTINGS, SETTINGS, blocks("group", defaults=SETTINGS), blocks("source", defaults=SETTINGS))
def test_any_inventory_is_targets_or_faults(
    defaults: Any, target: Any, group: Any, source: Any
) -> None:
    document = Document("i.yaml", Path("/inventory"))
    document.data = {
        "defaults": defaults,
        "targets": {"a": target},
        "groups": {"g": group},
        "sources": {"s": source},
    }
    builder = _Builder()
    builder.add(document)
    if not document.problems:
        builder.connect()
    if document.problems:
        assert all(one.message and not one.message.startswith("None") for one in document.problems)
        return
    assert builder.queries()
    made = builder.inventory(()).targets["a"]
    assert all(isinstance(one, str) for one in (*made.ssh.identity_files, made.transport))
    assert made.port is None or type(made.port) is int


RULE = st.fixed_dictionaries(
    {"name": st.sampled_from(["a", "b"]), "effect": st.sampled_from(["allow", "deny"])},
    optional={
        "users": st.sampled_from(["a", ["@b"]]) | ODD,
        "risks": st.sampled_from(["read", ["change"]]) | ODD,
        "targets": st.sampled_from(["a and b", None]) | ODD,
        "hours": st.sampled_from(["Mon 08:00-09:00 UTC"]) | ODD,
        "max_targets": st.sampled_from([1, 2.0]) | ODD,
        "approval": st.sampled_from([{"approvers": "a", "valid_for": "8h"}, None]) | ODD,
    },
)
POLICY = {
    "default": st.sampled_from(["allow", "deny"]),
    "inventory": st.sampled_from(["i.yaml"]) | ODD,
    "rules": st.lists(RULE, max_size=2) | ODD,
}
BESIDE = {
    "plugin_lock": st.just("l.json") | ODD,
    "audit": st.sampled_from([False, {"log": "a", "required": True}]) | ODD,
    "approvals": st.just("a") | ODD,
}


@given(st.fixed_dictionaries({}, optional={**POLICY, **BESIDE}))
def test_any_policy_of_a_machine_is_safeguards_or_faults(data: Any) -> None:
    document = Document("p.yaml", Path("/p"), data)
    with contextlib.suppress(RequestError):
        check(document, "policy_v1")
        refuse(document, "config_invalid")
        found = system_safeguards(document)
        assert len(found.policies[0].rules) == len(data.get("rules", ()))


OWN = {"policy": st.fixed_dictionaries({}, optional=POLICY), "audit": BESIDE["audit"]}


@given(st.fixed_dictionaries({}, optional=OWN))
def test_any_policy_of_a_project_is_safeguards_or_faults(data: Any) -> None:
    document = Document("rune.yaml", Path("/"), data)
    with contextlib.suppress(RequestError):
        check(document, "config_v1")
        refuse(document, "config_invalid")
        found = gather(None, [document], None)
        assert len(found.policies) == ("policy" in data)


def test_half_a_surrogate_pair_is_a_fault_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "i.yaml").write_text("targets: {a: {user: env}}\n")
    assert load_inventory(tmp_path / "i.yaml").targets
    document = Document("i.yaml", tmp_path, {"targets": {"a": {"user": "\ud800"}}})
    assert check(document, "inventory_v1") == {()}
    assert "surrogate" in document.problems[0].message
