from __future__ import annotations

import contextlib
import json
import re
import textwrap
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lmm.errors import RequestError
from lmm.register import choices
from lom.documents import yaml_values
from lom.inventory.load import load_inventory
from lom.inventory.model import Inventory

Load = Callable[[str], Inventory]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def load(text: str) -> Inventory:
        file = tmp_path / "inventory.yaml"
        file.write_text(textwrap.dedent(text), encoding="utf-8")
        return load_inventory(file)

    return load


@pytest.fixture
def faults(tmp_path: Path, load: Load) -> Callable[[str], list[str]]:
    def faults(text: str) -> list[str]:
        with pytest.raises(RequestError) as caught:
            load(text)
        assert caught.value.reason == "inventory_invalid"
        found: list[str] = caught.value.data["validation_errors"]
        assert caught.value.message.startswith(found[0])
        return [one.replace(f"{tmp_path}/", "") for one in found]

    return faults


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("- a", "inventory.yaml:1: not a mapping of names to settings @ $"),
        ("targets: [a]", "inventory.yaml:1: not a mapping of names to settings @ $.targets"),
        (
            "target: {}",
            "inventory.yaml:1: unknown key 'target'; did you mean 'targets'? @ $.target",
        ),
        (
            "targets:\n  a:\n    prot: 22",
            "inventory.yaml:3: unknown key 'prot'; did you mean 'port'? @ $.targets.a.prot",
        ),
        (
            "targets: {a: {port: 99999}}",
            "inventory.yaml:1: 99999 is greater than the maximum of 65535 @ $.targets.a.port",
        ),
        (
            "targets: {a: {port: 0}}",
            "inventory.yaml:1: 0 is less than the minimum of 1 @ $.targets.a.port",
        ),
        (
            "targets: {a: {port: '22'}}",
            'inventory.yaml:1: "22" is not a whole number @ $.targets.a.port',
        ),
        (
            "targets: {a: {transport: opnssh}}",
            "inventory.yaml:1: \"opnssh\" is not 'local', 'ssh', 'openssh', 'ssm' or 'auto';"
            " did you mean 'openssh'? @ $.targets.a.transport",
        ),
        *(
            (
                f"targets: {{a: {{host: '{host}'}}}}",
                "inventory.yaml:1: a host holds no port; write it under port @ $.targets.a.host",
            )
            for host in ("h:22", "127.0.0.1:2222", "[::1]:22")
        ),
        *(
            (
                f"targets: {{a: {{become: {word}}}}}",
                "inventory.yaml:1: write true or false, the name of a user, or a mapping;"
                " yes, no, on and off are texts here @ $.targets.a.become",
            )
            for word in ("yes", "No", "on", "off")
        ),
        (
            "targets: {a: {ssh: {use_agent: yes}}}",
            'inventory.yaml:1: "yes" is not true or false @ $.targets.a.ssh.use_agent',
        ),
        (
            "targets: {a: {ssh: {keepalive: 5}}}",
            "inventory.yaml:1: unknown key 'keepalive'; did you mean 'keepalive_s'?"
            " @ $.targets.a.ssh.keepalive",
        ),
        (
            "groups: {g: {defaults: {usr: x}}}",
            "inventory.yaml:1: unknown key 'usr'; did you mean 'user'? @ $.groups.g.defaults.usr",
        ),
        (
            "targets: {a: {user: 5}}",
            "inventory.yaml:1: 5 is not text; put it in quotes @ $.targets.a.user",
        ),
        (
            "targets: {a: {host: -oProxyCommand=id}}",
            "inventory.yaml:1: a text without spaces that does not start with '-' is needed"
            " @ $.targets.a.host",
        ),
        (
            "targets: {a: {user: -la}}",
            "inventory.yaml:1: a text without spaces that does not start with '-' is needed"
            " @ $.targets.a.user",
        ),
        (
            "targets: {a: {host: ops@b}}",
            "inventory.yaml:1: a host holds no '@'; write the user under user @ $.targets.a.host",
        ),
        (
            "targets: {a b: {}}",
            "inventory.yaml:1: 'a b' is not a name: letters, digits, '_', '-' and '.',"
            " starting with a letter, digit or '_' @ $.targets[\"a b\"]",
        ),
        (
            "targets: {not: {}}",
            "inventory.yaml:1: 'not' is a word of the selectors; choose another name"
            " @ $.targets.not",
        ),
        (
            "groups: {all: {}}",
            "inventory.yaml:1: 'all' is a word of the selectors; choose another name"
            " @ $.groups.all",
        ),
        (
            "targets:\n  a: {}\n  b: {}\n  a: {}",
            "inventory.yaml:4:3: the key stands here a second time (first in line 2) @ $.targets.a",
        ),
        (
            "targets: {'n[5-1]': {}}",
            "inventory.yaml:1: 'n[5-1]': the range runs backwards; write 1-5"
            ' @ $.targets["n[5-1]"]',
        ),
        (
            "targets:\n  'n[1-3]': {}\n  n2: {}",
            "inventory.yaml:3: target 'n2' is already defined by 'n[1-3]' @ $.targets.n2",
        ),
        (
            "targets: {'n[1-3]': {host: 'h[1-2]'}}",
            'inventory.yaml:1: the range has 2 hosts for 3 targets @ $.targets["n[1-3]"].host',
        ),
        (
            "targets: {local: {transport: ssh}}",
            "inventory.yaml:1: 'local' is this machine; its transport is local @ $.targets.local",
        ),
        (
            "targets: {web1: {}}\ngroups: {g: {targets: [wbe1]}}",
            "inventory.yaml:2: there is no target 'wbe1'; did you mean 'web1'?"
            " @ $.groups.g.targets[0]",
        ),
        (
            "targets: {web1: {}}\ngroups: {g: {targets: ['wbe[1-9]']}}",
            "inventory.yaml:2: there is no target 'wbe1' (nor 8 more of the range);"
            " did you mean 'web1'? @ $.groups.g.targets[0]",
        ),
        (
            "groups: {g: {targets: [h]}, h: {}}",
            "inventory.yaml:1: there is no target 'h'; it is a group: name it under groups"
            " @ $.groups.g.targets[0]",
        ),
        (
            "groups: {web: {groups: [wbe]}}",
            "inventory.yaml:1: there is no group 'wbe'; did you mean 'web'?"
            " @ $.groups.web.groups[0]",
        ),
        (
            "groups: {a: {groups: [b]}, b: {groups: [c]}, c: {groups: [b]}}",
            "inventory.yaml:1: groups in a circle: b -> c -> b @ $.groups.c.groups[0]",
        ),
        (
            "groups: {a: {groups: [a]}}",
            "inventory.yaml:1: groups in a circle: a -> a @ $.groups.a.groups[0]",
        ),
        (
            "targets: {x: {}}\ngroups: {x: {}}",
            "inventory.yaml:2: 'x' is a target, too (in inventory.yaml); rename one of them"
            " @ $.groups.x",
        ),
        (
            "targets: {x: {<<: {port: 1}}}",
            "inventory.yaml:1:15: merge keys are not read; write out what they stand for"
            ' @ $.targets.x["<<"]',
        ),
        (
            "targets:\n\t a: {}",
            "inventory.yaml:2:1: not YAML: a tab; lines are indented by spaces @ $",
        ),
        (
            "targets: {x: {vars: {n: 1e999}}}",
            "inventory.yaml:1:25: the number is too large; quote it @ $.targets.x.vars.n",
        ),
        (
            "targets: {? [a] : b}",
            "inventory.yaml:1:13: a key is a plain text @ $.targets",
        ),
    ],
)
def test_a_fault_names_file_line_path_and_remedy(
    faults: Callable[[str], list[str]], text: str, expected: str
) -> None:
    assert expected in faults(text)


def test_all_faults_are_told_at_once(faults: Callable[[str], list[str]]) -> None:
    found = faults(
        """
        targets:
          a: {port: 0, transport: x}
          b: {user: 1}
        groups:
          g: {targets: [c], groups: [h], color: red}
        """
    )
    assert [re.sub(r".* @ ", "", one) for one in found] == [
        "$.targets.a.port",
        "$.targets.a.transport",
        "$.targets.b.user",
        "$.groups.g.color",
        "$.groups.g.targets[0]",
        "$.groups.g.groups[0]",
    ]


def test_broken_entries_do_not_make_others_look_broken(faults: Callable[[str], list[str]]) -> None:
    found = faults("targets: {a: {port: 0}}\ngroups: {g: {targets: [a], groups: [h]}, h: 1}")
    assert [re.sub(r".* @ ", "", one) for one in found] == ["$.targets.a.port", "$.groups.h"]


SECRET = "hunter2secret"


@pytest.mark.parametrize(
    "text",
    [
        "targets: {a: {ssh: {password: hunter2secret}}}",
        "targets: {a: {ssh: {passphrase: [hunter2secret]}}}",
        "targets: {a: {ssh: {password: {env: hunter2secret}}}}",
        "targets: {a: {become: {password: hunter2secret}}}",
        "targets: {a: {ssh: hunter2secret}}",
        "targets: {a: {ssh: {passwd: hunter2secret}}}",
        "targets: {a: {password: hunter2secret}}",
        "targets: {a: {host: 'ops:hunter2secret@b'}}",
        "targets: {a: {ssh: {password: *hunter2secret}}}",
        "targets: {a: {ssh: {password: !hunter2secret}}}",
        "targets: {a: {ssh: {password: 'hunter2secret}}}",
        "targets: {a: {ssh: {password: %hunter2secret}}}",
        "defaults: {become: {password: hunter2secret}, port: 0}",
    ],
)
@pytest.mark.parametrize("base", [yaml.CSafeLoader, yaml.SafeLoader])
def test_a_secret_in_the_wrong_place_is_never_repeated(
    load: Load, monkeypatch: pytest.MonkeyPatch, base: type, text: str
) -> None:
    monkeypatch.setattr(yaml_values, "_loader_class", lambda: yaml_values.loader_on(base))
    with pytest.raises(RequestError) as caught:
        load(text)
    error = caught.value
    told = [*traceback.format_exception(error), error.message, json.dumps(error.data)]
    assert not [one for one in told if SECRET in one]


def test_an_alias_bomb_is_refused(faults: Callable[[str], list[str]]) -> None:
    lines = ["targets: {a: {vars: {a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    for level in range(1, 9):
        items = ", ".join([f"*a{level - 1}"] * 10)
        lines.append(f"  ,a{level}: &a{level} [{items}]")
    assert "more than 1000000 values" in faults("\n".join([*lines, "}}}"]))[0]


def test_an_alias_inside_of_itself_is_refused(faults: Callable[[str], list[str]]) -> None:
    assert "an alias inside of itself" in faults("targets: {a: {vars: {v: &v [*v]}}}")[0]


def test_bytes_that_are_not_utf8_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "inventory.yaml"
    file.write_bytes(b"targets:\n  a: {user: \xff}\n")
    with pytest.raises(RequestError, match="yaml:2: the file is not UTF-8"):
        load_inventory(file)


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=80) | st.text("{}[]:-,&*!|>'\"%@`#\n\t a1<?", max_size=40))
def test_any_text_is_an_inventory_or_a_request_error(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    file = tmp_path_factory.mktemp("any") / "inventory.yaml"
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    with contextlib.suppress(RequestError):
        assert isinstance(load_inventory(file), Inventory)


KEYS = st.sampled_from(
    [
        *("targets", "groups", "defaults", "vars", "ssh", "become", "host", "port", "user"),
        *("password", "transport", "options", "known_hosts", "use_agent", "a", "b", "n[1-3]"),
    ]
)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["a", "env:A"])
DOCUMENTS = st.recursive(
    LEAVES | KEYS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=12,
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.fixed_dictionaries(
        {
            "defaults": DOCUMENTS,
            "targets": st.dictionaries(KEYS, DOCUMENTS, max_size=3),
            "groups": st.dictionaries(KEYS, DOCUMENTS, max_size=3),
        }
    )
)
def test_any_document_is_an_inventory_or_a_request_error(
    tmp_path_factory: pytest.TempPathFactory, document: object
) -> None:
    file = tmp_path_factory.mktemp("any") / "inventory.json"
    file.write_text(json.dumps(document))
    with contextlib.suppress(RequestError):
        inventory = load_inventory(file)
        assert all(target.transport in choices() for target in inventory.targets.values())
