"""What others can change is not obeyed: by whom it is owned, who may write it, what leads to it."""

from __future__ import annotations

import os
import pwd
import struct
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lmm.errors import RequestError
from lom.documents.trust import distrust, is_own, refuse_foreign, trust, trusted_folders
from lom.inventory.load import load_inventory
from lom.registry.places import default_registry
from lom.settings.load import load_settings

pytestmark = pytest.mark.needs_root  # only root can give files away

OTHER = 54321
GROUP = 54322


def give(path: Path, mode: int | None = None, *, uid: int = OTHER, gid: int = GROUP) -> Path:
    os.chown(path, uid, gid, follow_symlinks=False)
    if mode is not None:
        path.chmod(mode)
    return path


@pytest.fixture
def here(tmp_path: Path) -> Path:
    folder = tmp_path / "far" / "here"
    folder.mkdir(parents=True, mode=0o755)
    (folder / "rune.yaml").write_text("concurrency: 3\n")
    return folder


def link(path: Path, to: Path) -> Path:
    path.unlink()
    path.symlink_to(to)
    return path


def in_sticky(here: Path) -> Path:
    give(here, 0o1777, uid=0)
    return here


ARRANGEMENTS: dict[str, tuple[Callable[[Path], object], str | None]] = {
    "one's own": (lambda here: None, None),
    "a file of another": (lambda here: give(here / "rune.yaml"), "belongs to uid 54321"),
    "a folder of another": (lambda here: give(here), "here belongs to uid 54321"),
    "a folder above of another": (lambda here: give(here.parent), "far belongs to uid 54321"),
    "a file for all": (lambda here: (here / "rune.yaml").chmod(0o666), "everybody may write"),
    "a file for a group": (
        lambda here: give(here / "rune.yaml", 0o664, uid=0),
        "the group 54322 may write",
    ),
    "a file for one's own group": (lambda here: (here / "rune.yaml").chmod(0o664), None),
    "a folder for all": (lambda here: here.chmod(0o777), "(mode 0777, owner root (uid 0))"),
    "a folder for a group": (lambda here: give(here, 0o2775, uid=0), "(mode 2775"),
    "a folder for one's own group": (lambda here: here.chmod(0o775), None),
    "a folder above for all": (lambda here: here.parent.chmod(0o777), "everybody may write"),
    "one's own in a sticky folder": (in_sticky, "may have been put there by others"),
    "one's own folder in a sticky folder": (
        lambda here: give(here.parent, 0o1777, uid=0),
        None,
    ),
    "of another in a sticky folder": (
        lambda here: give(in_sticky(here) / "rune.yaml"),
        "rune.yaml belongs to uid 54321",
    ),
    "a second name in a sticky folder": (
        lambda here: os.link(here / "rune.yaml", in_sticky(here) / "second"),
        "rune.yaml may have been put there by others",
    ),
    "one's own link in a sticky folder": (
        lambda here: link(in_sticky(here) / "rune.yaml", Path("/etc/hostname")),
        "rune.yaml may have been put there by others",
    ),
    "another's link to one's own": (
        lambda here: give(link(in_sticky(here) / "rune.yaml", Path("/etc/hostname"))),
        "rune.yaml belongs to uid 54321",
    ),
    "one's link to another's": (
        lambda here: link(here / "rune.yaml", give(here.parent / "x")),
        "x belongs to uid 54321",
    ),
    "one's link into another's folder": (
        lambda here: link(here / "rune.yaml", give(here.parent / "its") / ".." / "x"),
        "its belongs to uid 54321",
    ),
    "a link that goes in circles": (
        lambda here: link(here / "rune.yaml", here / "rune.yaml"),
        None,  # there is nothing to obey
    ),
}


@pytest.mark.parametrize("name", ARRANGEMENTS)
def test_what_others_can_change_is_refused_and_why(here: Path, name: str) -> None:
    arrange, words = ARRANGEMENTS[name]
    (here.parent / "x").write_text("concurrency: 4\n")
    (here.parent / "its").mkdir()
    arrange(here)
    assert is_own(here / "rune.yaml") == (words is None)
    if words is None:
        return
    with pytest.raises(RequestError) as caught:
        refuse_foreign(here / "rune.yaml")
    assert caught.value.reason == "untrusted_path"
    assert words in caught.value.message
    assert "`rune config trust /" in caught.value.message
    assert caught.value.message.startswith(f"{here}/rune.yaml is not obeyed: ")


def test_what_only_the_mode_opens_is_mended_by_chmod(here: Path) -> None:
    here.chmod(0o777)
    with pytest.raises(RequestError, match=f"`chmod go-w {here}`; or if you trust"):
        refuse_foreign(here / "rune.yaml")
    here.chmod(0o755)
    assert is_own(here / "rune.yaml")


def test_what_is_not_there_yet_may_come_a_moment_later(here: Path) -> None:
    assert is_own(here / "nothing")
    give(here)
    assert not is_own(here / "nothing")
    in_sticky(here)
    assert not is_own(here / "nothing")


def test_files_of_the_one_who_called_sudo_are_not_roots_own(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUDO_UID", str(OTHER))
    give(here / "rune.yaml")
    assert not is_own(here / "rune.yaml")


def test_an_access_list_counts() -> None:
    entries = ((1, 6, -1), (2, 6, OTHER), (4, 4, -1), (16, 6, -1), (32, 4, -1))
    packed = b"".join(struct.pack("<HHi", *entry) for entry in entries)
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:  # tmpfs has access lists
        file = Path(folder, "file")
        file.touch()
        file.chmod(0o664)
        assert is_own(file)
        os.setxattr(file, "system.posix_acl_access", struct.pack("<I", 2) + packed)
        assert not is_own(file)


def test_a_group_of_ones_own_is_not_where_it_is_anothers_too(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whose primary group it is does not stand among its members."""
    file = here / "rune.yaml"
    file.chmod(0o664)
    os.chown(file, 0, 0)
    refuse_foreign(file)
    everybody = pwd.getpwall()
    other = pwd.struct_passwd(("other", "x", OTHER, 0, "", "/", "/bin/sh"))
    monkeypatch.setattr(pwd, "getpwall", lambda: [*everybody, other])
    with pytest.raises(RequestError, match="the group root may write"):
        refuse_foreign(file)


def test_a_trusted_folder_is_obeyed_with_all_below_it_and_nothing_else(here: Path) -> None:
    beside = here.parent / "beside"
    beside.mkdir()
    for folder in (here, beside):
        give(folder, 0o777)
        give(folder, 0o777)
        (folder / "rune.yaml").touch()
        give(folder / "rune.yaml")
    give(here.parent)
    (here.parent / "link").symlink_to(here)
    assert trust(here.parent / "link") == str(here)
    assert trusted_folders() == [str(here)]
    assert is_own(here / "rune.yaml")
    assert is_own(here.parent / "link" / "rune.yaml") is True
    assert not is_own(beside / "rune.yaml")
    sly = beside / "sly"  # another's link to what is trusted does not become so itself
    sly.symlink_to(here / "rune.yaml")
    assert not is_own(sly)
    assert distrust(here) == str(here)
    assert not is_own(here / "rune.yaml")
    with pytest.raises(RequestError, match="is not trusted"):
        distrust(here)
    assert trusted_folders() == []


def test_folders_that_are_trusted_at_once_are_all_noted(here: Path) -> None:
    folders = [here / str(number) for number in range(8)]
    for folder in folders:
        folder.mkdir()
    with ThreadPoolExecutor(len(folders)) as threads:
        list(threads.map(trust, folders))
    assert sorted(trusted_folders()) == [str(folder) for folder in folders]
    with ThreadPoolExecutor(len(folders)) as threads:
        list(threads.map(distrust, folders))
    assert trusted_folders() == []


def test_a_list_that_others_can_change_counts_for_nothing(here: Path) -> None:
    give(here)
    trust(here)
    noted = Path("~/.config/rune/trusted").expanduser()
    assert noted.stat().st_mode & 0o777 == 0o600
    noted.chmod(0o666)
    with pytest.raises(RequestError, match=f"{noted} is not obeyed: everybody may write"):
        refuse_foreign(here / "rune.yaml")
    noted.chmod(0o600)
    give(noted.parent)  # as where sudo keeps the caller's HOME
    with pytest.raises(RequestError, match="set HOME or XDG_CONFIG_HOME to folders of your own"):
        trust(here)


def test_nothing_is_trusted_that_is_no_folder(here: Path) -> None:
    with pytest.raises(RequestError, match="is no folder"):
        trust(here / "rune.yaml")
    odd = here / "a\nb"
    odd.mkdir()
    with pytest.raises(RequestError, match="control characters"):
        trust(odd)


def test_the_users_own_files_are_looked_at_as_well(tmp_path: Path, here: Path) -> None:
    (here / "rune.yaml").unlink()
    own = tmp_path / "home" / ".config" / "rune" / "config.yaml"
    own.parent.mkdir(parents=True)
    own.write_text("concurrency: 3\n")
    assert load_settings({}, {}, here, tmp_path / "home").concurrency == 3
    own.chmod(0o666)
    with pytest.raises(RequestError, match=r"config\.yaml is not obeyed: everybody may write"):
        load_settings({}, {}, here, tmp_path / "home")
    assert load_settings({}, {}, here, tmp_path / "home", unchecked=True).concurrency == 64


def test_every_file_of_an_inventory_that_is_found_is_looked_at(here: Path) -> None:
    (here / "a.yaml").write_text("targets: {a: {}}")
    tool = here / "tool"
    tool.write_text("#!/bin/sh\necho ran >&2; exit 1\n")
    give(tool, 0o755)
    (here / "rune.yaml").unlink()
    with pytest.raises(RequestError, match="tool is not obeyed: ") as caught:
        load_inventory(here, found=True)
    assert "ran" not in caught.value.message
    with pytest.raises(RequestError, match="said: ran"):  # it was named: taken at its word
        load_inventory(here)


@pytest.mark.parametrize("what", ["plugins/p", "plugins/p/plugin.json", "plugins/p/main.sh"])
def test_every_file_of_a_plugin_that_is_found_is_looked_at(here: Path, what: str) -> None:
    from lom.authoring.templates import write_plugin

    write_plugin(here / "plugins" / "p", "p", "bash")
    assert "p" in {one.name for one in default_registry(cwd=here).plugins}
    give(here / what)
    with pytest.raises(RequestError, match=r"is not obeyed: .*/plugins/p.* belongs to uid 54321"):
        _ = default_registry(cwd=here).plugins
    named = default_registry([here / "plugins"], cwd=here.parent)
    assert "p" in {one.name for one in named.plugins}
    listed = default_registry([here / "plugins"], cwd=here.parent, found=[here / "plugins"])
    with pytest.raises(RequestError, match="is not obeyed: "):
        _ = listed.plugins


def test_a_lock_file_of_another_is_refused(here: Path, tmp_path: Path) -> None:
    lock = here / "plugins.lock.json"
    lock.write_text('{"version": 1, "plugins": {}}')
    give(lock)
    with pytest.raises(RequestError, match=r"plugins\.lock\.json is not obeyed"):
        load_settings({}, {}, here, tmp_path)
    other = here / "other.json"
    give(lock, uid=0, gid=0)
    lock.rename(other)
    (here / "rune.yaml").write_text("plugin_lock: other.json\n")
    load_settings({}, {}, here, tmp_path)
    give(other)
    with pytest.raises(RequestError, match=r"other\.json is not obeyed"):
        load_settings({}, {}, here, tmp_path)
