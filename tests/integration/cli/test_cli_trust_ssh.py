"""Files of ssh that an inventory names and other people can change."""

from __future__ import annotations

import os

import pytest

from lmm.testing import Account, Sshd
from tests.support.errors import error_of, reason

from .conftest import Rune

pytestmark = pytest.mark.needs_root


@pytest.mark.parametrize(
    ("transport", "where"), [("ssh", "defaults"), ("openssh", "groups"), ("ssh", "targets")]
)
def test_an_ssh_config_of_another_runs_nothing(
    rune: Rune, account: Account, transport: str, where: str
) -> None:
    mark = rune.folder / "ran"
    config = rune.write("theirs/ssh_config", f"Host *\n ProxyCommand sh -c 'id -un > {mark}'\n")
    ssh = "{config_file: theirs/ssh_config, connect_attempts: 1}"
    settings = f"{{transport: {transport}, ssh: {ssh}}}"
    for name in ("inventory.yaml", "named.yaml"):
        rune.write(
            name,
            {
                "defaults": f"defaults: {settings}\ntargets: {{h: {{host: 127.0.0.1, port: 1}}}}\n",
                "groups": f"targets: {{h: {{host: 127.0.0.1, port: 1}}}}\n"
                f"groups: {{g: {{targets: [h], defaults: {settings}}}}}\n",
                "targets": f"targets: {{h: {{host: 127.0.0.1, port: 1, {settings[1:]}}}\n",
            }[where],
        )

    def refused(*more: str) -> str:
        done = rune("run", "noop", "-t", "h", "-o", "json", *more)
        assert done.code == 2, done.stderr
        error = error_of(done)
        assert error["data"]["reason"] == "untrusted_path"
        assert not mark.exists()
        return str(error["message"])

    os.chown(config, account.uid, account.uid)
    assert f"{config} is not obeyed: {config} belongs to {account.name}" in refused()
    refused("-i", "named.yaml")  # what a file names, as everywhere
    os.chown(config, 0, 0)
    config.chmod(0o666)
    assert f"`chmod go-w {config}`" in refused()
    config.chmod(0o644)
    config.parent.chmod(0o777)
    assert f"everybody may write {config.parent}" in refused()
    config.parent.chmod(0o755)
    assert rune("run", "noop", "-t", "h", "-q").code == 4  # no host is there
    assert mark.read_text() == "root\n"


@pytest.mark.parametrize("transport", ["ssh", "openssh"])
def test_what_an_ssh_config_includes_from_another_runs_nothing(
    rune: Rune, account: Account, transport: str
) -> None:
    mark = rune.folder / "ran"
    included = rune.write("theirs/conf.d/a", f"Host *\n ProxyCommand sh -c 'id -un > {mark}'\n")
    rune.write("ssh_config", f"Host other 127.0.0.1\n Include {rune.folder}/theirs/conf.d/*\n")
    settings = "{config_file: ssh_config, connect_attempts: 1}"
    rune.write("inventory.yaml", f"targets: {{h: {{host: 127.0.0.1, ssh: {settings}}}}}\n")
    command = ("run", "noop", "-t", "h", "--transport", transport, "-o", "json")
    theirs, open_to_all = (included, account.uid, 0o644), (included, 0, 0o666)
    for path, uid, mode in (theirs, open_to_all, (included.parent, 0, 0o777)):
        before = path.stat().st_mode
        os.chown(path, uid, uid)
        path.chmod(mode)
        done = rune(*command)
        assert (done.code, reason(done)) == (2, "untrusted_path")
        assert f"{path} is not obeyed" in error_of(done)["message"]
        os.chown(path, 0, 0)
        path.chmod(before)
    assert not mark.exists()
    assert rune(*command).code == 4  # no host is there
    assert mark.read_text() == "root\n"


@pytest.mark.parametrize("transport", ["ssh", "openssh"])
def test_known_hosts_of_another_are_not_believed(
    rune: Rune, account: Account, sshd: Sshd, transport: str
) -> None:
    known = rune.write("theirs/known_hosts", sshd.known_hosts.read_text())
    precious = rune.write("precious", "")
    settings = (
        f"{{identity_files: [{sshd.identity_file}], known_hosts: [theirs/known_hosts],"
        " config_file: none, host_key_policy: accept-new, persist_s: 0}"
    )
    rune.write(
        "inventory.yaml",
        f"targets: {{h: {{host: 127.0.0.1, port: {sshd.port}, ssh: {settings}}}}}\n",
    )
    command = ("run", "noop", "-t", "h", "--transport", transport, "-o", "json")

    def refused() -> str:
        done = rune(*command)
        assert (done.code, reason(done)) == (2, "untrusted_path")
        return str(error_of(done)["message"])

    os.chown(known, account.uid, account.uid)
    assert f"{known} is not obeyed: {known} belongs to {account.name}" in refused()
    known.unlink()
    known.symlink_to(precious)
    os.chown(known, account.uid, account.uid, follow_symlinks=False)
    refused()
    known.unlink()
    known.parent.chmod(0o1777)  # others could put one there
    refused()
    known.parent.chmod(0o755)
    assert rune(*command).code == 0
    assert precious.read_text() == ""
    assert known.read_text()
