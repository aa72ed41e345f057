"""Receipts: what the host keeps of an invocation, and what it answers to whoever asks later."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import lmm.bootstrap
from lmm.bootstrap import build_stream
from lmm.model import OnDisconnect, Outcome, Result
from lmm.opening import shell_argv
from lmm.testing import Account, Sshd
from tests.accounts import as_user
from tests.support.waiting import until

OWN = Path(lmm.bootstrap.__file__).with_name("own.sh")
KILL, CONTINUE = OnDisconnect.KILL, OnDisconnect.CONTINUE
BOTH = pytest.mark.parametrize("mode", [KILL, CONTINUE])
OK = '{"payload":{"result":"success","output_data":{"n":1}}}'
EVENT = '##rune {"kind":"progress","percent":%d}'
FOREVER = "while :; do sleep 0.05; done"


def same(result: Result) -> tuple[Result, str | None]:
    """Return the result without what differs between two runs of the same script."""
    return replace(result, duration_s=0.0, error=None), result.reason


# -- what it is like while nothing goes wrong ----------------------------------------------------


SCRIPTS = {
    "ok": f"echo '{OK}'; echo log >&2",
    "events": f"echo '{EVENT % 1}' >&2; sleep 0.3; echo '{EVENT % 2}' >&2; echo '{OK}'",
    "error": 'echo \'{"error":{"code":3,"message":"no"}}\'; exit 3',
    "crash": "kill -9 $$",
    "nothing": ":",
    "nul": "printf '{\"a\":\\0}'; printf 'x\\0y\\n' >&2",
    "closed": f"echo '{OK}'; exec >&- 2>&-; sleep 0.3",
    "slow": f"printf '{OK[:9]}'; sleep 0.3; printf '{OK[9:]}'; echo late >&2",
    "large": 'printf \'{"payload":{"result":"success","output_data":{"x":"\';'
    " head -c 8388608 /dev/zero | tr '\\0' x; printf '\"}}}'; seq 20000 >&2",
    "detached": f"setsid sleep 2 & echo '{OK}'",
}


@BOTH
@pytest.mark.parametrize("name", SCRIPTS)
def test_a_receipt_changes_no_result(host: Any, keep: Any, name: str, mode: Any) -> None:
    plain = host.run(SCRIPTS[name])
    events, host.events = host.events, []
    (kept,) = host.carry(keep(host, SCRIPTS[name], mode))
    assert same(kept) == same(plain), kept.error
    assert host.events == events


@BOTH
@pytest.mark.parametrize("name", SCRIPTS)
def test_what_nobody_read_is_read_later(streaming: Any, keep: Any, name: str, mode: Any) -> None:
    plain = streaming.run(SCRIPTS[name])
    kept = keep(streaming, SCRIPTS[name], mode)
    assert kept.receipt
    # a shell that nobody reads from after the plugin's end: its stdin ends without the word
    with subprocess.Popen(
        shell_argv(None), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as shell:
        assert shell.stdin
        shell.stdin.write(build_stream(kept, "0" * 32).whole())
        shell.stdin.flush()
        drains = [threading.Thread(target=pipe.read) for pipe in (shell.stdout, shell.stderr)]  # type: ignore[union-attr]
        for drain in drains:
            drain.start()
        until(lambda: "ended" in keep.state(kept))
        shell.stdin.close()
        for drain in drains:
            drain.join()
    streaming.events.clear()
    assert same(keep.ask(streaming, kept)) == same(plain)
    until(lambda: "read" in keep.state(kept))
    until(lambda: set(keep.files(kept)) == {"state"})


@BOTH
def test_a_plugin_may_open_its_output_again(host: Any, keep: Any, mode: Any) -> None:
    script = f"echo a >/dev/stderr; sleep 0.3; echo '{OK}' >/dev/stdout; echo b >/dev/stderr"
    (result,) = host.carry(keep(host, script, mode))
    assert (result.outcome, result.stderr) == (Outcome.OK, "a\nb\n")


@BOTH
def test_of_what_was_read_only_the_state_is_left(streaming: Any, keep: Any, mode: Any) -> None:
    script = 'printf \'{"payload":{"result":"success","output_data":{"at":"%s"}}}\' "$0"'
    kept = keep(streaming, script, mode)
    (result,) = streaming.carry(kept)
    until(lambda: keep.state(kept).endswith("read\n"))
    until(lambda: set(keep.files(kept)) == {"state"})
    assert result.output_data
    until(lambda: not Path(result.output_data["at"]).parents[1].exists())
    again = keep.ask(streaming, kept)
    assert (again.outcome, again.reason) == (Outcome.LOST, "receipt_incomplete")


@BOTH
def test_under_one_key_a_plugin_starts_once(host: Any, keep: Any, scratch: Path, mode: Any) -> None:
    kept = keep(host, f"echo x >>{scratch}/runs; echo '{OK}'", mode)
    (first,) = host.carry(kept)
    (second,) = host.carry(kept)
    assert (first.outcome, first.output_data) == (Outcome.OK, {"n": 1})
    assert second.outcome in (Outcome.LOST, Outcome.OK)  # over ssm nobody says that it was read
    assert (scratch / "runs").read_text() == "x\n"


@BOTH
def test_what_never_started_never_will(host: Any, keep: Any, scratch: Path, mode: Any) -> None:
    kept = keep(host, f"echo x >{scratch}/ran", mode)
    for _ in range(2):
        result = keep.ask(host, kept)
        assert (result.outcome, result.reason) == (Outcome.UNREACHABLE, "never_started")
    (result,) = host.carry(kept)  # a stream that was still on its way
    assert (result.outcome, result.reason) == (Outcome.UNREACHABLE, "never_started")
    assert not (scratch / "ran").exists()


@pytest.mark.parametrize("age_s", [25 * 3600.0, 20 * 3600.0])
def test_without_a_receipt_not_everything_can_be_known(
    host_factory: Any, sshd: Sshd, keep: Any, age_s: float
) -> None:
    """It may have expired, or have been lost with the host's last life."""
    host = host_factory(sshd.target("node1"))
    if age_s < 24 * 3600:
        age_s = float(Path("/proc/uptime").read_text().split()[0]) + 600
    result = keep.ask(host, keep(host, ":"), age_s=age_s)
    assert (result.outcome, result.reason) == (Outcome.LOST, "receipt_incomplete")


def test_two_targets_on_one_file_system_do_not_mix(
    host_factory: Any, sshd: Sshd, keep: Any
) -> None:
    host = host_factory(sshd.target("x"))
    script = (
        'printf \'{"payload":{"result":"success","output_data":{"on":"%s"}}}\' "$RUNE_PARAM_ON"'
    )
    run = secrets.token_hex(8)
    names = [f"node{n}" for n in range(8)]
    made = [
        keep(host, script, CONTINUE, run, params={"on": name}, target=sshd.target(name))
        for name in names
    ]
    results = host.carry(*made)
    assert {r.target: r.output_data for r in results} == {name: {"on": name} for name in names}


def test_nothing_that_came_in_is_in_a_receipt(streaming: Any, keep: Any, scratch: Path) -> None:
    word, comment = secrets.token_hex(16), secrets.token_hex(16)
    script = f"# {comment}\necho x >{scratch}/up; {FOREVER}"
    kept = keep(streaming, script, CONTINUE, params={"word": word})
    seen: list[bytes] = []

    def look() -> bool:
        if (scratch / "up").exists():
            seen.extend(path.read_bytes() for path in keep.files(kept).values())
        return bool(seen)

    watcher = streaming.cancel_when(look)
    (result,) = streaming.carry(kept)
    watcher.join()
    assert result.outcome is Outcome.CANCELLED
    assert len(seen) == 3
    assert not any(text.encode() in content for content in seen for text in (word, comment))


# -- the directory -------------------------------------------------------------------------------


def test_expired_receipts_are_removed(host_factory: Any, sshd: Sshd, keep: Any) -> None:
    with Account() as user:
        host = host_factory(sshd.target("x", user=user.name))
        kept = keep(host, f"echo '{OK}'")
        assert host.carry(kept)[0].ok
        root = next(path for path in keep.files(kept).values()).parents[1]
        now = int(time.time()) // 21600
        up = int(float(Path("/proc/uptime").read_text().split()[0])) // 21600
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        # The time since this boot counts; for another boot, or an earlier RUNE, the date does.
        old = {f"{now - 1}", f"{now - 1}-{up + 2}-other", f"{now + 2}-0-{boot}"}
        young = {f"{now + 2}", f"{now + 2}-0-other", f"{now - 1}-{up + 2}-{boot}"}
        for name in old | young:
            (root / name).mkdir()
            (root / name / "some.state").write_text("barred\n")
            os.chown(root / name, root.stat().st_uid, -1)
        assert host.carry(keep(host, f"echo '{OK}'"))[0].ok
        left = {path.parent.name for path in root.glob("*/some.state")}
        assert left == young
        subprocess.run(["rm", "-rf", root], check=True)


@pytest.mark.parametrize("what", ["link", "foreign"])
def test_somebody_elses_directory_is_not_used(
    host_factory: Any, sshd: Sshd, keep: Any, scratch: Path, what: str
) -> None:
    with Account() as user:
        host = host_factory(sshd.target("x", user=user.name))
        root = Path(f"/var/tmp/.rune-receipts-{user.uid}")
        kept = keep(host, f"echo '{OK}'")
        try:
            if what == "link":
                (scratch / "elsewhere").mkdir(mode=0o777)
                scratch.chmod(0o777)
                os.chown(scratch / "elsewhere", user.uid, -1)
                root.symlink_to(scratch / "elsewhere")
            else:
                root.mkdir(mode=0o777)
                root.chmod(0o777)
            assert host.carry(kept)[0].ok
            assert not list(root.iterdir())
            instead = user.home / root.name
            assert list(instead.glob(f"*/{kept.receipt}.state"))
        finally:
            if root.is_symlink():
                root.unlink()
            else:
                subprocess.run(["rm", "-rf", root], check=True)


EXCHANGE = """\
import ctypes, os, sys
root, leads = sys.argv[1:]
os.umask(0)
os.mkdir(root)
os.symlink(leads, root + ".x")
syscall, names = ctypes.CDLL(None).syscall, [name.encode() for name in (root, root + ".x")]
number = {"x86_64": 316, "aarch64": 276}[os.uname().machine]
while True:
    syscall(number, -100, names[0], -100, names[1], 2)  # renameat2, RENAME_EXCHANGE
"""


@pytest.mark.needs_root
def test_what_others_exchange_between_two_looks_is_not_used(public: Path) -> None:
    """Without fs.protected_symlinks, which the kernel leaves off, root follows their links."""
    public.chmod(0o1777)
    (public / "roots").mkdir(mode=0o755)
    script = f"""\
. {OWN}
for ((i = 0; i < 20000; i++)); do rune_is_own {public}/name && echo used; done
rune_is_own {public}/roots && echo own
"""
    with Account() as other:
        argv = [sys.executable, "-c", EXCHANGE, str(public / "name"), str(public / "roots")]
        with subprocess.Popen([*as_user(other), *argv]) as exchanging:
            try:
                until(lambda: os.path.lexists(public / "name.x"))
                done = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
            finally:
                exchanging.kill()
    assert done.stdout.split() == ["own"]


@pytest.fixture
def refused(host_factory: Any, sshd: Sshd) -> Iterator[tuple[Any, Path]]:
    """A host on which neither /var/tmp nor $HOME takes a receipt, and the last place that may."""
    with Account() as user:
        name = f".rune-receipts-{user.uid}"
        Path("/var/tmp", name).touch()
        (user.home / name).touch()
        yield host_factory(sshd.target("x", user=user.name)), Path("/dev/shm", name)
        Path("/var/tmp", name).unlink()
        subprocess.run(["rm", "-rf", f"/dev/shm/{name}"], check=True)


def test_the_last_place_is_in_memory(refused: Any, keep: Any) -> None:
    """A plugin that is to outlive its connection, and so perhaps the last login, is refused."""
    host, root = refused
    kept = keep(host, f"echo '{OK}'")
    assert host.carry(kept)[0].ok
    assert list(root.glob(f"*/{kept.receipt}.state"))
    result = host.carry(keep(host, f"echo '{OK}'", CONTINUE))[0]
    assert (result.outcome, result.reason) == (Outcome.FAILED, "no_writable_directory")


def test_no_place_takes_a_receipt(refused: Any, keep: Any) -> None:
    host, root = refused
    root.touch()
    kept = keep(host, f"echo '{OK}'")
    result = host.carry(kept)[0]
    assert (result.outcome, result.reason) == (Outcome.FAILED, "no_writable_directory")
    asked = keep.ask(host, kept)
    assert (asked.outcome, asked.reason) == (Outcome.LOST, "receipt_incomplete")


def test_what_only_memory_could_have_kept_is_not_called_never_started(
    refused: Any, keep: Any, scratch: Path
) -> None:
    """It may have been emptied since; but from now on nothing starts under this key."""
    host, _ = refused
    scratch.chmod(0o777)
    kept = keep(host, f"touch {scratch}/ran")
    for _ in range(2):
        asked = keep.ask(host, kept)
        assert (asked.outcome, asked.reason) == (Outcome.LOST, "receipt_incomplete")
    result = host.carry(kept)[0]
    assert (result.outcome, result.reason) == (Outcome.LOST, "receipt_incomplete")
    assert not (scratch / "ran").exists()


def test_where_no_file_may_grow_that_is_said(host_factory: Any, sshd: Sshd, keep: Any) -> None:
    """Nobody has read, and so removed, what could never be written."""
    with Account(bashrc="ulimit -f 0\n") as user:
        host = host_factory(sshd.target("x", user=user.name))
        kept = keep(host, f"echo '{OK}'")
        (result,) = host.carry(kept)
        assert (result.outcome, result.reason) == (Outcome.FAILED, "no_writable_directory")
        asked = keep.ask(host, kept)
        assert (asked.outcome, asked.reason) == (Outcome.LOST, "receipt_incomplete")
        assert "the host has no disk" in asked.message
        assert not keep.files(kept)


def test_a_shell_that_was_killed_before_its_first_word(
    host_factory: Any, sshd: Sshd, keep: Any
) -> None:
    host = host_factory(sshd.target("node1"))
    kept = keep(host, f"echo '{OK}'")
    keep.ask(host, kept)
    keep.files(kept)["state"].write_text("")
    asked = keep.ask(host, kept)
    assert (asked.outcome, asked.reason) == (Outcome.LOST, "receipt_incomplete")
    assert "before it had noted a result" in asked.message
