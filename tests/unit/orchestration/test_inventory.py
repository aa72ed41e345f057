from __future__ import annotations

import dataclasses
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from lmm.contract import spec_validator
from lmm.model import Become, SecretRef, SshSettings, Target
from lmm.register import choices
from lom.inventory.load import load_inventory
from lom.inventory.model import Inventory
from lom.planning.options import RunOptions
from lom.planning.targets import adjusted

DOCS = Path(__file__).parents[3] / "docs" / "inventory.md"
SSH = spec_validator("inventory_v1").schema["$defs"]["ssh"]["properties"]

Load = Callable[[str], Inventory]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def load(text: str) -> Inventory:
        file = tmp_path / "inventory.yaml"
        file.write_text(textwrap.dedent(text), encoding="utf-8")
        return load_inventory(file)

    return load


def test_the_format_that_outsiders_rely_on(load: Load) -> None:
    inventory = load(
        """
        defaults: {transport: ssh, user: ops, vars: {site: ams1}}
        targets:
          gpu01: {host: 10.0.0.11, port: 22, vars: {sku: h200, rack: r3}}
          build: {transport: local}
        groups:
          gpu: {targets: ["gpu[01-64]"], groups: [], vars: {}, defaults: {user: gpuops}}
        """
    )
    names = tuple(f"gpu{number:02}" for number in range(1, 65))
    assert list(inventory.targets) == ["gpu01", "build", *names[1:]]
    assert inventory.groups == {"gpu": names}
    assert inventory.targets["gpu01"] == Target(
        "gpu01",
        host="10.0.0.11",
        port=22,
        user="gpuops",
        vars={"site": "ams1", "sku": "h200", "rack": "r3"},
        groups=("gpu",),
    )
    assert inventory.targets["build"].transport == "local"
    assert inventory.targets["gpu64"].address == "gpu64"
    assert inventory.defaults.user == "ops"


def test_every_setting_arrives(load: Load, tmp_path: Path) -> None:
    inventory = load(
        """
        targets:
          a:
            host: "[2001:db8::1]"
            transport: openssh
            ssh:
              identity_files: [keys/id, /abs/id, ~/id]
              certificate_file: keys/id-cert.pub
              password: env:PW
              passphrase: file:secrets/passphrase
              use_agent: false
              host_key_policy: accept-new
              known_hosts: [hosts]
              config_file: ssh_config
              proxy_jump: ops@b,c:2222
              connect_timeout_s: 5
              banner_timeout_s: 6.5
              auth_timeout_s: 7
              keepalive_s: 0
              connect_attempts: 1
              options: {Compression: true, ServerAliveInterval: 3, Ciphers: aes128-ctr}
            become: {user: alice, password: "file:~/sudo"}
        """
    )
    target = inventory.targets["a"]
    home = os.path.expanduser("~")
    assert target.host == "2001:db8::1"
    assert target.become == Become("alice", SecretRef(f"file:{home}/sudo"))
    assert target.ssh == SshSettings(
        identity_files=(f"{tmp_path}/keys/id", "/abs/id", f"{home}/id"),
        certificate_file=f"{tmp_path}/keys/id-cert.pub",
        password=SecretRef("env:PW"),
        passphrase=SecretRef(f"file:{tmp_path}/secrets/passphrase"),
        use_agent=False,
        host_key_policy="accept-new",
        known_hosts=(f"{tmp_path}/hosts",),
        config_file=f"{tmp_path}/ssh_config",
        proxy_jump="ops@b,c:2222",
        connect_timeout_s=5,
        banner_timeout_s=6.5,
        auth_timeout_s=7,
        keepalive_s=0,
        connect_attempts=1,
        options={"Compression": "yes", "ServerAliveInterval": "3", "Ciphers": "aes128-ctr"},
    )


def test_the_schema_and_the_settings_have_the_same_fields_and_defaults() -> None:
    fields = {one.name for one in dataclasses.fields(SshSettings)}
    assert fields == set(SSH)
    for name in fields - {"identity_files", "known_hosts", "options"}:
        assert SSH[name].get("default") == getattr(SshSettings(), name)


@pytest.mark.parametrize(
    ("groups", "own", "expected"),
    [
        ("{}", "{}", "defaults"),
        ("{g: {targets: [t], defaults: {user: g}}}", "{}", "g"),
        ("{g: {targets: [t], defaults: {user: g}}}", "{user: own}", "own"),
        ("{g: {targets: [t], defaults: {user: g}}}", "{user: null}", None),
        # equals: the later one of the file
        (
            "{b: {targets: [t], defaults: {user: b}}, a: {targets: [t], defaults: {user: a}}}",
            "{}",
            "a",
        ),
        # inner over outer, in whichever order they stand
        (
            "{o: {groups: [i], defaults: {user: o}}, i: {targets: [t], defaults: {user: i}}}",
            "{}",
            "i",
        ),
        (
            "{i: {targets: [t], defaults: {user: i}}, o: {groups: [i], defaults: {user: o}}}",
            "{}",
            "i",
        ),
        # a group reached over two ways counts where it is deepest
        (
            "{i: {targets: [t], defaults: {user: i}}, m: {groups: [i], defaults: {user: m}},"
            " o: {groups: [m, i], defaults: {user: o}}}",
            "{}",
            "i",
        ),
    ],
)
def test_precedence(load: Load, groups: str, own: str, expected: str | None) -> None:
    inventory = load(f"defaults: {{user: defaults}}\ntargets: {{t: {own}}}\ngroups: {groups}")
    assert inventory.targets["t"].user == expected


def test_mappings_merge_per_key(load: Load) -> None:
    inventory = load(
        """
        defaults:
          vars: {a: 1, b: 1, c: 1}
          ssh: {keepalive_s: 1, use_agent: false, options: {A: a, B: a}}
          become: {password: env:SUDO}
        targets:
          t: {vars: {c: 3}, ssh: {keepalive_s: 3, options: {B: c}}, become: alice}
          plain: {become: false}
          root: {become: true}
        groups:
          g: {targets: [t], vars: {b: 2, c: 2}, defaults: {vars: {b: 9}}}
        """
    )
    target = inventory.targets["t"]
    assert target.vars == {"a": 1, "b": 2, "c": 3}
    assert target.ssh == SshSettings(keepalive_s=3, use_agent=False, options={"A": "a", "B": "c"})
    assert target.become == Become("alice", SecretRef("env:SUDO"))
    assert inventory.targets["plain"].become is None
    assert inventory.targets["root"].become == Become("root", SecretRef("env:SUDO"))


def test_groups_know_all_their_members_and_targets_their_groups(load: Load) -> None:
    inventory = load(
        """
        targets: {c: {}, b: {}, a: {}}
        groups:
          empty:
          inner: {targets: [a, b]}
          outer: {targets: [c], groups: [middle, inner]}
          middle: {groups: [inner]}
        """
    )
    assert inventory.groups == {
        "empty": (),
        "inner": ("b", "a"),
        "outer": ("c", "b", "a"),
        "middle": ("b", "a"),
    }
    assert inventory.targets["a"].groups == ("outer", "middle", "inner")


def test_local_is_this_machine_whatever_the_defaults_say(load: Load) -> None:
    inventory = load("defaults: {transport: openssh}\ntargets: {local: {vars: {a: 1}}, b: {}}")
    assert inventory.targets["local"] == Target("local", transport="local", vars={"a": 1})
    assert inventory.targets["b"].transport == "openssh"


def test_a_range_of_targets_takes_one_host_or_one_each(load: Load) -> None:
    inventory = load(
        """
        targets:
          a[08-10]: {host: "10.0.0.[8-10]"}
          b[1-2]: {host: gate, port: 22}
        """
    )
    assert {name: target.host for name, target in inventory.targets.items()} == {
        "a08": "10.0.0.8",
        "a09": "10.0.0.9",
        "a10": "10.0.0.10",
        "b1": "gate",
        "b2": "gate",
    }


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("on", "on"),
        ("True", "True"),
        ("true", True),
        ("false", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("012", "012"),
        ("12:30", "12:30"),
        ("0x1F", "0x1F"),
        ("1_000", "1_000"),
        ("2024-01-01", "2024-01-01"),
        ("-7", -7),
        ("1.50", 1.5),
        ("1e3", 1000.0),
        (".inf", ".inf"),
        ("'5'", "5"),
        ("[1, {a: b}]", [1, {"a": "b"}]),
        ("env:HOME", "env:HOME"),
        ("file:/etc/passwd", "file:/etc/passwd"),
    ],
)
def test_values_are_read_as_json_writes_them(load: Load, text: str, value: object) -> None:
    assert load(f"targets: {{t: {{vars: {{v: {text}}}}}}}").targets["t"].vars["v"] == value


def test_numbers_are_fine_as_names(load: Load) -> None:
    assert list(load("targets: {1001: {}, true: {}}").targets) == ["1001", "true"]


@pytest.mark.parametrize("text", ["", "# nothing\n", "targets:\ngroups:\ndefaults:\n", "{}"])
def test_an_empty_file_is_an_empty_inventory(load: Load, text: str) -> None:
    inventory = load(text)
    assert not inventory.targets
    assert not inventory.groups


def test_every_inventory_of_the_docs_loads(tmp_path: Path) -> None:
    fences = re.findall(r"^```(yaml|json) inventory\n(.*?)^```", DOCS.read_text(), re.M | re.S)
    assert len(fences) == 3
    for number, (kind, text) in enumerate(fences):
        file = tmp_path / f"{number}.{kind}"
        file.write_text(text)
        assert load_inventory(file).targets


def test_the_docs_name_every_key() -> None:
    text = DOCS.read_text()
    fields = [*SSH, *choices()]
    assert [name for name in fields if f"`{name}`" not in text] == []


def test_nothing_heavy_is_imported_before_there_is_something_to_load() -> None:
    code = (
        "import sys, lom.inventory.load, lom.inventory.selectors, lom.planning.params\n"
        "known = lom.inventory.load.load_inventory([])\n"
        "lom.inventory.selectors.select(['web[1-3]', 'local'], known)\n"
        "heavy = {'yaml', 'pydantic', 'jsonschema', 'jsonschema_rs', 'paramiko', 'rich', 'boto3'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=DOCS.parents[1],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_become_of_a_run_keeps_the_password_of_the_target(load: Load) -> None:
    """sudo asks for that of who logs in, whoever the plugin runs as."""
    targets = load(
        """
        targets:
          t: {become: {password: env:SUDO}}
          plain: {}
        """
    ).targets
    wanted = RunOptions(become=Become("alice"))
    assert adjusted(targets["t"], wanted).become == Become("alice", SecretRef("env:SUDO"))
    assert adjusted(targets["plain"], wanted).become == Become("alice")
    own = RunOptions(become=Become("alice", SecretRef("env:OWN")))
    assert adjusted(targets["t"], own).become == own.become
