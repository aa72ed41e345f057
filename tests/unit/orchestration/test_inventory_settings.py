"""What is taken for plainly right without pydantic, against what pydantic's models say."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lom.documents.document import Document
from lom.documents.model import validate
from lom.inventory.load import load_inventory
from lom.inventory.schema import GroupModel, SettingsModel, SshModel
from lom.inventory.settings import _GROUP, _SETTINGS, _SSH, group_of, layer_of, over, settings_of

# Values near every bound and of every type, right in one place and wrong in most others.
NUMBERS = [0, 1, 22, 65535, 65536, 100, 101, -1, 0.0, 3.0, 86400, 86400.5, 1e-9, 10**400]
TEXTS = ["", "h", "-h", "a b", "ö", "\x00", "[::1]", "[", "ops@h", "~/.ssh/id", "/etc/x", "x\ny"]
WORDS = ["ssh", "auto", "scp", "strict", "accept-new", "env:P", "file:~/p", "file:", "env:", "p"]
ODD = [None, True, False, float("nan"), float("inf")]
PLAIN = st.sampled_from([*NUMBERS, *TEXTS, *WORDS, *ODD])
LISTS = st.lists(PLAIN, max_size=3)


# What is right in each field: without it most examples would be refused for one of many reasons.
RIGHT: dict[str, list[Any]] = {
    "host": ["h", "[::1]", "10.0.0.1"],
    "port": [1, 22, 65535],
    "user": ["ops"],
    "transport": ["ssh", "auto"],
    "vars": [{}, {"a": [1, {"b": None}]}],
    "become": [True, False, "postgres", {"user": "root", "password": "env:P"}],
    "identity_files": [["~/.ssh/id", "k"], []],
    "known_hosts": [["/etc/x"]],
    "certificate_file": ["k-cert.pub"],
    "config_file": ["none", "~/x"],
    "password": ["env:P", "file:~/p"],
    "passphrase": ["file:p"],
    "use_agent": [True, False],
    "host_key_policy": ["strict", "accept-new"],
    "proxy_jump": ["ops@jump:2222,b"],
    "connect_timeout_s": [1, 2.5],
    "banner_timeout_s": [86400],
    "auth_timeout_s": [0.1],
    "keepalive_s": [0, 3.0],
    "persist_s": [0.0, 60],
    "connect_attempts": [1, 100],
    "targets": [["h", "n[1-3]"], []],
    "groups": [["g"]],
}


def blocks(names: Any, inner: Mapping[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[Any]:
    """Mappings with some of the fields, mostly right, and what is no mapping."""
    fields = {name: st.sampled_from(RIGHT.get(name, [None])) for name in names}
    odd = st.dictionaries(st.sampled_from([*names, "odd"]), PLAIN | LISTS, max_size=1)
    some = st.fixed_dictionaries({}, optional={**fields, **inner})
    mixed = st.builds(lambda right, wrong: {**right, **wrong}, some, odd)
    return st.one_of(some, mixed, PLAIN)


SSH = blocks([name for name in SshModel.model_fields if name != "options"], {})
SETTINGS = blocks([n for n in SettingsModel.model_fields if n != "ssm"], {"ssh": SSH})


def documents() -> tuple[Document, Document]:
    return Document("i.yaml", Path("/inventory")), Document("i.yaml", Path("/inventory"))


@given(SETTINGS)
def test_settings_are_those_of_the_model(data: Any) -> None:
    document, reference = documents()
    found = settings_of(data, document, ("targets", "x"))
    model = validate(SettingsModel, data, reference, ("targets", "x"))
    assert document.problems == reference.problems
    assert found == (layer_of(model) if model else None)


@given(blocks(GroupModel.model_fields, {"defaults": SETTINGS}))
def test_groups_are_those_of_the_model(data: Any) -> None:
    document, reference = documents()
    found = group_of(data, document, ("groups", "g"))
    model = validate(GroupModel, data, reference, ("groups", "g"))
    assert document.problems == reference.problems
    if model is None:
        assert found is None
        return
    assert found is not None
    assert (found.targets, found.groups) == (model.targets, model.groups)
    shared = {"vars": model.vars} if model.vars else {}
    assert found.layer == over(layer_of(model.defaults), shared)


@pytest.mark.parametrize(
    ("checks", "model"), [(_SETTINGS, SettingsModel), (_SSH, SshModel), (_GROUP, GroupModel)]
)
def test_every_field_taken_is_one_of_the_model(checks: Any, model: Any) -> None:
    assert checks.keys() <= model.model_fields.keys()


def test_no_ssh_config_is_no_file(tmp_path: Path) -> None:
    """As for ``ssh -F``, whoever reads the inventory."""
    file = tmp_path / "inventory.yaml"
    file.write_text("targets: {h: {ssh: {config_file: none}}}\n")
    assert load_inventory(file).targets["h"].ssh.config_file == "none"
    model = validate(SshModel, {"config_file": "None"}, documents()[0], ())
    assert model
    assert model.config_file == _SSH["config_file"]("None", tmp_path) == "none"


def test_an_inventory_that_is_right_needs_no_pydantic(tmp_path: Path) -> None:
    (tmp_path / "inventory.yaml").write_text(
        """
        defaults: {user: ops, port: 2222, vars: {site: a}, become: postgres,
                   ssh: {identity_files: [k], connect_timeout_s: 5, password: "env:P"}}
        targets: {"n[1-3]": {host: "10.0.0.[1-3]"}, build: {transport: local}}
        groups: {all-n: {targets: ["n[1-3]"], vars: {rack: 1}, defaults: {user: other}}}
        """
    )
    code = (
        "import sys; from lom.inventory.load import load_inventory\n"
        f"found = load_inventory({str(tmp_path / 'inventory.yaml')!r})\n"
        "print(len(found.targets), found.targets['n2'].user, 'pydantic' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["4", "other", "False"]
