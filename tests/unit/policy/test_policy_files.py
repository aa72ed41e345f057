"""Policies from files: what adds up, what cannot be loosened, and what a wrong one says."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

import lom.settings.values
from lmm.errors import RequestError
from lom.documents.trust import trust
from lom.settings.files import read_config
from lom.settings.load import load_settings
from lom.settings.policy.gather import gather
from lom.settings.policy.rules import Approval
from lom.settings.policy.values import AuditLog, Safeguards
from lom.settings.values import Settings

PAGE = Path(__file__).resolve().parents[3] / "docs" / "policy.md"


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the machine's own policy would be."""
    path = tmp_path / "etc" / "policy.yaml"
    path.parent.mkdir()
    monkeypatch.setattr(lom.settings.values, "SYSTEM_POLICY", str(path))
    return path


@pytest.fixture
def project(tmp_path: Path, system: Path) -> Path:
    (tmp_path / "cwd").mkdir()
    return tmp_path / "cwd" / "rune.yaml"


@pytest.fixture
def user(tmp_path: Path, system: Path) -> Path:
    path = tmp_path / "home" / ".config" / "rune" / "config.yaml"
    path.parent.mkdir(parents=True)
    return path


def load(tmp_path: Path, **environ: str) -> Settings:
    return load_settings({}, environ, tmp_path / "cwd", tmp_path / "home")


def safeguards(tmp_path: Path, **environ: str) -> Safeguards:
    found = load(tmp_path, **environ).safeguards
    assert found is not None
    return found()


def test_nothing_is_asked_where_nothing_is_said(tmp_path: Path, project: Path) -> None:
    project.write_text("concurrency: 3\n")
    assert safeguards(tmp_path) == Safeguards()


def test_the_documented_examples_are_read(tmp_path: Path, project: Path, system: Path) -> None:
    machine, own = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    system.write_text(machine)
    project.write_text(own)
    found = safeguards(tmp_path)
    names = [[rule.name for rule in policy.rules] for policy in found.policies]
    assert names == [
        [
            "admins-anywhere",
            "nothing-destructive-in-prod",
            "wiping-takes-two",
            "operators-by-day",
            "reading-is-free",
        ],
        ["few-at-once"],
    ]
    assert found.policies[0].rules[2].approval == Approval(("alice", "@leads"), 8 * 3600)
    assert found.approvals == "/var/lib/rune/approvals"
    by_day = found.policies[0].rules[3]
    assert (by_day.line, by_day.max_targets, by_day.effect) == (19, 20, "allow")
    assert (by_day.hours[0].start, by_day.hours[0].days) == (480, frozenset(range(5)))
    assert found.policies[0].inventory == str(system.parent / "inventory.yaml")
    assert found.locks == (
        str(system.parent / "plugins.lock.json"),
        str(project.parent / "plugins.lock.json"),
    )
    assert found.audit == (
        AuditLog("/var/log/rune/audit.jsonl", True),
        AuditLog(str(project.parent / "audit.jsonl"), False),
    )
    assert dict(found.identities) == {"rune": "SUDO_USER"}


def test_policies_and_locks_add_up_whatever_else_is_read(
    tmp_path: Path, project: Path, user: Path, system: Path
) -> None:
    system.write_text("default: deny\nplugin_lock: system.json\naudit: {log: a, required: true}\n")
    user.write_text("policy: {default: allow}\naudit: false\nplugin_lock: user.json\n")
    project.write_text("policy:\n  rules: []\n")
    (project.parent / "plugins.lock.json").touch()
    found = safeguards(tmp_path)
    assert [(one.source, one.default) for one in found.policies] == [
        (str(system), "deny"),
        (str(user), "allow"),
        (str(project), "allow"),
    ]
    assert [Path(path).name for path in found.locks] == [
        "system.json",
        "user.json",
        "plugins.lock.json",
    ]
    assert found.audit == (AuditLog(str(system.parent / "a"), True),)
    other = tmp_path / "empty.yaml"
    other.write_text("")
    alone = safeguards(tmp_path, RUNE_CONFIG=str(other))
    assert [one.default for one in alone.policies] == ["deny"]
    assert alone.audit == found.audit


def test_the_audit_log_is_moved_or_switched_off_by_the_strongest_own_file(
    tmp_path: Path, project: Path, user: Path
) -> None:
    user.write_text("audit: {log: mine.jsonl}\n")
    assert safeguards(tmp_path).audit == (AuditLog(str(user.parent / "mine.jsonl")),)
    project.write_text("audit: false\n")
    assert safeguards(tmp_path).audit == ()


def test_the_machines_folder_of_approvals_wins(
    tmp_path: Path, project: Path, user: Path, system: Path
) -> None:
    user.write_text("approvals: a\n")
    project.write_text("approvals: b\n")
    assert safeguards(tmp_path).approvals == str(project.parent / "b")
    system.write_text("approvals: c\n")
    assert safeguards(tmp_path).approvals == str(system.parent / "c")
    system.write_text("default: allow\n")
    assert safeguards(tmp_path).approvals == str(project.parent / "b")


@pytest.mark.parametrize(
    ("text", "approval"),
    [
        ("{approvers: alice}", Approval(("alice",), 86400)),
        ("{approvers: ['@leads', 'ops-*'], valid_for: 45m}", Approval(("@leads", "ops-*"), 2700)),
        ("{approvers: alice, valid_for: 30d}", Approval(("alice",), 30 * 86400)),
    ],
)
def test_an_approval_names_who_and_for_how_long(
    tmp_path: Path, project: Path, text: str, approval: Approval
) -> None:
    project.write_text(f"policy:\n  rules: [{{name: a, effect: allow, approval: {text}}}]\n")
    assert safeguards(tmp_path).policies[0].rules[0].approval == approval


def test_the_machines_inventory_is_used_where_no_other_is_named(
    tmp_path: Path, project: Path, system: Path
) -> None:
    system.write_text("inventory: hosts.yaml\n")
    settings = load(tmp_path)
    assert settings.inventory == (str(system.parent / "hosts.yaml"),)
    assert settings.sources["inventory"] == str(system)
    assert load(tmp_path, RUNE_INVENTORY="mine.yaml").inventory == ("mine.yaml",)


RULES = "default: deny\nrules:\n  - name: a\n    effect: allow\n"
NAMED = "inventory: hosts.yaml\n" + RULES


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("defualt: deny\n", ["unknown key 'defualt'; did you mean 'default'?", ":1:"]),
        ("default: maybe\n", ["\"maybe\" is not 'allow' or 'deny'", "@ $.default"]),
        (RULES + "    user: [x]\n", ["did you mean 'users'?", ":5:", "@ $.rules[0].user"]),
        (RULES + "    risks: [chnge]\n", ["did you mean 'change'?", "$.rules[0].risks[0]"]),
        (RULES + "    risks: []\n", ["name at least one", "$.rules[0].risks"]),
        (RULES + "    users: ['@']\n", ["a name or a pattern", "$.rules[0].users[0]"]),
        (NAMED + "    targets: 'a and'\n", ["at character", "$.rules[0].targets"]),
        (NAMED + "    targets: '@hosts'\n", ["a rule's selector names no file"]),
        (RULES + "    targets: prod\n", ["name the policy's own inventory", ":5:"]),
        (RULES + "    hours: 8-18\n", ["is not a time window", "@ $.rules[0].hours"]),
        (RULES + "    hours: [8-18]\n", ["is not a time window", "@ $.rules[0].hours[0]"]),
        (RULES + "    risks: chnge\n", ["did you mean 'change'?", "@ $.rules[0].risks"]),
        (RULES + "    approval: {approvers: a}\n", ["name the folder of the answers"]),
        (RULES + "    max_targets: 0\n", ["0 is less than the minimum of 1"]),
        (RULES + "    max_targets: true\n", ["true is not a whole number"]),
        (RULES + "  - name: a\n    effect: deny\n", ["'a' stands here a second time", ":5:"]),
        ("rules:\n  - {name: a, effect: deny, max_targets: 3}\n", ["this one denies"]),
        (RULES + "    approval: required\n", ["not a mapping", "$.rules[0].approval"]),
        (RULES + "    approval: {}\n", ["the key 'approvers' is needed", ":5:"]),
        (RULES + "    approval: {approvers: []}\n", ["$.rules[0].approval.approvers"]),
        (RULES + "    approval: {approvers: a, valid: 1h}\n", ["did you mean 'valid_for'?"]),
        (
            RULES + "    approval: {approvers: a, valid_for: 31d}\n",
            ["a duration such as 45m, 8h or 7d is needed", "$.rules[0].approval.valid_for"],
        ),
        (RULES + "    approval: {approvers: a, valid_for: 0h}\n", ["a duration such as"]),
        (RULES + "    approval: {approvers: a, valid_for: 8}\n", ["a duration such as"]),
        (
            "rules:\n  - {name: a, effect: deny, approval: {approvers: b}}\n",
            ["it is for what a rule allows", "$.rules[0].approval"],
        ),
        ("approvals: 3\n", ["3 is not text; put it in quotes @ $.approvals"]),
        ("rules:\n  - effect: deny\n", ["the key 'name' is needed", "$.rules[0].name"]),
        ("rules: {a: 1}\n", ["a mapping is not a list", "$.rules"]),
        ("rules: [deny]\n", ["not a mapping", "$.rules[0]"]),
        ("rules: [2025-01-01]\n", ["not a mapping", "$.rules[0]"]),
        ("rules: &a [*a]\n", ["an alias inside of itself"]),
        ("identities: {rune: 'A B'}\n", ["an environment variable is needed @ $.identities.rune"]),
        ("audit: {required: true}\n", ["a log that is required has a path"]),
        ("audit: yes\n", ["write false for no log, or a mapping", "@ $.audit"]),
        ("audit: true\n", ["write false for no log, or a mapping", "@ $.audit"]),
        ("- a\n", ["must hold a mapping"]),
    ],
)
def test_a_wrong_policy_of_the_machine_stops_everything(
    tmp_path: Path, project: Path, system: Path, text: str, parts: list[str]
) -> None:
    system.write_text(text)
    with pytest.raises(RequestError) as caught:
        load(tmp_path)
    assert caught.value.reason == "config_invalid"
    for part in [str(system), *parts]:
        assert part in caught.value.message


def test_a_wrong_policy_of_a_project_names_its_place(tmp_path: Path, project: Path) -> None:
    project.write_text(
        "output: json\npolicy:\n  rules:\n    - name: a\n      effect: deny\n      usrs: b\n"
    )
    with pytest.raises(RequestError) as caught:
        load(tmp_path)
    assert f"{project}:6: " in caught.value.message
    assert "@ $.policy.rules[0].usrs" in caught.value.message
    assert caught.value.data["line"] == 6


@pytest.mark.parametrize("text", ["identities: {me: RUNE_IDENTITY}\n", "audit: {log: x}\n"])
def test_what_only_the_machine_may_say_is_unknown_below_policy(
    tmp_path: Path, project: Path, text: str
) -> None:
    project.write_text(f"policy:\n  {text}")
    with pytest.raises(RequestError, match="unknown key"):
        load(tmp_path)


def test_a_policy_of_the_machine_that_cannot_be_read_stops_everything(
    tmp_path: Path, project: Path, system: Path
) -> None:
    system.mkdir()
    with pytest.raises(RequestError, match="cannot read"):
        load(tmp_path)


@pytest.mark.needs_root
@pytest.mark.parametrize("uid", [0, 65534])
def test_every_file_of_the_machines_inventory_is_roots(tmp_path: Path, uid: int) -> None:
    """Also of a folder, and whatever folders a user trusts."""
    (tmp_path / "policy.yaml").write_text("inventory: inv\nrules: []\n")
    folder = tmp_path / "inv"
    folder.mkdir()
    for name in ("a.yaml", "b.yaml"):
        (folder / name).write_text("targets: {}\n")
    os.chown(folder / "b.yaml", uid, 0)
    trust(folder)
    document = read_config(tmp_path / "policy.yaml", "policy_v1")
    if uid == 0:
        assert gather(document, (), None).policies[0].inventory == str(folder)
        return
    with pytest.raises(
        RequestError, match=r"b\.yaml is not obeyed: .* belongs to nobody"
    ) as caught:
        gather(document, (), None)
    assert caught.value.reason == "config_invalid"
