"""Files of other people in the folder one stands in, and in places that a file names."""

from __future__ import annotations

import os
import pwd
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lmm.testing import Account
from tests.support.errors import error_of, reason

from .conftest import Rune
from .office import Person
from .service import Service

pytestmark = pytest.mark.needs_root


@pytest.fixture
def theirs(rune: Rune, account: Account, answers: Callable[[Any], str]) -> Rune:
    """A folder of another user with all that RUNE would take from it."""
    mark = rune.folder / "ran"
    rune.write("rune.yaml", "inventory: hosts.sh\n")
    for name in ("hosts.sh", "inventory/hosts"):
        tool = rune.write(
            name, f'#!/bin/sh\nid -un >> {mark}\necho \'{{"targets": {{"t": {{}}}}}}\'\n'
        )
        tool.chmod(0o755)
    rune.plugin("host.info", f"id -un >> {mark}\n" + answers({}))
    shutil.move(rune.folder / "plugins/host-info", rune.folder / "plugins/x")
    rune.write("plugins.lock.json", '{"version": 1, "plugins": {}}')
    for path in (rune.folder, *rune.folder.rglob("*")):
        os.chown(path, account.uid, account.uid)
    return rune


def ran(rune: Rune) -> bool:
    return (rune.folder / "ran").exists()


@pytest.mark.parametrize(
    ("left", "command"),
    [
        ("rune.yaml", ["target", "list"]),
        ("rune.yaml", ["run", "noop"]),
        ("rune.yaml", ["config", "show"]),
        ("plugins.lock.json", ["run", "noop"]),
        ("plugins", ["run", "host.info"]),
        ("plugins", ["plugin", "list"]),
        ("plugins", ["action", "show", "host.info"]),
        ("inventory", ["target", "list"]),
        ("inventory", ["run", "noop", "-t", "all"]),
    ],
)
def test_what_another_user_put_there_is_refused(
    theirs: Rune, account: Account, left: str, command: list[str]
) -> None:
    for path in ("rune.yaml", "plugins.lock.json", "plugins", "inventory"):
        if path != left:
            found = theirs.folder / path
            shutil.rmtree(found) if found.is_dir() else found.unlink()
    done = theirs(*command, "-o", "json")
    assert done.code == 2
    error = error_of(done)
    assert error["data"]["reason"] == "untrusted_path"
    assert f"{left}" in error["message"]
    assert f"{theirs.folder} belongs to {account.name} (uid {account.uid})" in error["message"]
    assert "rune config trust " in error["message"]
    assert not ran(theirs)


def test_the_rest_of_a_folder_is_free_to_use(theirs: Rune) -> None:
    for name in ("rune.yaml", "plugins.lock.json"):
        (theirs.folder / name).unlink()
    shutil.rmtree(theirs.folder / "plugins")
    assert theirs("run", "noop", "-q").code == 0  # no inventory is needed
    assert theirs("runs", "rerun", "last", "-q").code == 2  # which reads it, named by the ledger
    assert not ran(theirs)


def test_trust_is_given_listed_and_taken_back(theirs: Rune) -> None:
    (theirs.folder / "plugins.lock.json").unlink()
    done = theirs("config", "trust", ".", "-o", "json")
    assert (done.code, done.document) == (0, {"trusted": [str(theirs.folder)]})
    assert theirs("config", "trust", "--list").text == f"{theirs.folder}\n"
    assert theirs("target", "list", "-q").code == 0
    assert theirs("run", "host.info", "-q").code == 0
    assert (theirs.folder / "ran").read_text().split() == ["root", "root"]
    assert theirs("config", "trust", "--remove", ".").code == 0
    assert theirs("target", "list").code == 2
    for wrong in ([], [".", "--list"], ["nowhere"]):
        assert theirs("config", "trust", *wrong).code == 2


def test_what_is_named_for_this_call_is_taken_at_its_word(theirs: Rune, tmp_path: Path) -> None:
    own = tmp_path.parent / f"{tmp_path.name}-own"
    own.mkdir()
    mine = Rune(own)
    assert mine("target", "list", "-i", str(theirs.folder / "hosts.sh"), "-q").code == 0
    assert ran(theirs)
    plugins = str(theirs.folder / "plugins")
    assert mine("run", "host.info", "-q", "--plugin-path", plugins).code == 0
    assert mine("run", "host.info", "-q", env={"RUNE_PLUGIN_PATH": plugins}).code == 0
    config = {"RUNE_CONFIG": str(theirs.folder / "rune.yaml")}
    assert mine("config", "show", env=config).code == 0
    done = mine("target", "list", env=config)  # which a file names, not this call
    assert (done.code, "hosts.sh is not obeyed" in done.stderr) == (2, True)
    mine.write("rune.yaml", f"inventory: {theirs.folder}/hosts.sh\nplugin_path: {plugins}\n")
    assert mine("target", "list").code == 2
    assert mine("run", "host.info").code == 2


def test_no_lock_file_is_written_where_a_link_of_another_leads(
    theirs: Rune, tmp_path: Path
) -> None:
    (theirs.folder / "rune.yaml").unlink()
    shutil.rmtree(theirs.folder / "plugins")
    lock = theirs.folder / "plugins.lock.json"
    lock.unlink()
    lock.symlink_to(tmp_path / "elsewhere")
    assert theirs("plugin", "lock").code == 2
    assert not (tmp_path / "elsewhere").exists()


def test_the_inventory_of_a_policy_is_looked_at(theirs: Rune, tmp_path: Path) -> None:
    own = tmp_path.parent / f"{tmp_path.name}-own"
    own.mkdir()
    mine = Rune(own)
    mine.write("rune.yaml", f"policy: {{inventory: {theirs.folder}/hosts.sh, rules: []}}\n")
    done = mine("run", "noop")
    assert (done.code, "hosts.sh is not obeyed" in done.stderr) == (2, True)
    assert not ran(theirs)


def test_completion_stays_quiet_and_reads_nothing_of_it(theirs: Rune) -> None:
    for words in ("rune run host.", "rune run noop -t ", "rune action show "):
        line = {"COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
        done = theirs(env={"_RUNE_COMPLETE": "bash_complete", **line})
        assert (done.code, done.stderr) == (0, "")
        assert "plain,t" not in done.text.splitlines()
        assert "host.info" in done.text or "noop -t" in words
    assert not ran(theirs)


def test_doctor_tells_of_it(theirs: Rune) -> None:
    done = theirs("doctor", "-o", "json")
    found = {check["check"]: check for check in done.document["checks"]}
    for name in ("config", "inventory", "plugins"):
        assert found[name]["status"] == "fail", found[name]
        assert "is not obeyed" in found[name]["found"]
    assert not ran(theirs)


def test_a_library_user_is_told_as_well(theirs: Rune) -> None:
    done = theirs.python("from lom import Orchestrator\nOrchestrator().run('host.info')")
    assert "is not obeyed" in done.stderr
    assert not ran(theirs)


def test_no_record_of_runs_is_kept_or_read_in_the_home_of_another(
    rune: Rune, account: Account
) -> None:
    """As where sudo keeps HOME: what the other writes there would be run again as root."""
    home = rune.folder / "home"
    home.mkdir()
    os.chown(home, account.uid, account.uid)
    env = {"HOME": str(home)}
    for command in (
        ["run", "noop"],
        ["run", "host.exec", "-p", "command=true", "--yes", "--no-ledger"],
        ["runs", "list"],
        ["runs", "rerun", "last", "--no-ledger"],
        ["audit", "verify"],
    ):
        done = rune(*command, "-o", "json", env=env)
        assert done.code == 2, command
        assert reason(done) == "untrusted_path"
        message = done.document["error_data"]["error"]["message"]
        assert f"{home} belongs to {account.name}" in message
        for way in (f"`rune config trust {home}`", "--state-dir", "RUNE_STATE_DIR", "HOME"):
            assert way in message
    done = rune("run", "noop", "--no-ledger", env=env)
    assert done.code == 0, done.stderr
    assert "no audit log is kept" in done.stderr
    assert list(home.iterdir()) == []
    assert rune("run", "noop", "--state-dir", "state", "-q", env=env).code == 0
    assert list(home.iterdir()) == []


def test_all_folders_of_the_record_of_runs_are_made_private(rune: Rune) -> None:
    home = rune.folder / "home"
    home.mkdir()
    assert rune("run", "noop", "-q", env={"HOME": str(home)}, umask=0).code == 0
    assert rune("config", "trust", "plugins", env={"HOME": str(home)}, umask=0).code == 2
    made = [home / ".local", home / ".local/state", home / ".local/state/rune"]
    assert [path.stat().st_mode & 0o777 for path in made] == [0o700] * 3
    assert {path.stat().st_mode & 0o077 for path in made[-1].iterdir()} == {0}


def test_a_local_plugin_gets_no_temporary_folder_of_another(rune: Rune, account: Account) -> None:
    theirs = rune.folder / "theirs"
    theirs.mkdir(mode=0o700)
    os.chown(theirs, account.uid, account.uid)
    env = {"TMPDIR": str(theirs), "XDG_RUNTIME_DIR": str(theirs)}
    done = rune("run", "host.exec", "-p", "command=env", "--yes", "-o", "json", env=env)
    assert str(theirs) not in done.document["results"][0]["output_data"]["stdout"]
    done = rune("run", "host.exec", "-p", "command=env", "--yes", "-o", "json")
    assert "TMPDIR=" in done.document["results"][0]["output_data"]["stdout"]


def test_a_plugin_is_tried_in_no_folder_of_another(rune: Rune, account: Account) -> None:
    assert rune("plugin", "new", "mine").code == 0
    theirs = rune.folder / "theirs"
    theirs.mkdir(mode=0o700)
    os.chown(theirs, account.uid, account.uid)
    before = theirs.stat().st_mtime_ns
    done = rune("plugin", "test", "plugins/mine", env={"TMPDIR": str(theirs)})
    assert done.code == 0, done.text
    assert theirs.stat().st_mtime_ns == before


def test_a_umask_of_002_with_a_group_of_ones_own_is_no_matter(rune: Rune, account: Account) -> None:
    group = pwd.getpwnam(account.name).pw_gid
    home = account.home / "project"
    project = Rune(home)
    project.write("rune.yaml", "concurrency: 3\n")
    for path in (home, home / "rune.yaml"):
        path.chmod(path.stat().st_mode | 0o020)
        os.chown(path, account.uid, group)
    done = Person(home, account.name, account.uid, account.home)("config", "show")
    shutil.rmtree(home)
    assert done.code == 0, done.stderr


@pytest.mark.parametrize("by", ["option", "variable"])
def test_plugins_that_are_named_need_no_folder_of_ones_own(
    theirs: Rune, tmp_path: Path, by: str
) -> None:
    """./plugins of another is left out where the message's own advice was followed."""
    (theirs.folder / "rune.yaml").unlink()
    (theirs.folder / "plugins.lock.json").unlink()
    shutil.rmtree(theirs.folder / "inventory")
    named = tmp_path.parent / f"{tmp_path.name}-own"
    own = Rune(named)
    own.plugin("own.action", "echo '{}'\n")

    def call(*words: str, path: str = str(named / "plugins")) -> Any:
        if by == "option":
            return theirs(*words, "--plugin-path", path)
        return theirs(*words, env={"RUNE_PLUGIN_PATH": path})

    assert theirs("run", "host.info", "-t", "local", "-q").code == 2
    assert call("run", "own.action", "--dry-run", "-q").code == 0
    assert call("run", "host.info", "-q").code == 0  # RUNE's own
    assert not ran(theirs)
    assert "x is not obeyed" in call("plugin", "list").text
    for path in ("plugins", str(theirs.folder / "plugins"), "./plugins/"):
        assert call("run", "host.info", "-q", path=path).code == 0
        assert ran(theirs)
        (theirs.folder / "ran").unlink()
    theirs.write("rune.yaml", f"plugin_path: {named}/plugins\n")
    config = {"RUNE_CONFIG": "rune.yaml"}
    assert theirs("run", "host.info", "-q", env=config).code == 2  # a file names it, not this call


@pytest.mark.parametrize("made", [True, False])
def test_no_record_is_kept_where_a_file_says_and_others_may_write(
    rune: Rune, account: Account, made: bool
) -> None:
    theirs = rune.folder / "theirs"
    theirs.mkdir()
    os.chown(theirs, account.uid, account.uid)
    state = theirs / "state" if made else theirs / "a" / "b"
    if made:
        state.mkdir(mode=0o700)
    rune.write("rune.yaml", f"state_dir: {state}\n")
    for command in (["run", "noop"], ["run", "noop", "--no-ledger"], ["runs", "list"]):
        done = rune(*command, "-o", "json")
        assert done.code == 2
        error = error_of(done)
        assert error["data"]["reason"] == "untrusted_path"
        assert f"{state} is not obeyed: {theirs} belongs to {account.name}" in error["message"]
    assert not [path for path in theirs.rglob("*") if path.is_file()]
    assert rune("run", "noop", "-q", "--state-dir", str(state)).code == 0  # named for this call
    assert rune("run", "noop", "-q", env={"RUNE_STATE_DIR": str(state)}).code == 0
    shutil.rmtree(state)
    assert rune("config", "trust", str(theirs)).code == 0
    assert rune("run", "noop", "-q").code == 0
    assert (state / "ledger.sqlite").exists()


def test_no_audit_log_is_kept_where_a_file_says_and_others_may_write(
    rune: Rune, account: Account
) -> None:
    theirs = rune.folder / "theirs"
    theirs.mkdir()
    os.chown(theirs, account.uid, account.uid)
    log = theirs / "audit.jsonl"
    rune.write("rune.yaml", "audit: {log: theirs/audit.jsonl}\n")
    done = rune("run", "noop", "-o", "json")
    assert done.code == 2
    error = error_of(done)
    assert error["data"]["reason"] == "untrusted_path"
    assert f"{theirs} is not obeyed: {theirs} belongs to {account.name}" in error["message"]
    assert not log.exists()
    assert rune("config", "trust", str(theirs)).code == 0
    assert rune("run", "noop", "-q").code == 0
    assert log.exists()
    # People may share a log in a folder where they cannot make files.
    assert rune("config", "trust", "--remove", str(theirs)).code == 0
    os.chown(theirs, 0, 0)
    log.chmod(0o666)
    assert rune("run", "noop", "-q").code == 0


def test_who_asks_an_account_is_recorded_and_told_nothing_that_only_its_owner_can_do(
    service: Service,
) -> None:
    own = service.account.home / ".config/rune/config.yaml"
    service.writes(service.account, own, "concurrency: 3\n", 0o666)
    try:
        before = service.refused()
        refused = service(service.alice, "plugin", "list", "-o", "json")
        assert (refused.code, reason(refused)) == (3, "command_refused")
        assert service.refused() == [*before, "plugin list"]
        done = service(service.alice, "run", "noop", "-t", "web1", "-o", "json")
        assert (done.code, reason(done)) == (2, "untrusted_path")
    finally:
        shutil.rmtree(own.parents[1])
    account = f"Tell those who look after the account {service.account.name} of it."
    assert done.document["error_context"]["recovery_actions"] == [account]
    assert f"hint: {account}" in done.stderr
    wrong = service(service.alice, "run", "noop", "--state-di", "x")
    assert (wrong.code, "--state-dir" in wrong.stderr) == (2, False)


def test_no_lock_file_of_another_is_written(rune: Rune, account: Account) -> None:
    """It would keep its permissions, and a link leads where they like."""
    assert rune("plugin", "lock", "--file", "own.json").code == 0
    shutil.copy(rune.folder / "own.json", rune.folder / "theirs.json")
    os.chown(rune.folder / "theirs.json", account.uid, account.uid)
    (rune.folder / "link.json").symlink_to(rune.folder / "new.json")
    os.lchown(rune.folder / "link.json", account.uid, account.uid)
    for name in ("theirs.json", "link.json"):
        done = rune("plugin", "lock", "--file", name, "-o", "json")
        assert (done.code, reason(done)) == (2, "untrusted_path")
    assert not (rune.folder / "new.json").exists()
    assert (rune.folder / "theirs.json").stat().st_uid == account.uid
