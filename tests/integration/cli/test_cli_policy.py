"""Rules, locked plugins and the audit log, as the command line applies and tells them."""

from __future__ import annotations

import json
import os
import pwd
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.errors import reason

ME = pwd.getpwuid(os.getuid()).pw_name
AUDIT = ".local/state/rune/audit.jsonl"

# The machine's own policy is at a fixed place; a program that starts RUNE may put it elsewhere.
WITH_SYSTEM_POLICY = """\
import sys
import lom.settings.values
lom.settings.values.SYSTEM_POLICY = sys.argv[1]
from lom.cli import main
sys.exit(main(sys.argv[2:]))
"""


def audit_lines(folder: Path | None = None) -> list[dict[str, Any]]:
    path = (folder or Path.home()) / AUDIT if folder is None else folder
    return [json.loads(line) for line in path.read_text().splitlines()]


NO_WEB = """\
policy:
  rules:
    - name: not-the-web
      actions: [noop]
      targets: web
      effect: deny
"""


# -- rules -------------------------------------------------------------------------------------


def test_a_denied_run_ends_with_3_and_names_rule_place_and_targets(fleet: Any) -> None:
    path = fleet.write("rune.yaml", NO_WEB)
    done = fleet("run", "noop", "-t", "all", "-o", "json")
    assert done.code == 3
    assert reason(done) == "policy_denied"
    assert f"rule 'not-the-web' ({path}, line 3) denies noop on 2 target(s): web1, web2" in (
        done.stderr
    )
    assert f"user {ME}, risk read" in done.stderr
    assert "hint: " in done.stderr
    assert fleet("run", "noop", "-t", "db1", "-q").code == 0
    assert fleet("run", "t.typed", "-t", "web1", "-q").code == 0


def test_a_dry_run_tells_the_decision_and_records_nothing(fleet: Any) -> None:
    fleet.write("rune.yaml", NO_WEB)
    denied = fleet("run", "noop", "-t", "all", "--dry-run", "-o", "json")
    assert denied.code == 3
    policy = denied.document["policy"]
    assert (policy["allowed"], policy["user"], policy["reason"]) == (False, ME, "policy_denied")
    assert [(one["rule"], one["effect"], one["targets"]) for one in policy["verdicts"]] == [
        ("not-the-web", "deny", 2),
        (None, "allow", 1),
    ]
    shown = fleet("run", "noop", "-t", "all", "--dry-run")
    assert shown.code == 3
    assert "policy: rule 'not-the-web'" in shown.text
    allowed = fleet("run", "noop", "-t", "db1", "--dry-run")
    assert (allowed.code, f"policy: allowed for user {ME}" in allowed.text) == (0, True)
    assert not (Path.home() / AUDIT).exists()


def test_other_ways_to_the_targets_are_held_to_the_rules(fleet: Any) -> None:
    fleet.write("rune.yaml", "policy: {default: deny}\n")
    assert fleet("target", "ping", "-t", "web1", "-o", "json").code == 3
    code = "from lom import Orchestrator\nOrchestrator().run('noop')\n"
    assert "PolicyDenied: the policy" in fleet.python(code).stderr


def test_the_machines_policy_cannot_be_loosened(fleet: Any) -> None:
    system = fleet.write(
        "etc/policy.yaml", "rules:\n  - {name: never, actions: noop, effect: deny}\n"
    )
    fleet.write("rune.yaml", "policy: {default: allow}\n")
    empty = fleet.write("empty.yaml", "")
    for extra in ({}, {"RUNE_CONFIG": str(empty)}):
        os.environ.update(extra)
        done = fleet.python(
            WITH_SYSTEM_POLICY, str(system), "run", "noop", "--yes", "-i", "inventory.yaml"
        )
        assert done.code == 3
        assert "rule 'never'" in done.stderr
    done = fleet.python(WITH_SYSTEM_POLICY, str(system), "run", "t.typed", "-q")
    assert done.code == 0
    library = (
        "import sys, lom.settings.values\nlom.settings.values.SYSTEM_POLICY = sys.argv[1]\n"
        "from lom import Orchestrator\nfrom lom.settings.values import Settings\n"
        "Orchestrator(settings=Settings()).run('noop')\n"
    )
    assert "PolicyDenied: rule 'never'" in fleet.python(library, str(system)).stderr


def test_whom_the_machine_cannot_name_gets_in_only_where_nobody_is_bound(fleet: Any) -> None:
    nameless = WITH_SYSTEM_POLICY.replace(
        "import sys\n", "import pwd, sys\npwd.getpwuid = lambda uid: {}[uid]\n"
    )
    for identities, code in (("{}", 0), ("{rune: SUDO_USER}", 2)):
        system = fleet.write("etc/policy.yaml", f"default: allow\nidentities: {identities}\n")
        done = fleet.python(nameless, str(system), "run", "noop", "-q")
        assert done.code == code, done
    assert "has no name on this machine" in done.stderr


def test_a_decision_reads_the_machines_policy_once(fleet: Any) -> None:
    """Also for a program that made its settings by itself: who asks, rules and log must agree."""
    system = fleet.write("etc/policy.yaml", "default: allow\n")
    code = (
        "import sys, lom.settings.values\nlom.settings.values.SYSTEM_POLICY = sys.argv[1]\n"
        "from lom import Orchestrator\nfrom lom.settings import load\n"
        "rune = Orchestrator(settings=lom.settings.values.Settings())\n"
        "plan, read, count = rune.plan('noop'), load.system_file, []\n"
        "load.system_file = lambda: count.append(1) or read()\n"
        "rune.start(plan).wait()\nprint(len(count))\nrune.close()\n"
    )
    assert fleet.python(code, str(system)).text == "1\n"


@pytest.mark.parametrize("name", ["etc/policy.yaml", "rune.yaml"])
def test_what_stands_when_the_run_starts_decides(fleet: Any, name: str) -> None:
    """However long it has waited: for its parameters, or for another run with its key."""
    system = fleet.write("etc/policy.yaml", "default: allow\n")
    command = (str(system), "run", "noop", "--params", "-")
    with fleet.start(
        *command, program=("-c", WITH_SYSTEM_POLICY), stdin=subprocess.PIPE
    ) as waiting:
        waiting.stdin.write(b" " * 1_000_000)  # more than a pipe holds: it reads, so it has begun
        waiting.stdin.flush()
        denial = "default: deny\n"
        fleet.write(name, denial if name == "etc/policy.yaml" else f"policy: {{{denial[:-1]}}}\n")
        _, err = waiting.communicate(b"{}", timeout=60)
    assert waiting.returncode == 3, err
    assert "the default is deny" in err.decode()


def test_with_the_machines_inventory_other_hosts_are_denied(fleet: Any) -> None:
    fleet.write("etc/hosts.yaml", "targets:\n  web1: {transport: local, vars: {rack: r1}}\n")
    system = fleet.write("etc/policy.yaml", "inventory: hosts.yaml\n")
    run = [WITH_SYSTEM_POLICY, str(system), "run", "noop", "-q", "-t"]
    assert fleet.python(*run, "web1").code == 0
    # the same name, but this folder's inventory has it in a group
    done = fleet.python(*run, "web1", "-i", "inventory.yaml")
    assert done.code == 3
    assert "not as they stand in the policy's inventory" in done.stderr
    assert fleet.python(*run, "ops@10.0.0.1").code == 3


def test_doctor_tells_of_a_broken_policy_of_the_machine(fleet: Any) -> None:
    system = fleet.write("etc/policy.yaml", "rulez: []\n")
    done = fleet.python(WITH_SYSTEM_POLICY, str(system), "doctor", "-o", "json")
    assert done.code == 1
    [config] = [check for check in done.document["checks"] if check["check"] == "config"]
    assert "did you mean 'rules'?" in config["found"]
    assert fleet.python(WITH_SYSTEM_POLICY, str(system), "run", "noop").code == 2


def test_an_identity_counts_only_where_the_machines_policy_says_so(fleet: Any) -> None:
    rules = "default: deny\nrules:\n  - {name: only-ann, users: ann, effect: allow}\n"
    plain = fleet.write("etc/plain.yaml", rules)
    os.environ["RUNE_IDENTITY"] = "ann"
    assert fleet.python(WITH_SYSTEM_POLICY, str(plain), "run", "noop").code == 3
    [denied] = audit_lines()
    assert (denied["who"]["user"], denied["who"]["identity"], denied["who"]["trusted"]) == (
        ME,
        "ann",
        False,
    )


# -- locked plugins ----------------------------------------------------------------------------


def test_lock_verify_and_run(fleet: Any) -> None:
    first = fleet("plugin", "lock", "-o", "json")
    assert first.code == 0
    assert {row["change"] for row in first.document["plugins"]} == {"added"}
    assert fleet("plugin", "verify", "-q").code == 0
    assert fleet("run", "t.typed", "-q").code == 0

    script = fleet.folder / "plugins" / "t-typed" / "main.sh"
    script.write_text(script.read_text() + "# changed\n")
    verified = fleet("plugin", "verify", "-o", "json")
    assert verified.code == 1
    assert [row["plugin"] for row in verified.document["plugins"] if row["status"] != "ok"] == [
        "t-typed"
    ]
    refused = fleet("run", "t.typed", "-o", "json")
    assert (refused.code, reason(refused)) == (3, "plugin_not_locked")
    assert "main.sh has changed" in refused.stderr
    assert fleet("run", "noop", "-q").code == 0
    dry = fleet("run", "t.typed", "--dry-run", "-o", "json")
    assert (dry.code, dry.document["policy"]["reason"]) == (3, "plugin_not_locked")

    again = fleet("plugin", "lock", "t-typed", "-o", "json")
    changes = {row["plugin"]: row["change"] for row in again.document["plugins"]}
    assert changes.pop("t-typed") == "changed"
    assert set(changes.values()) == {"unchanged"}
    assert fleet("run", "t.typed", "-q").code == 0


def test_a_plugin_that_is_gone_or_new(fleet: Any) -> None:
    quiet = fleet("plugin", "lock", "-q")
    assert (quiet.code, quiet.text, quiet.stderr) == (0, "", "")
    fleet.plugin("t.new", "true\n")
    for name in ("main.sh", "plugin.json"):
        (fleet.folder / "plugins" / "t-wipe" / name).unlink()
    rows = fleet("plugin", "verify", "-o", "json").document["plugins"]
    assert {row["plugin"]: row["details"] for row in rows if row["details"]} == {
        "t-new": "it is not in the lock file",
        "t-wipe": "there is no such plugin",
    }
    rows = fleet("plugin", "lock", "-o", "json").document["plugins"]
    changes = {row["plugin"]: row["change"] for row in rows}
    assert (changes["t-new"], changes["t-wipe"]) == ("added", "removed")
    assert fleet("plugin", "verify", "-q").code == 0


def test_lock_and_verify_say_what_they_need(rune: Any) -> None:
    done = rune("plugin", "verify")
    assert (done.code, "write one with `rune plugin lock`" in done.stderr) == (2, True)
    done = rune("plugin", "lock", "nop")
    assert (done.code, "did you mean 'noop'?" in done.stderr) == (2, True)
    assert rune("plugin", "lock", "noop", "--file", "here.json", "-q").code == 0
    assert json.loads((rune.folder / "here.json").read_text())["plugins"].keys() == {"noop"}
    rune.write("rune.yaml", "plugin_lock: here.json\n")
    assert rune("run", "noop", "-q").code == 0
    assert rune("run", "host.info", "-q").code == 3


# -- the audit log -----------------------------------------------------------------------------


def test_every_run_leaves_who_what_where_and_how_it_ended(fleet: Any) -> None:
    assert fleet("run", "t.broken", "-t", "web", "-q").code == 1
    assert fleet("run", "t.wipe", "-t", "db1", "-q").code == 3
    admitted, finished, denied = audit_lines()
    assert admitted["event"] == "run.admitted"
    assert (admitted["who"]["user"], admitted["who"]["uid"]) == (ME, os.getuid())
    assert admitted["action"] == "t.broken"
    assert admitted["targets"] == {"count": 2, "names": ["web1", "web2"]}
    [plugin] = admitted["plugins"]
    assert (plugin["name"], plugin["version"], len(plugin["sha256"])) == ("t-broken", "1.0.0", 64)
    assert finished["run_id"] == admitted["run_id"]
    assert (finished["status"], finished["summary"]["failed"]) == ("failed", 2)
    assert (denied["event"], denied["reason"]) == ("run.denied", "confirmation_required")


def test_no_secret_is_in_the_log(fleet: Any) -> None:
    token = {"token": {"type": "string", "writeOnly": True}, "name": {"type": "string"}}
    fleet.plugin("t.secret", "true\n", input_schema={"type": "object", "properties": token})
    os.environ["MY_TOKEN"] = "hunter2-from-env"
    written = fleet("run", "t.secret", "-p", "token=hunter2-written", "-p", "name=open", "-q")
    assert written.code == 5, written.stderr
    assert fleet("run", "noop", "--secret", "a.b=env:MY_TOKEN", "-p", "name=open", "-q").code == 0
    text = (Path.home() / AUDIT).read_text()
    assert "hunter2" not in text
    first, _, second, _ = audit_lines()
    assert first["parameters"] == {"values": {"token": "********", "name": "open"}}
    assert second["parameters"] == {"values": {"a": {"b": "********"}, "name": "open"}}


def test_verify_finds_what_was_changed(fleet: Any) -> None:
    for _ in range(2):
        assert fleet("run", "noop", "-q").code == 0
    good = fleet("audit", "verify", "-o", "json")
    assert (good.code, good.document["ok"], good.document["lines"]) == (0, True, 4)
    shown = fleet("audit", "show", "-o", "json").document["lines"]
    assert [line["event"] for line in shown] == ["run.admitted", "run.finished"] * 2
    assert shown[-1]["hash"] == good.document["last_hash"]
    assert len(fleet("audit", "show", "--last", "1", "-o", "ndjson").text.splitlines()) == 1
    assert "run.finished" in fleet("audit", "show").text
    assert fleet("audit", "verify", "--expect", shown[1]["hash"], "-q").code == 0
    assert fleet("audit", "verify", "--expect", "0" * 64, "-q").code == 1

    path = Path.home() / AUDIT
    path.write_text(path.read_text().replace('"ok":1', '"ok":9', 1))
    bad = fleet("audit", "verify")
    assert bad.code == 1
    assert f"{path}, line 2: it is not as it was written" in bad.text
    assert fleet("audit", "verify", "nowhere.jsonl").code == 2


def test_a_log_that_cannot_be_written_warns_or_refuses(fleet: Any) -> None:
    (fleet.folder / "state").write_text("a file where a folder should be")
    fleet.write("rune.yaml", "ledger: false\naudit: {log: state/audit.jsonl}\n")
    done = fleet("run", "noop", "-o", "json")
    assert (done.code, done.document["status"]) == (0, "ok")
    assert "warning: the audit log" in done.stderr
    fleet.write("rune.yaml", "ledger: false\naudit: {log: state/audit.jsonl, required: true}\n")
    done = fleet("run", "noop", "-o", "json")
    assert (done.code, reason(done)) == (3, "audit_unavailable")


def test_a_run_that_one_required_log_lacks_is_denied_in_the_others(fleet: Any) -> None:
    (fleet.folder / "broken").write_text("")
    system = fleet.write(
        "etc/policy.yaml", f"audit: {{log: {fleet.folder}/broken/log, required: true}}\n"
    )
    fleet.write("rune.yaml", "audit: {log: own.jsonl}\n")
    assert fleet.python(WITH_SYSTEM_POLICY, str(system), "run", "noop").code == 3
    events = [line["event"] for line in audit_lines(fleet.folder / "own.jsonl")]
    assert events == ["run.admitted", "run.denied"]


def test_audit_false_writes_none(fleet: Any) -> None:
    fleet.write("rune.yaml", "audit: false\n")
    assert fleet("run", "noop", "-q").code == 0
    assert not (Path.home() / AUDIT).exists()
    done = fleet("audit", "show")
    assert (done.code, "runs are not recorded here" in done.stderr) == (2, True)


@pytest.mark.parametrize("variable", ["RUNE_STATE_DIR", "XDG_STATE_HOME"])
def test_the_log_is_in_the_state_directory(fleet: Any, variable: str) -> None:
    os.environ[variable] = str(fleet.folder / "state")
    assert fleet("run", "noop", "-q").code == 0
    below = "rune/audit.jsonl" if variable == "XDG_STATE_HOME" else "audit.jsonl"
    assert len(audit_lines(fleet.folder / "state" / below)) == 2
