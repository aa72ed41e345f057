"""No space left: on the host, for the plugin and for what it writes; on this machine."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from lmm.model import Limits, OnDisconnect, Outcome
from lmm.testing import Sshd
from lmm.transports import TransportPool, disconnect
from tests.conformance.conftest import SUCCESS, Host, Keeper
from tests.support.waiting import comes_true

from .conftest import Fleet, reasons

pytestmark = pytest.mark.needs_root  # mounts file systems

ANSWER = SUCCESS % "{}"

# A login that sees full file systems, by a mount namespace that ends with it.
LOGIN = """\
#!/bin/bash
export FULL={full}
exec unshare --mount bash -c '
  for place in $FULL; do
    mount -t tmpfs -o size=64k none "$place" && ! head -c 1M /dev/zero 2>/dev/null >"$place/filler"
  done && exec bash -c "$SSH_ORIGINAL_COMMAND"'
"""


@contextmanager
def host_with_full(folder: Path, *places: str) -> Iterator[Sshd]:
    login = folder / "login"
    login.write_text(LOGIN.replace("{full}", f'"{" ".join(places)}"'))
    login.chmod(0o755)
    with Sshd(config=[f"ForceCommand {login}"]) as server:
        yield server


def test_no_directory_of_the_host_has_room(fleet: Fleet, tmp_path: Path) -> None:
    with host_with_full(tmp_path, "/dev/shm", "/var/tmp", "$HOME", "/tmp") as server:
        fleet.targets([f"transport: {one}" for one in ("ssh", "openssh") * 5], server)
        done = fleet.run()
    assert reasons(done.document) == {("failed", "no_writable_directory"): 10}
    assert fleet.count(done.document) == {"failed": 10}
    assert fleet.ran == []


@pytest.mark.parametrize("transport", ["ssh", "openssh"])
def test_with_full_disks_the_receipt_is_kept_in_memory(tmp_path: Path, transport: str) -> None:
    keep, pool = Keeper(), TransportPool()
    with host_with_full(tmp_path, "/var/tmp", "$HOME") as server:
        host = Host(server.target("x", transport=transport), pool)
        kept = keep(host, f"until [[ -e {tmp_path}/go ]]; do sleep 0.05; done; echo '{ANSWER}'")
        seen: list[Path] = []

        def look() -> bool:
            seen.extend(keep.files(kept).values())
            if seen:
                (tmp_path / "go").touch()
            return False

        try:
            watcher = host.cancel_when(look)
            (result,) = host.carry(kept)
            host.scope.cancel()
            watcher.join()
        finally:
            pool.close()
            disconnect()
            keep.clear()
    assert result.ok, result.error
    assert {path.parts[:3] for path in seen} == {("/", "dev", "shm")}


@pytest.mark.parametrize("byte", ["x", "\0"], ids=["text", "bytes"])  # the shell reads text only
def test_the_next_directory_is_taken(fleet: Fleet, tmp_path: Path, byte: str) -> None:
    """The plugin's own writes to the full one fail, and its own error says so."""
    fleet.plugin(
        f"# {byte}\n[[ $0 == /dev/shm/* ]] && exit 9\n"
        "if ((10#${t#n} % 2)) && ! head -c 1M /dev/zero 2>/dev/null >/dev/shm/more; then\n"
        """ echo '{"error": {"code": 2, "message": "No space left on device"}}'; exit 2; fi"""
    )
    with host_with_full(tmp_path, "/dev/shm") as server:
        fleet.targets([f"transport: {one}" for one in ("ssh", "ssh", "openssh", "openssh")], server)
        done = fleet.run()
    assert fleet.count(done.document) == {"ok": 2, "failed": 2}
    assert reasons(done.document) == {("failed", "plugin_failed"): 2}
    failed = [one for one in done.document["results"] if one["outcome"] == "failed"]
    assert all("No space left on device" in str(one["error"]) for one in failed)


@pytest.mark.parametrize("transport", ["ssh", "openssh"])
def test_no_further_file_can_be_made_while_the_plugin_runs(tmp_path: Path, transport: str) -> None:
    """That it is killed, and why, is noted all the same."""
    login = tmp_path / "login"
    login.write_text(
        "#!/bin/bash\n"
        "exec unshare --mount bash -c 'mount -t tmpfs -o nr_inodes=30 none /dev/shm &&"
        ' exec env -u XDG_RUNTIME_DIR bash -c "$SSH_ORIGINAL_COMMAND"\'\n'
    )
    login.chmod(0o755)
    fill = "cd /dev/shm; while : >${#made}; do made+=x; done 2>/dev/null"
    script = f"{fill}; [[ $made ]] && echo >{tmp_path}/full; sleep 600"
    pool = TransportPool()
    with Sshd(config=[f"ForceCommand {login}"]) as server:
        host = Host(server.target("x", transport=transport), pool)
        try:
            result = host.run(script, limits=Limits(timeout_s=5))
        finally:
            pool.close()
            disconnect()
    assert (tmp_path / "full").exists()
    assert result.outcome is Outcome.TIMED_OUT, result.error


def test_a_disk_that_fills_while_the_receipt_is_written(tmp_path: Path, small_disk: Path) -> None:
    login = tmp_path / "login"
    login.write_text(
        "#!/bin/bash\n"
        f"exec unshare --mount bash -c 'mount --bind {small_disk} /var/tmp &&"
        ' exec bash -c "$SSH_ORIGINAL_COMMAND"\'\n'
    )
    login.chmod(0o755)
    keep, pool = Keeper(), TransportPool()
    script = f"head -c 4M /dev/zero >/var/tmp/filler 2>/dev/null; echo '{ANSWER}'"
    with Sshd(config=[f"ForceCommand {login}"]) as server:
        host = Host(server.target("x", transport="ssh"), pool)
        try:
            limits = Limits(timeout_s=5)
            (result,) = host.carry(keep(host, script, OnDisconnect.CONTINUE, limits=limits))
        finally:
            pool.close()
    assert (result.outcome, result.reason) == (Outcome.LOST, "receipt_incomplete")
    assert "(/var/tmp, or the home) was full" in result.message


def test_stdout_is_full(fleet: Fleet) -> None:
    """Whoever reads is told by the exit code; the ledger has what could not be printed."""
    fleet.mixed(6)
    with open("/dev/full", "wb") as full:
        done = fleet.run(stdout=full)
    assert done.code == 70
    assert "cannot write to stdout: No space left on device" in done.stderr
    shown = fleet.rune("runs", "show", "last", "-o", "json")
    assert fleet.count(shown.document) == {"ok": 6}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A state directory on a file system of 1 MiB."""
    place = tmp_path / "state"
    place.mkdir(mode=0o700)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", place], check=True)
    yield place
    subprocess.run(["umount", place], check=True)


@pytest.mark.parametrize("is_freed", [True, False])
def test_the_ledgers_disk_fills_in_the_middle(
    fleet: Fleet, small_disk: Path, is_freed: bool
) -> None:
    """stdout is complete either way; the ledger is, too, if there is room again before the end."""
    filler, gate = small_disk / "filler", fleet.rune.folder / "gate"
    fill = f"[[ $t != n05 ]] || head -c 4M /dev/zero 2>/dev/null >{filler}"
    wait = f"[[ $t != n39 ]] || until [[ -e {gate} ]]; do sleep 0.05; done"
    fleet.plugin(f"{fill}; {wait}; head -c 3000 /dev/zero | tr '\\0' x >&2")
    fleet.targets(["transport: local"] * 40)
    place = {"RUNE_STATE_DIR": str(small_disk)}
    with fleet.rune.start(*fleet.arguments("--concurrency", "4"), env=place) as rune:
        assert comes_true(lambda: "n39" in fleet.ran)
        if is_freed:
            filler.unlink()
        gate.touch()
        out, err = rune.communicate(timeout=60)
    document = json.loads(out)
    assert rune.returncode == 0
    assert fleet.count(document, is_recorded=False) == {"ok": 40}
    assert all(len(one["stderr"]) == 3000 for one in document["results"])
    assert (b"is incomplete: the disk is full" in err) != is_freed
    filler.unlink(missing_ok=True)
    shown = fleet.rune("runs", "show", "last", "-o", "json", env=place)
    if is_freed:
        assert shown.document == document
    else:
        assert shown.document["incomplete"]
    assert fleet.rune("audit", "verify", env=place).code == 0


def test_on_a_full_disk_the_ledger_can_be_read(fleet: Fleet, small_disk: Path) -> None:
    fleet.plugin("true")
    fleet.targets(["transport: local"])
    place = {"RUNE_STATE_DIR": str(small_disk)}
    done = fleet.rune(*fleet.arguments(), env=place)
    with open(small_disk / "filler", "wb", buffering=0) as filler, suppress(OSError):
        while True:
            filler.write(bytes(4096))
    assert fleet.rune("runs", "show", "last", "-o", "json", env=place).document == done.document
