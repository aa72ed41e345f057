"""An account that runs RUNE for others behind sudo: they give data, and nothing of theirs runs."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lom.cli.app import rune
from tests.support.errors import reason
from tests.support.plugins import manifest_of

from .conftest import ROOT
from .everything import attempts
from .office import data
from .service import Service

pytestmark = pytest.mark.needs_root


@pytest.fixture
def trap(service: Service) -> Iterator[Path]:
    """A folder of alice's whose scripts leave a file ``caught`` if they are executed."""
    folder = service.alice.home / "trap"
    script = f"#!/bin/sh\nid -un >> {folder}/caught\necho {{}}\n"
    main = f"touch {folder}/caught\n"
    service.writes(service.alice, folder / "inv.sh", script, 0o755)
    for name in ("bash", "ssh", "cc", "make", "git"):
        service.writes(service.alice, folder / f"bin/{name}", script, 0o755)
    manifest = manifest_of("noop", version="9.9.9")
    service.writes(service.alice, folder / "plugins/noop/plugin.json", json.dumps(manifest))
    service.writes(service.alice, folder / "plugins/noop/main.sh", main)
    service.writes(service.alice, folder / "rune.yaml", "inventory: inv.sh\nledger: false\n")
    service.writes(service.alice, folder / "inventory.yaml", "targets: {evil: {host: 127.0.0.9}}\n")
    service.writes(service.alice, folder / "plugins.lock.json", "{}")
    service.writes(service.alice, folder / "config/rune/config.yaml", f"inventory: {folder}/inv.sh")
    folder.chmod(0o777)  # what the account made there would be seen
    yield folder
    assert not list(folder.rglob("*caught"))
    assert service.account.uid not in {one.stat().st_uid for one in folder.rglob("*")}


@contextmanager
def policy(service: Service, old: str, new: str) -> Iterator[None]:
    before = service.policy.read_text()
    assert old in before
    service.policy.write_text(before.replace(old, new))
    try:
        yield
    finally:
        service.policy.write_text(before)


# -- what they bring ---------------------------------------------------------------------------


def test_nothing_of_the_callers_is_executed_and_each_attempt_is_recorded(
    service: Service, trap: Path
) -> None:
    tried = [
        (("plugin", "run-local", f"{trap}/plugins/noop"), "plugin run-local"),
        (("plugin", "test", f"{trap}/plugins/noop", "--only", "output"), "plugin test"),
        (("target", "list", "-i", f"{trap}/inv.sh"), "target list --inventory"),
        (("run", "noop", "-t", f"@{trap}/inventory.yaml"), "file of selectors"),
    ]
    for arguments, command in tried:
        before = len(service.audit)
        done = service(service.alice, *arguments, "-o", "json")
        assert (done.code, reason(done)) == (3, "command_refused"), done.stderr
        [line] = service.audit[before:]
        assert (line["event"], line["command"]) == ("command.refused", command)
        assert (line["who"]["user"], line["who"]["os_user"]) == (
            service.alice.name,
            service.account.name,
        )
    log = service.folder / "log/audit.jsonl"
    shown = subprocess.check_output([service.folder / "rune", "audit", "show", log], cwd="/")
    assert all(command.encode() in shown for _, command in tried)


def test_every_command_and_option_that_could_is_refused(service: Service, trap: Path) -> None:
    """In one process of the account's, by sudo: it is the same gate each time."""
    tried = list(attempts(rune))
    assert len(tried) > 80
    lines = [[word.replace("PLACE", str(trap)) for word in line] for _, line in tried]
    before = len(service.refused())
    done = service(service.alice, program="table", cwd=trap, stdin=json.dumps(lines).encode())
    codes = dict(zip(map(tuple, lines), done.document, strict=True))
    assert {line: code for line, code in codes.items() if code != 3} == {}
    assert service.refused()[before:] == [command for command, _ in tried]


def test_folder_and_environment_of_the_caller_are_not_looked_at(
    service: Service, trap: Path
) -> None:
    places = {
        "HOME": trap,
        "PATH": trap / "bin",
        "TMPDIR": trap,
        "XDG_CONFIG_HOME": trap / "config",
        "XDG_DATA_HOME": trap,
        "XDG_STATE_HOME": trap,
        "XDG_RUNTIME_DIR": trap,
        "RUNE_CONFIG": trap / "rune.yaml",
        "RUNE_INVENTORY": trap / "inv.sh",
        "RUNE_PLUGIN_PATH": trap / "plugins",
        "RUNE_STATE_DIR": trap,
        "RUNE_DEBUG": "1",
        "AWS_CONFIG_FILE": trap / "aws",
        "PYTHONTZPATH": trap,
        "LC_ALL": f"../..{trap}",
        "_RUNE_COMPLETE": "bash_complete",
        "COMP_WORDS": f"rune target list -i {trap}/inv.sh -t ",
        "COMP_CWORD": "5",
    }
    environment = {name: str(place) for name, place in places.items()}
    for env in ({}, environment):
        done = service(service.alice, "run", "noop", "-t", "all", "-o", "json", cwd=trap, env=env)
        assert done.code == 0, done.stderr
        assert [one["target"] for one in done.document["results"]] == ["web1", "web2"]
        [plugin] = service.audit[-1 if service.audit[-1].get("plugins") else -2]["plugins"]
        assert plugin["version"] != "9.9.9"
    state = service.account.home / ".local/state/rune"
    assert {"ledger.sqlite"} <= {one.name for one in state.iterdir()}
    broken = service(service.alice, "run", "nonsense", env=environment)
    assert (broken.code, "Traceback" in broken.stderr) == (2, False)


def test_data_is_taken_from_stdin_and_secrets_from_their_own_variables(
    service: Service,
) -> None:
    secret = {"RUNE_SECRET_TOKEN": "hunter2-of-alice"}
    done = service(
        service.alice,
        *("run", "noop", "-t", "web1", "-o", "json", "--params", "-"),
        *("--secret", "token=env:RUNE_SECRET_TOKEN"),
        env=secret,
        stdin=b'{"disk": "sdb"}',
    )
    assert done.code == 0, done.stderr
    [result] = done.document["results"]
    assert result["output_data"]["disk"] == "sdb"
    assert "hunter2" not in done.text + done.stderr


def test_help_shows_what_exists(service: Service) -> None:
    top = service(service.alice, "--help").text
    assert f"The account {service.account.name} runs RUNE for others" in top
    assert f"You are {service.alice.name}" in " ".join(top.split())
    commands = set(re.findall(r"^  ([a-z]+)  ", top.partition("Commands:")[2], re.MULTILINE))
    assert {"run", "action", "target", "runs", "approve"} <= commands
    assert not commands & {"plugin", "doctor", "audit", "config", "fleet", "completion"}
    help_of_run = service(service.alice, "run", "--help").text
    assert "--params -" in help_of_run
    assert "RUNE_SECRET_NAME" in help_of_run
    for gone in ("--inventory", "--plugin-path", "--state-dir", "--no-ledger", "--debug"):
        assert gone not in help_of_run


def test_who_uses_an_account_of_their_own_is_not_bound(service: Service) -> None:
    """The rules hold all the same; what else people do, they do with their own rights."""
    program = str(service.folder / "rune")
    done = service.alone(service.alice, program, "config", "show", "-o", "json")
    assert done.code == 0, done.stderr
    denied = service.alone(service.alice, program, "run", "host.exec", "-p", "command=id")
    assert denied.code == 3


# -- approvals ---------------------------------------------------------------------------------

FACTS = ("run", "host.info", "-t", "web1", "-o", "json")


def test_people_who_share_an_account_are_told_apart_by_the_machines_policy(
    service: Service,
) -> None:
    alice, bob = service.alice, service.bob
    run_id = data(service(alice, *FACTS))["run_id"]
    assert service(alice, "approve", run_id, "--yes").code == 3
    assert service(bob, "approve", run_id, "--yes").code == 0
    assert service(bob, *FACTS, "--approved", run_id).code == 3
    assert service(alice, *FACTS, "--approved", run_id).code == 0
    assert service(alice, *FACTS, "--approved", run_id).code == 3
    # what bob asks for, bob does not approve, and alice does not see
    run_id = data(service(bob, *FACTS))["run_id"]
    assert service(bob, *FACTS).code == 3  # a second one, so that what both begin with is no name
    assert run_id not in service(alice, "approve", run_id[:2], "--dry-run").stderr
    assert service(bob, "approve", run_id, "--yes").code == 3
    seen = service(alice, "approve", "--list", "-o", "json").document["requests"]
    assert {one["user"] for one in seen} <= {alice.name}, "what other tests left is alice's"
    assert reason(service(alice, "approve", run_id, "--dry-run", "-o", "json")) == "unknown_run"
    # where the policy believes no identity, the same files are all of one user
    run_id = data(service(alice, *FACTS))["run_id"]
    assert service(bob, "approve", run_id, "--yes").code == 0
    with policy(service, f"identities: {{{service.account.name}: SUDO_USER}}\n", ""):
        refused = service(alice, *FACTS, "--approved", run_id)
    assert refused.code != 0
    assert list(service.folder.glob("approvals/*.answer.json"))


def test_answers_count_only_where_the_machines_policy_has_them(
    service: Service, trap: Path
) -> None:
    """Whoever asks has no say in it: not by an option, a variable, or because none is named."""
    run_id = data(service(service.alice, *FACTS))["run_id"]
    request = (service.folder / "approvals" / f"{run_id}.request.json").read_text()
    plan_hash = data(service(service.alice, *FACTS))["plan_hash"]
    answer = {
        "run_id": run_id,
        "user": service.bob.name,
        "plan_hash": plan_hash,
        "approved": True,
        "at": "2026-01-01T00:00:00.000Z",
        "reason": None,
    }
    # even if these files were the account's own, as something that it ran may have left them
    for folder in (trap / "approvals", service.account.home / ".local/state/rune/approvals"):
        for name, text in (("request", request), ("0000.answer", json.dumps(answer))):
            file = service.writes(service.account, folder / f"{run_id}.{name}.json", text)
            assert file.stat().st_uid == service.account.uid
    go = (*FACTS, "--approved", run_id)
    assert reason(service(service.alice, *go)) == "approval_required"
    assert reason(service(service.alice, *go, "--state-dir", str(trap))) == "command_refused"
    env = {"RUNE_STATE_DIR": str(trap), "XDG_STATE_HOME": str(trap)}
    assert reason(service(service.alice, *go, env=env)) == "approval_required"
    with policy(service, f"approvals: {service.folder}/approvals\n", ""):
        done = service(service.alice, *go)
    assert (done.code, reason(done)) == (2, "config_invalid")
    assert "name the folder of the answers under approvals" in done.stderr
    for path in (trap / "approvals").iterdir():
        path.unlink()
    (trap / "approvals").rmdir()


# -- the machine that the account is on --------------------------------------------------------


def test_the_accounts_own_machine_is_denied_unless_it_is_listed(service: Service) -> None:
    """Whatever reads a file of the caller's choice reads the account's keys there."""
    key = service.writes(service.account, service.account.home / ".ssh/id", "KEY\n", 0o600)
    gather = ("run", "logs.gather", "-p", f"path={key}", "-o", "json")
    here: list[tuple[str, ...]] = [(), ("-t", "local"), ("-t", "localhost")]
    by_option = ("-t", "web9", "--transport", "local")
    free = "rules:\n  - {name: reading-is-free, risks: read, effect: allow}\n"
    own = "inventory: inventory.yaml\n"
    inventory = service.policy.with_name("inventory.yaml")
    before = inventory.read_text()
    with policy(service, "rules:\n", free):
        for way in here:
            done = service(service.alice, *gather, *way)
            assert (done.code, reason(done)) == (3, "policy_denied"), done.stderr
            assert "list it in the policy's inventory to allow it" in done.stderr
        assert service(service.alice, *gather, "-t", "web1").code == 0
        inventory.write_text("targets: {local: {transport: local}, web9: {host: 127.0.0.9}}\n")
        try:
            assert "KEY" in service(service.alice, *gather).text
            done = service(service.alice, *gather, *by_option)
            assert (done.code, reason(done)) == (3, "policy_denied"), done.stderr
        finally:
            inventory.write_text(before)
        with policy(service, own, ""):
            for way in (*here, by_option):
                done = service(service.alice, *gather, *way)
                assert (done.code, reason(done)) == (3, "policy_denied"), done.stderr
                assert "this machine is the account's own" in done.stderr


# -- what they see -----------------------------------------------------------------------------


def test_people_see_and_change_their_own_runs_alone(service: Service) -> None:
    alice, bob = service.alice, service.bob
    once = ("run", "noop", "-t", "web1", "-p", "mine=1", "--idempotency-key", "k1", "-o", "json")
    run_id = service(alice, *once).document["run_id"]
    seen = service(alice, "runs", "list", "-o", "json").document["runs"]
    assert (seen[0]["run_id"], seen[0]["who"]) == (run_id, alice.name)
    assert service(alice, *once).document["run_id"] == run_id
    listed = service(bob, "runs", "list", "-o", "json").document["runs"]
    assert {run["who"] for run in listed} <= {bob.name}
    for command in ("show", "events", "cancel", "rerun", "resume"):
        assert reason(service(bob, "runs", command, run_id, "-o", "json")) == "unknown_run"
    # a key is a person's own, too: bob's run is another, and he learns nothing of alice's
    bobs = service(bob, *once).document["run_id"]
    assert bobs != run_id
    assert service(bob, *once).document["run_id"] == bobs
    other = service(bob, *once, "--timeout", "7")
    assert (other.code, reason(other)) == (2, "idempotency_key_used")
    assert run_id not in other.text + other.stderr
    state = service.account.home / ".local/state/rune"
    listed = subprocess.check_output(
        [service.folder / "rune", "runs", "list", "--state-dir", state, "-o", "json"], cwd="/"
    )
    keys = {run["run_id"]: run["idempotency_key"] for run in json.loads(listed)["runs"]}
    assert (keys[run_id], keys[bobs]) == ("k1", "k1")
    again = service(alice, "runs", "rerun", run_id, "-o", "json")
    assert again.code == 0, again.stderr


# -- the audit log -----------------------------------------------------------------------------


def test_nobody_keeps_the_log_from_being_written(service: Service) -> None:
    """Limits of one's processes go through sudo; so every log is required here."""
    before = service.audit
    with policy(service, ", required: true", ""):
        done = service(service.alice, "run", "noop", "-t", "web1", before="ulimit -f 0")
        assert done.code != 0
        done = service(service.alice, "plugin", "list", "-o", "json", before="ulimit -f 0")
        assert (done.code, reason(done)) == (3, "audit_unavailable")
    assert service.audit == before


def test_a_policy_that_cannot_be_read_lets_nobody_in(service: Service, trap: Path) -> None:
    empty = ("", "# default: deny\n", "---\n", "null\n", "{}\n")
    for text in ("identities: [", "identities: [rune]\n", "default: deny\nidentities:", *empty):
        with policy(service, service.policy.read_text(), text):
            for arguments in (("doctor", "-i", f"{trap}/inv.sh"), ("plugin", "test", str(trap))):
                done = service(service.alice, *arguments, "-o", "json")
                assert (done.code, reason(done)) == (2, "config_invalid")
                if text in empty:
                    assert "is empty; write `default: allow`, or remove it" in done.stderr


@pytest.mark.parametrize("name", ["policy.yaml", "inventory.yaml", "plugins.lock.json"])
def test_what_binds_the_machine_is_changed_by_root_alone(service: Service, name: str) -> None:
    """Else whoever can change it would let themselves in; no list of trusted folders helps."""
    file = service.policy.with_name(name)
    program = str(service.folder / "rune")
    trusting = service.writes(service.alice, service.alice.home / "t/rune/trusted", "/etc\n")
    own = f"export XDG_CONFIG_HOME={trusting.parents[1]}"
    os.chown(trusting.parents[1], service.alice.uid, -1)
    doubts = {"everybody may write": (0o666, 0), f"belongs to {service.bob.name}": (0o644, None)}
    before = file.stat()
    try:
        for words, (mode, owner) in doubts.items():
            file.chmod(mode)
            os.chown(file, service.bob.uid if owner is None else owner, -1)
            asked = service(service.alice, "run", "noop", "-t", "web1", "-o", "json")
            alone = service.alone(
                service.alice, program, "run", "noop", "-t", "web1", "-o", "json", before=own
            )
            for done in (asked, alone):
                assert (done.code, reason(done)) == (2, "config_invalid"), done.stderr
                assert f"/etc/rune/{name} is not obeyed: " in done.stderr
                assert words in done.stderr
                assert "config trust" not in done.stderr
    finally:
        file.chmod(before.st_mode)
        os.chown(file, before.st_uid, -1)
        shutil.rmtree(trusting.parents[1])
    assert service(service.alice, "run", "noop", "-t", "web1").code == 0


def test_the_library_takes_the_accounts_own_places_alone(service: Service, trap: Path) -> None:
    program = service.folder / "library"
    lines = [
        f"#!{sys.executable}",
        "import sys",
        f"sys.path.insert(0, {str(ROOT)!r})",
        "from pathlib import Path",
        "from lmm.errors import PolicyDenied",
        "from lom import Inventory, Orchestrator",
        "from lom.settings.values import Settings",
        f"trap = {str(trap)!r}",
        "given = (dict(inventory=Inventory()), dict(inventory=trap + '/inv.sh'),",
        "         dict(plugin_paths=[trap + '/plugins']), dict(settings=Settings(state_dir=trap)),",
        "         dict(settings=Settings(inventory=(trap + '/inv.sh',))))",
        "for one in given:",
        "    try:",
        "        Orchestrator(**one).run('noop')",
        "    except PolicyDenied as error:",
        "        print(error.reason)",
        "with Orchestrator() as own:",
        "    print(*(result.outcome for result in own.run('noop', 'web1')))",
    ]
    program.write_text("\n".join(lines))
    program.chmod(0o755)
    done = service.alone(service.account, str(program))
    assert done.text.split() == ["command_refused"] * 5 + ["ok"], done.stderr
