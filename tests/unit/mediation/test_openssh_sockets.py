"""Where the sockets of kept connections are, and what their names depend on."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lmm.errors import RequestError
from lmm.model import Become, SecretRef, SshSettings, Target
from lmm.ssh import masters
from lmm.ssh.masters import directory, socket_of

TARGET = Target("web1", host="10.0.0.1", ssh=SshSettings(config_file="none"))


def in_runtime() -> Path:
    return Path(os.environ["XDG_RUNTIME_DIR"], "rune")


def in_temporary() -> Path:
    return Path(os.environ["TMPDIR"], f"rune-{os.getuid()}")


# -- the directory -----------------------------------------------------------------------------


def test_the_directory_is_made_private_and_found_again() -> None:
    old = os.umask(0)
    try:
        assert directory() == in_runtime()
    finally:
        os.umask(old)
    assert in_runtime().stat().st_mode & 0o777 == 0o700
    assert directory() == in_runtime()


def open_to_others(path: Path) -> None:
    path.mkdir()
    path.chmod(0o770)


def not_a_directory(path: Path) -> None:
    path.touch(mode=0o600)


def link_elsewhere(path: Path) -> None:
    elsewhere = path.with_name("elsewhere")
    elsewhere.mkdir(mode=0o700)
    path.symlink_to(elsewhere)


def link(path: Path) -> Path:
    path.symlink_to("/")
    return path


def anothers(path: Path) -> None:
    path.mkdir(mode=0o700)
    os.chown(path, 65534, 65534)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (open_to_others, "open to others (mode 770)"),
        (not_a_directory, "no directory"),
        (link_elsewhere, "no directory"),
        pytest.param(anothers, "user with id 65534", marks=pytest.mark.needs_root),
    ],
)
def test_a_directory_that_is_not_private_is_refused(
    spoil: Callable[[Path], None], words: str
) -> None:
    spoil(in_runtime())
    with pytest.raises(RequestError, match="set XDG_RUNTIME_DIR") as refused:
        directory()
    assert refused.value.reason == "local_io_error"
    assert words in refused.value.message
    assert str(in_runtime()) in refused.value.message


def missing() -> None:
    del os.environ["XDG_RUNTIME_DIR"]


def relative() -> None:
    os.environ["XDG_RUNTIME_DIR"] = "run"


def gone() -> None:
    os.environ["XDG_RUNTIME_DIR"] += "/gone"


def too_long() -> None:
    os.environ["XDG_RUNTIME_DIR"] += "/" + "x" * masters.MAX_DIRECTORY
    Path(os.environ["XDG_RUNTIME_DIR"]).mkdir()


def of_another_user() -> None:
    os.chown(os.environ["XDG_RUNTIME_DIR"], 65534, 65534)


def for_all() -> None:
    os.chmod(os.environ["XDG_RUNTIME_DIR"], 0o777)


def below_a_folder_for_all() -> None:
    above = Path(os.environ["XDG_RUNTIME_DIR"], "above")
    above.mkdir()
    above.chmod(0o777)
    os.environ["XDG_RUNTIME_DIR"] = str(above / "run")
    os.mkdir(os.environ["XDG_RUNTIME_DIR"], 0o700)


@pytest.mark.parametrize(
    "spoil",
    [
        missing,
        relative,
        gone,
        too_long,
        for_all,
        below_a_folder_for_all,
        pytest.param(of_another_user, marks=pytest.mark.needs_root),
    ],
)
def test_without_a_runtime_directory_of_ones_own_it_is_a_temporary_one(
    spoil: Callable[[], None],
) -> None:
    spoil()
    assert directory() == in_temporary()
    in_temporary().rmdir()


@pytest.mark.needs_root
def test_a_temporary_directory_in_which_others_could_exchange_it_is_not_taken() -> None:
    """As where `su` or `sudo -E` keeps the TMPDIR of who called it."""
    missing()
    theirs = Path(os.environ["TMPDIR"])
    os.chown(theirs, 65534, 65534)
    found = directory()
    assert found.parent == Path("/tmp")
    assert list(theirs.iterdir()) == []
    with contextlib.suppress(OSError):  # unless somebody uses it
        found.rmdir()


def test_a_temporary_directory_that_others_could_make_is_not_taken() -> None:
    missing()
    os.chmod(os.environ["TMPDIR"], 0o1777)
    os.environ["TMPDIR"] += "/gone"
    found = directory()
    assert found.parent == Path("/tmp")
    with contextlib.suppress(OSError):  # unless somebody uses it
        found.rmdir()


@pytest.mark.needs_root
def test_a_temporary_directory_that_another_makes_anew_meanwhile_is_not_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    missing()
    above = Path(os.environ["TMPDIR"])
    make = Path.mkdir

    def made_late(path: Path, mode: int) -> None:
        above.rmdir()
        make(above, 0o755)
        os.chown(above, 65534, 65534)
        make(path, mode)

    with monkeypatch.context() as late:
        late.setattr(Path, "mkdir", made_late)
        with pytest.raises(RequestError, match="is where others can exchange it") as refused:
            directory()
    assert f"{above} belongs to " in refused.value.message
    in_temporary().rmdir()


@pytest.mark.needs_root
def test_a_name_that_somebody_takes_and_leaves_all_the_time_stops_nobody() -> None:
    missing()
    theirs = in_temporary()
    os.chmod(theirs.parent, 0o1777)
    loop = f"""
import os
os.setgid(65534); os.setuid(65534)
print("begins", flush=True)
while True:
    try:
        os.mkdir({str(theirs)!r})
        os.rmdir({str(theirs)!r})
    except OSError:
        pass
"""
    with subprocess.Popen([sys.executable, "-c", loop], stdout=subprocess.PIPE) as other:
        assert other.stdout
        try:
            other.stdout.readline()
            for _ in range(300):
                found = directory()
                assert found.stat().st_uid == 0
                found.rmdir()
        finally:
            other.kill()
    with contextlib.suppress(OSError):
        theirs.rmdir()


@pytest.mark.needs_root
@pytest.mark.parametrize("spoil", [anothers, lambda path: os.lchown(link(path), 65534, 65534)])
def test_a_name_that_somebody_else_has_taken_stops_nobody(spoil: Callable[[Path], None]) -> None:
    missing()
    spoil(in_temporary())
    found = directory()
    assert found.name.startswith(f"{in_temporary().name}-")
    assert found.stat().st_mode & 0o777 == 0o700
    assert directory() == found
    before = link(in_temporary().with_name(f"{in_temporary().name}-0"))
    assert directory() == found
    before.unlink()
    with socket.socket(socket.AF_UNIX) as master:
        master.bind(str(found / ("a" * 24)))
        master.listen()
        assert masters.disconnect().silent == 1
    found.rmdir()
    if in_temporary().is_symlink():
        in_temporary().unlink()
    else:
        in_temporary().rmdir()


@pytest.mark.needs_root
def test_many_names_that_somebody_else_has_taken_are_looked_through_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    missing()
    anothers(in_temporary())
    found = directory()
    looks = list[Path]()
    beside = masters._beside

    def counted(path: Path) -> Iterator[Path]:
        looks.append(path)
        return beside(path)

    monkeypatch.setattr(masters, "_beside", counted)
    assert [directory() for _ in range(3)] == [found] * 3
    assert looks == []
    os.chmod(found, 0o755)
    other = directory()
    assert other != found  # which is no longer private
    assert looks == [in_temporary()]
    for path in (found, other, in_temporary()):
        path.rmdir()


def test_every_socket_has_room_for_the_name_that_ssh_binds(tmp_path: Path) -> None:
    folder = Path("/" + "x" * (masters.MAX_DIRECTORY - 1))
    assert len(socket_of(TARGET, folder)) + len(".") + 16 <= 107


# -- names -------------------------------------------------------------------------------------


def ssh(**settings: Any) -> Target:
    return replace(TARGET, ssh=replace(TARGET.ssh, **settings))


@pytest.mark.parametrize(
    "same",
    [
        replace(TARGET, name="other", vars={"x": 1}, groups=("g",)),
        replace(TARGET, transport="auto"),
        replace(TARGET, become=Become("root", SecretRef("env:PW"))),
        ssh(connect_timeout_s=1.0, banner_timeout_s=2.0, auth_timeout_s=3.0, connect_attempts=9),
    ],
)
def test_what_does_not_matter_to_a_connection_shares_it(same: Target) -> None:
    folder = Path("/run")
    assert socket_of(same, folder) == socket_of(TARGET, folder)


@pytest.mark.parametrize(
    "other",
    [
        replace(TARGET, host="10.0.0.2"),
        replace(TARGET, port=2222),
        replace(TARGET, user="ops"),
        ssh(identity_files=("/k",)),
        ssh(password=SecretRef("env:PW")),
        ssh(password=SecretRef("env:PW2")),
        ssh(proxy_jump="bastion"),
        ssh(known_hosts=("/k",)),
        ssh(options={"Compression": "yes"}),
        ssh(persist_s=60.0),
    ],
)
def test_what_decides_a_login_makes_another_connection(other: Target) -> None:
    folder = Path("/run")
    assert socket_of(other, folder) != socket_of(TARGET, folder)


@pytest.mark.parametrize("variable", ["SSH_AUTH_SOCK", "KRB5CCNAME", "RUNE_ASKER"])
def test_another_agent_ticket_or_asker_makes_another_connection(
    monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    before = socket_of(TARGET, Path("/run"))
    monkeypatch.setenv(variable, "/tmp/agent.1")
    assert socket_of(TARGET, Path("/run")) != before


def test_a_secret_leaves_no_trace_in_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    names = set()
    for value in ("hunter2", "hunter3"):
        monkeypatch.setenv("PW", value)
        names.add(socket_of(ssh(password=SecretRef("env:PW")), Path("/run")))
    assert len(names) == 1


def test_a_changed_configuration_makes_another_connection(tmp_path: Path) -> None:
    config, included = tmp_path / "config", tmp_path / "included"
    config.write_text(f"Include {included}\n")
    names = [socket_of(ssh(config_file=str(config)), Path("/run"))]
    included.write_text("Host web1\n  User ops\n")
    names.append(socket_of(ssh(config_file=str(config)), Path("/run")))
    included.write_text("Host web1\n  User root\n")
    names.append(socket_of(ssh(config_file=str(config)), Path("/run")))
    names.append(socket_of(ssh(config_file=str(config)), Path("/run")))
    assert len(set(names)) == 3
