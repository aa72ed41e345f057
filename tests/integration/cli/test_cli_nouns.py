"""The commands beside ``run``: each prints a table for people and one document for programs."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest
import yaml

from lom.settings.values import KEYS
from tests.support.errors import reason


def names(rows: list[dict[str, Any]], key: str) -> list[str]:
    return [row[key] for row in rows]


def test_action_list(fleet: Any) -> None:
    document = fleet("action", "list", "-o", "json").document
    actions = names(document["actions"], "action")
    assert {"noop", "host.info", "host.exec", "t.typed"} <= set(actions)
    assert actions == sorted(actions)
    (typed,) = [one for one in document["actions"] if one["action"] == "t.typed"]
    assert typed == {
        "action": "t.typed",
        "risk": "read",
        "plugins": ["t-typed"],
        "description": "Does t.typed.",
    }
    assert "t.typed" in fleet("action", "list").text


def test_action_show(fleet: Any) -> None:
    document = fleet("action", "show", "t.typed", "-o", "json").document
    (offer,) = document["offers"]
    assert offer["input_schema"]["properties"]["gpu_index"]["maximum"] == 7
    text = fleet("action", "show", "t.typed").text
    assert "plugin t-typed 1.0.0, risk read, timeout 60 s" in text
    assert "gpu_index  integer  no      Which GPU." in text


def test_plugin_list_tells_what_is_broken_and_why(fleet: Any) -> None:
    fleet.write("plugins/bad/plugin.json", "{}")
    fleet.write(
        "more/t-typed/plugin.json", (fleet.folder / "plugins/t-typed/plugin.json").read_text()
    )
    fleet.write("more/t-typed/main.sh", "exit 0\n")
    done = fleet("plugin", "list", "--plugin-path", "more", "-o", "json")
    rows = {(row["plugin"], row["status"]): row for row in done.document["plugins"]}
    assert done.code == 0
    assert rows["bad", "broken"]["reason"]
    assert rows["noop", "ok"]["actions"] == ["noop"]
    statuses = {status for name, status in rows if name == "t-typed"}
    assert statuses == {"ok", "shadowed"}


def test_plugin_check(fleet: Any) -> None:
    for path in ("plugins/t-typed", "plugins/t-typed/plugin.json", "t-typed"):
        done = fleet("plugin", "check", path)
        assert (done.code, done.text) == (0, "ok: t-typed 1.0.0 offers t.typed\n")
    manifest = json.loads((fleet.folder / "plugins/t-typed/plugin.json").read_text())
    del manifest["entrypoint"]
    fleet.write("plugins/t-typed/plugin.json", json.dumps(manifest))
    done = fleet("plugin", "check", "plugins/t-typed", "-o", "json")
    assert done.code == 2
    assert reason(done) == "manifest_invalid"
    assert "entrypoint" in done.stderr


def test_target_list(fleet: Any) -> None:
    document = fleet("target", "list", "-o", "json").document
    assert names(document["targets"], "target") == ["web1", "web2", "db1"]
    assert document["groups"] == {"web": ["web1", "web2"]}
    chosen = fleet("target", "list", "-t", "web and not web1", "-o", "csv").text
    assert names(list(csv.DictReader(io.StringIO(chosen))), "target") == ["web2"]


def test_target_list_without_an_inventory(rune: Any) -> None:
    done = rune("target", "list")
    assert done.code == 0
    assert "the inventory is empty" in done.stderr


def test_target_show_has_secrets_by_reference_only(fleet: Any) -> None:
    fleet.write(
        "inventory.yaml",
        "targets:\n  web1:\n    host: 10.0.0.7\n    user: ops\n    port: 2222\n"
        "    vars: {rack: r1}\n    ssh: {password: env:WEB_PASSWORD}\n",
    )
    done = fleet("target", "show", "web1", "-o", "json", env={"WEB_PASSWORD": "hunter2"})
    (target,) = done.document["targets"]
    assert target["address"] == "ops@10.0.0.7:2222"
    assert target["vars"] == {"rack": "r1"}
    assert target["ssh"]["password"] == "env:WEB_PASSWORD"
    text = fleet("target", "show", "web1").text
    assert "rack: r1" in text
    assert "password: env:WEB_PASSWORD" in text
    assert "None" not in text
    assert "null" not in text


def test_target_ping(fleet: Any, sshd: Any) -> None:
    fleet.write("inventory.yaml", sshd.inventory(2) + "  nobody: {targets: []}\n")
    done = fleet("target", "ping")
    assert done.code == 0, done.stderr
    assert done.text.splitlines()[0].split()[:4] == ["TARGET", "OUTCOME", "LATENCY", "TRANSPORT"]
    assert "ssh" in done.text.splitlines()[1]
    dead = fleet("target", "ping", "-t", "root@127.0.0.1:1", "-o", "json")
    assert dead.code == 4
    assert dead.document["results"][0]["outcome"] == "unreachable"


def test_config_show_tells_value_and_source(fleet: Any) -> None:
    path = fleet.write("rune.yaml", "concurrency: 5\n")
    done = fleet("config", "show", "-o", "json", "-i", "inventory.yaml", env={"NO_COLOR": "1"})
    rows = {row["setting"]: (row["value"], row["source"]) for row in done.document["settings"]}
    assert tuple(rows) == KEYS
    assert rows["concurrency"] == (5, f"{path}:1")
    assert rows["output"] == ("json", "flag")
    assert rows["inventory"] == (["inventory.yaml"], "flag")
    assert rows["color"] == ("never", "environment variable NO_COLOR")
    assert rows["timeout_s"] == (None, "default")
    assert f"{path}:1" in fleet("config", "show").text


def test_doctor_is_content_with_a_sound_place(fleet: Any) -> None:
    done = fleet("doctor", "-o", "json")
    assert done.code == 0, done.text
    checks = {one["check"]: one for one in done.document["checks"]}
    assert checks["python"]["status"] == "ok"
    assert checks["inventory"]["found"].startswith("3 targets, 1 groups in")
    assert checks["target web1"]["found"].startswith("answered over local in")
    assert done.document["summary"]["fail"] == 0
    assert all(one["advice"] for one in done.document["checks"] if one["status"] != "ok")


def test_doctor_finds_what_is_wrong_and_says_what_to_do(fleet: Any) -> None:
    fleet.write("plugins/bad/plugin.json", "{}")
    done = fleet("doctor", "-t", "web1 or root@127.0.0.1:1")
    assert done.code == 1
    assert "fail  target root@127.0.0.1:1: unreachable:" in done.text
    assert "      Check that sshd runs on the host" in done.text
    assert "warn  plugin bad:" in done.text
    assert "ok    target web1:" in done.text


def test_doctor_reports_a_broken_configuration_and_inventory(fleet: Any) -> None:
    fleet.write("rune.yaml", "concurency: 3\n")
    fleet.write("inventory.yaml", "targets: [\n")
    done = fleet("doctor", "-o", "json")
    assert done.code == 1
    checks = {one["check"]: one["status"] for one in done.document["checks"]}
    assert (checks["config"], checks["inventory"]) == ("fail", "fail")


@pytest.mark.parametrize(
    ("command", "key"),
    [
        (["action", "list"], "actions"),
        (["plugin", "list"], "plugins"),
        (["target", "list"], "targets"),
        (["config", "show"], "settings"),
    ],
)
def test_lists_in_every_format(fleet: Any, command: list[str], key: str) -> None:
    rows = fleet(*command, "-o", "json").document[key]
    assert yaml.safe_load(fleet(*command, "-o", "yaml").stdout)[key]
    lines = fleet(*command, "-o", "ndjson").text.splitlines()
    assert len([json.loads(line) for line in lines]) == len(rows)
    table = list(csv.reader(io.StringIO(fleet(*command, "-o", "csv").text)))
    assert len(table) == len(rows) + 1
    assert fleet(*command).text.count("\n") == len(rows) + 1
