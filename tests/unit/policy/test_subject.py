"""Every part of a plan that decides what runs where is in what is approved, and nothing else."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from lmm.contract import spec_validator
from lmm.errors import RequestError
from lmm.model import Become, Script, SecretRef, SshSettings, SsmSettings, Target
from lom.admission.approvals.folder import ApprovalFolder
from lom.admission.approvals.standing import Demand, plan_hash
from lom.admission.approvals.store import ApprovalRequest
from lom.admission.approvals.subject import subject_of
from lom.admission.caller import current_caller
from lom.planning.options import RunOptions
from lom.planning.plan import Plan, Step, build_request
from lom.planning.scripts import load_scripts
from lom.registry.manifest import Plugin, load_plugin

HOST = Target("web1", host="10.0.0.1", vars={"rack": "r1"}, groups=("web",))
NOOP = load_plugin(Path(__file__).resolve().parents[3] / "plugins" / "noop", "test")
Scripts = dict[Plugin, Script]


def made(host: Target = HOST, options: RunOptions | None = None, **params: Any) -> Plan:
    values = {"a": 1, **params}
    names = [host.name, "web2"]
    return Plan(
        run_id="r1",
        action="noop",
        request=build_request("noop", names, values, "r1", {}),
        steps=tuple(Step(one, NOOP, NOOP.capability("noop"), "") for one in (host, Target("web2"))),
        params=values,
        secret_params=frozenset(),
        options=options or RunOptions(),
    )


def with_bytes(plan: Plan, content: bytes) -> Scripts:
    return {plugin: replace(one, content=content) for plugin, one in load_scripts(plan).items()}


BASE = made()
DIGEST = plan_hash(subject_of(BASE, load_scripts(BASE)))


def digest(plan: Plan, scripts: Scripts | None = None) -> str:
    subject = subject_of(plan, load_scripts(plan) if scripts is None else scripts)
    assert spec_validator("approval_v1").violations(document(subject)) == []
    return plan_hash(subject)


def document(subject: Any) -> dict[str, Any]:
    demand = {"rule": "r", "policy": "p", "approvers": ["a"], "valid_for_s": 60.0}
    return {
        "run_id": "r1",
        "user": "ann",
        "asked_at": "2026-01-02T03:04:05.678Z",
        "demands": [demand],
        "subject": subject,
    }


SSH = SshSettings(
    identity_files=("/k",),
    certificate_file="/c",
    password=SecretRef("env:P"),
    passphrase=SecretRef("env:Q"),
    use_agent=False,
    host_key_policy="accept-new",
    known_hosts=("/h",),
    config_file="/f",
    proxy_jump="jump",
    connect_timeout_s=1.0,
    banner_timeout_s=1.0,
    auth_timeout_s=1.0,
    keepalive_s=1.0,
    connect_attempts=1,
    persist_s=1.0,
    options={"HostName": "10.0.0.9"},
)
SSM = SsmSettings(
    "eu-west-1",
    "profile",
    "arn:aws:iam::123456789012:role/r",
    "x",
    "bucket",
    "p",
    "us-east-1",
    True,
)
TARGETS: dict[str, Any] = {
    "host": "10.0.0.2",
    "transport": "openssh",
    "port": 2222,
    "user": "root",
    "become": Become("root", SecretRef("env:SUDO")),
}
OPTIONS: dict[str, Any] = {
    "timeout_s": 7.0,
    "concurrency": 1,
    "batch": "1,10%",
    "max_failures": "1",
    "pause_between_s": 1.0,
    "deadline_s": 60.0,
    "max_stdout": 9,
    "max_stderr": 9,
}


def one_of(value: Any, name: str) -> Any:
    """Return the default of a dataclass but for one field."""
    return replace(type(value)(), **{name: getattr(value, name)})


@pytest.mark.parametrize(
    "plan",
    [
        *(pytest.param(made(replace(HOST, **{k: v})), id=k) for k, v in TARGETS.items()),
        *(
            pytest.param(made(replace(HOST, ssh=one_of(SSH, one.name))), id=f"ssh.{one.name}")
            for one in fields(SSH)
        ),
        *(
            pytest.param(made(replace(HOST, ssm=one_of(SSM, one.name))), id=f"ssm.{one.name}")
            for one in fields(SSM)
        ),
        *(pytest.param(made(options=RunOptions(**{k: v})), id=k) for k, v in OPTIONS.items()),
        pytest.param(made(b=2), id="a parameter more"),
        pytest.param(made(a="1"), id="a parameter of another type"),
        pytest.param(replace(BASE, steps=BASE.steps[::-1]), id="another order"),
        pytest.param(replace(BASE, steps=BASE.steps[:1]), id="a target less"),
        pytest.param(replace(BASE, action="noop.other"), id="another action"),
        pytest.param(replace(BASE, secret_params=frozenset({"/a"})), id="what is secret"),
    ],
)
def test_what_decides_is_in_the_hash(plan: Plan) -> None:
    assert digest(plan) != DIGEST


def test_the_bytes_that_are_sent_and_the_manifest_are_in_the_hash() -> None:
    sent = with_bytes(BASE, b"echo other")
    assert digest(BASE, sent) != DIGEST
    [plugin] = sent
    other = replace(plugin, manifest=plugin.manifest + b" ")
    assert digest(BASE, {other: load_scripts(BASE)[plugin]}) != DIGEST


@pytest.mark.parametrize(
    "change",
    [
        lambda: made(),  # another run id, another moment
        lambda: made(replace(HOST, vars={"rack": "r2"}, groups=())),
        lambda: made(replace(HOST, seen="Online")),
        lambda: replace(BASE, origin={"inventory": ("/elsewhere",)}),
    ],
)
def test_what_does_not_decide_is_not(change: Callable[[], Plan]) -> None:
    assert digest(change()) == DIGEST


DEMANDS = (Demand("r", "p", ("a",), 60.0),)


def asked(path: Path, subject: Mapping[str, Any]) -> tuple[ApprovalFolder, ApprovalRequest]:
    user = current_caller({}, {}).user
    request = ApprovalRequest("r1", user, datetime.now(UTC), DEMANDS, subject)
    folder = ApprovalFolder(str(path), {})
    folder.ask(request)
    return folder, request


@pytest.mark.needs_root
def test_another_cannot_say_that_an_approval_was_used(tmp_path: Path) -> None:
    folder, _ = asked(tmp_path, subject_of(BASE, load_scripts(BASE)))
    mark = tmp_path / "r1.used.json"
    mark.touch()
    os.chown(mark, 65534, 65534)
    for call in (folder.is_used, folder.use):
        with pytest.raises(RequestError, match=r"of nobody: the request r1 was not used") as caught:
            call("r1")
        assert caught.value.reason == "local_io_error"
    mark.unlink()
    assert not folder.is_used("r1")
    assert folder.use("r1")
    assert folder.is_used("r1")
    assert not folder.use("r1")


def test_no_folder_in_the_place_of_a_request_or_an_answer_keeps_a_descriptor(
    tmp_path: Path,
) -> None:
    folder, _ = asked(tmp_path, subject_of(BASE, load_scripts(BASE)))
    for name in ("r1.1.answer.json", "r1.2.answer.json", "r2.request.json"):
        (tmp_path / name).mkdir()
    before = os.listdir("/proc/self/fd")
    assert folder.answers("r1") == []
    assert [one.run_id for one in folder.requests()] == ["r1"]
    assert os.listdir("/proc/self/fd") == before


def test_what_cannot_be_read_for_want_of_descriptors_is_an_error(tmp_path: Path) -> None:
    """An answer may be a denial: it is not taken for none."""
    folder, _ = asked(tmp_path, subject_of(BASE, load_scripts(BASE)))
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
    try:
        with pytest.raises(RequestError, match="Too many open files") as caught:
            folder.read("r1")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert caught.value.reason == "local_io_error"


def test_a_subject_is_the_same_after_it_was_a_file(tmp_path: Path) -> None:
    plan = made(replace(HOST, ssh=SSH, ssm=SSM))
    subject = subject_of(plan, load_scripts(plan))
    folder, request = asked(tmp_path, subject)
    found = folder.read("r1")
    assert (found.plan_hash, found.user, found.demands) == (
        plan_hash(subject),
        request.user,
        DEMANDS,
    )
