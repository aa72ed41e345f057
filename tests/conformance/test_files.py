"""A plugin may have more files than its script; large ones are sent once and kept by the host."""

from __future__ import annotations

import contextlib
import hashlib
import os
import pwd
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from lmm.files import INLINE_BYTES
from lmm.model import File, Invocation, Outcome, Result
from lmm.testing import Account, Sshd

from .conftest import SUCCESS

LARGE = INLINE_BYTES + 1


@dataclass
class Stores:
    """Where this machine, as a host, keeps files. What a test has it keep is removed after it."""

    folders: list[Path]
    contents: list[bytes] = field(default_factory=list)

    def large(self) -> bytes:
        return self.note(secrets.token_bytes(16) + b"\0" * (LARGE - 16))

    def note(self, content: bytes) -> bytes:
        self.contents.append(content)
        return content

    def kept(self, content: bytes) -> list[Path]:
        name = hashlib.sha256(content).hexdigest()
        return [folder / name for folder in self.folders if (folder / name).exists()]


@pytest.fixture
def stores(sshd: Sshd) -> Iterator[Stores]:
    homes = {sshd.home, Path.home(), Path(pwd.getpwuid(os.getuid()).pw_dir)}
    name = f"rune-files-{os.getuid()}"
    found = Stores([*(home / ".cache" / name for home in homes), Path("/var/tmp") / name])
    yield found
    for path in (path for content in found.contents for path in found.kept(content)):
        path.unlink()
    for folder in found.folders:
        with contextlib.suppress(OSError):  # it has other files, or was never made
            folder.rmdir()


def with_files(host: Any, script: str, *files: File, **fields: Any) -> Invocation:
    invocation: Invocation = host.invocation(script, **fields)
    return replace(invocation, script=replace(invocation.script, files=files))


def run(host: Any, script: str, *files: File, **fields: Any) -> Result:
    (result,) = host.carry(with_files(host, script, *files, **fields))
    assert isinstance(result, Result)
    return result


def test_files_lie_beside_the_script(host: Any) -> None:
    helper = File("helper.sh", b'say() { printf "%s" "$1"; }\n')
    tool = File("files/bin/tool", b"#!/bin/sh\necho made\n", executable=True)
    data = File("files/deep/er/data.bin", bytes(range(256)) * 4)
    empty = File("files/empty", b"")
    script = f""". "${{0%/*}}/helper.sh"
here=${{0%/*}}
[[ ! -s $here/files/empty && -e $here/files/empty && ! -x $here/helper.sh ]] || exit 9
out=$(say one; "$here/files/bin/tool"; sha256sum <"$here/files/deep/er/data.bin")
printf '{SUCCESS}\\n' "{{\\"out\\":\\"${{out//[^0-9a-z]/}}\\"}}"
"""
    result = run(host, script, helper, tool, data, empty)
    assert result.outcome is Outcome.OK, result.error
    assert result.output_data == {"out": "onemade" + hashlib.sha256(data.content).hexdigest()}


def test_a_large_file_is_sent_once(host: Any, stores: Stores) -> None:
    data = File("files/model", stores.large())
    small = File("files/small", b"x")
    script = 'sha256sum <"${0%/*}/files/model" >&2; cat "${0%/*}/files/small" >&2\n'
    script += f"echo '{SUCCESS % '{}'}'"
    sent = []
    for _ in range(2):
        result = run(host, script, data, small)
        assert result.outcome is Outcome.OK, result.error
        assert result.stderr.split() == [hashlib.sha256(data.content).hexdigest(), "-", "x"]
        assert result.attempt == 1
        (path,) = stores.kept(data.content)
        assert path.stat().st_mode & 0o777 == 0o500
        assert path.parent.stat().st_mode & 0o777 == 0o700
        sent.append((path.stat().st_ino, path.stat().st_ctime_ns > 0))
    assert sent[0] == sent[1]


def test_a_large_script_is_kept_too(host: Any, stores: Stores) -> None:
    padding = "#" * 1023 + "\n"
    script = f"# {secrets.token_hex(8)}\n{padding * (LARGE // 1024 + 1)}echo '{SUCCESS % '{}'}'\n"
    stores.note(script.encode())
    for _ in range(2):
        assert run(host, script).outcome is Outcome.OK
    assert stores.kept(script.encode())


def test_a_large_program_runs(host: Any, stores: Stores) -> None:
    program = b"#!/bin/sh\nexec 3<&0; cat >/dev/null <&3; echo '" + (SUCCESS % "{}").encode()
    program += b"'\nexit\n" + secrets.token_bytes(LARGE)
    stores.note(program)
    for _ in range(2):
        assert host.run(program, interpreter=()).outcome is Outcome.OK
    assert stores.kept(program)


def test_what_was_altered_on_the_host_is_sent_again(host: Any, stores: Stores) -> None:
    data = File("files/model", stores.large())
    script = f"sha256sum <\"${{0%/*}}/files/model\" >&2; echo '{SUCCESS % '{}'}'"
    assert run(host, script, data).ok
    (path,) = stores.kept(data.content)
    path.chmod(0o700)
    path.write_bytes(b"something else")
    result = run(host, script, data)
    assert result.ok
    assert result.stderr.split()[0] == hashlib.sha256(data.content).hexdigest()


def test_many_targets_that_share_a_home(host: Any, stores: Stores) -> None:
    """All of them want the file at the same time."""
    data = File("files/model", stores.large())
    script = f"[[ -s ${{0%/*}}/files/model ]] && echo '{SUCCESS % '{}'}'"
    invocations = []
    for number in range(8):
        target = replace(host.target, name=f"n{number}", host=host.target.address)
        invocations.append(with_files(host, script, data, target=target))
    results = host.carry(*invocations)
    assert [result.outcome for result in results] == [Outcome.OK] * 8, results[0].error


def test_with_a_receipt_it_is_one_start(host: Any, stores: Stores) -> None:
    """That the host wants a file is no start: the same key may be used again."""
    data = File("files/model", stores.large())
    script = f"echo '{SUCCESS % '{}'}'"
    result = run(host, script, data, receipt=secrets.token_hex(16))
    assert result.outcome is Outcome.OK, result.error


@pytest.mark.needs_root
def test_nothing_is_left_where_nothing_can_be_kept(
    host_factory: Callable[..., Any], sshd: Any, stores: Stores
) -> None:
    with Account() as user:
        host = host_factory(sshd.target("x", user=user.name))
        foreign = Path(f"/var/tmp/rune-files-{user.uid}")
        (user.home / ".cache").touch()
        foreign.mkdir()
        try:
            result = run(host, "true", File("files/model", stores.large()))
        finally:
            foreign.rmdir()
    assert result.outcome is Outcome.FAILED
    error = result.problem
    assert error["data"]["reason"] == "files_not_kept"
    assert "no directory on the host keeps the files" in error["message"]
