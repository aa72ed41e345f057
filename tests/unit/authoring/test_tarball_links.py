"""Tarballs made to write or read elsewhere: nothing of them leaves the folder they are given."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest

from lmm.errors import PolicyDenied, RequestError
from lom.authoring.installing import install
from lom.authoring.sources import copy_plugin
from lom.authoring.tarballs import DEEPEST, LONGEST, TooLarge, Unsafe, unpack

Member = tuple[str, bytes, str]  # name, type, and content or where a link leads

FILE, FOLDER, LINK, HARD = tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE
UP = "/.." * 14  # from where the tests unpack to the root, and fewer than the steps of a long way


def pack(path: Path, *members: Member) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, kind, text in members:
            info = tarfile.TarInfo(name)
            info.type = kind
            if kind in (LINK, HARD):
                info.linkname = text
            info.size = len(text) if kind == FILE else 0
            archive.addfile(info, io.BytesIO(text.encode()))
    return path


def beyond_path_max(outside: Path) -> list[Member]:
    """Links whose way, written out, is longer than the system looks: os.path.realpath gives up on
    it and calls the rest plain names (CVE-2025-4517, CVE-2025-4330)."""
    component, steps, at = "d" * 247, "abcdefghijklmnop", ""
    members: list[Member] = []
    for step in steps:
        members.append((os.path.join(at, component), FOLDER, ""))
        members.append((os.path.join(at, step), LINK, component))
        at = os.path.join(at, component)
    way = "/".join(steps) + "/" + "l" * 254
    members.append((way, LINK, "../" * len(steps)))
    members.append(("escape", LINK, way + UP + str(outside)))
    members.append(("flaglink", HARD, "escape/flag"))
    members.append(("flaglink", FILE, "overwritten"))
    members.append(("escape/new", FILE, "new"))
    return members


def test_links_longer_than_a_path_lead_nowhere(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "flag").write_text("original")
    path = pack(tmp_path / "t.tar", *beyond_path_max(outside))
    with pytest.raises((PolicyDenied, RequestError)):
        install(str(path), tmp_path / "installed", sha256="0" * 64)
    assert os.listdir(outside) == ["flag"]
    assert (outside / "flag").read_text() == "original"
    assert os.listdir(tmp_path / "installed") == [".lock"]


@pytest.mark.parametrize(
    "members",
    [
        [("up", LINK, ".."), ("up/x", FILE, "")],
        [("here", LINK, "."), ("here/x", FILE, "")],
        [("d", FOLDER, ""), ("l", LINK, "d"), ("l/x", FILE, "")],
        [("x/y", FILE, ""), ("x", LINK, "/tmp")],
        [("x", FILE, ""), ("x/y", FILE, "")],
        [("x", LINK, "/tmp"), ("x", FOLDER, "")],
        [("x", LINK, "outside"), ("x", FILE, "")],
        [("x", FILE, ""), ("x", FILE, "")],
        [("x", FILE, ""), ("x", LINK, "y")],
        [("d/l", LINK, "../../x")],
        [("d/l", LINK, "./../d/../../d")],
        [("l", LINK, "/etc/passwd")],
        [("l", LINK, "d/../../x")],
        [("d/d/top", LINK, "../.."), ("l", LINK, "d/d/top/../x")],
        [("d/d/top", LINK, "../.."), ("l", LINK, "d/d/top/")],
        [("l", LINK, "later/x"), ("later", LINK, "d")],
        [("l", LINK, "x" * (LONGEST + 1))],
        [("l", LINK, "x"), ("h", HARD, "l")],
        [("h", HARD, "x"), ("x", FILE, "")],
        [("d/x", FILE, ""), ("h", HARD, "d")],
        [("h", HARD, "../outside/flag")],
        [("../x", FILE, "")],
        [("d/../../x", FOLDER, "")],
        [("x", tarfile.FIFOTYPE, "")],
        [("x", b"~", "")],
    ],
)
def test_what_could_lead_elsewhere_is_refused(members: list[Member], tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "flag").touch()
    path = pack(tmp_path / "t.tar", *members)
    with pytest.raises(Unsafe):
        unpack(path, tmp_path / "place")
    assert sorted(os.listdir(tmp_path)) == ["outside", "place", "t.tar"]
    assert os.listdir(tmp_path / "outside") == ["flag"]
    assert not [one for one in (tmp_path / "place").rglob("*") if one.is_symlink()]


@pytest.mark.parametrize("name", ["d/" * DEEPEST + "f", "/".join(["n" * 200] * 6)])
def test_a_path_is_bounded(name: str, tmp_path: Path) -> None:
    with pytest.raises(TooLarge):
        unpack(pack(tmp_path / "t.tar", (name, FILE, "")), tmp_path / "place")


def test_links_that_stay_are_kept(tmp_path: Path) -> None:
    members = (
        ("./", FOLDER, ""),
        ("lib/now", LINK, "one"),  # what it leads to comes later
        ("lib/one", LINK, "../lib/one.1"),
        ("lib/one.1", FILE, "text"),
        ("lib/", FOLDER, ""),
        ("top", LINK, "."),
        ("copy", HARD, "./lib/one.1"),
        ("/rooted", FILE, "text"),
    )
    place = tmp_path / "place"
    unpack(pack(tmp_path / "t.tar", *members), place)
    for name in ("lib/now", "lib/one", "copy", "rooted"):
        assert (place / name).read_text() == "text"
    assert os.readlink(place / "lib/one") == "../lib/one.1"


@pytest.mark.parametrize("leads", ["nowhere", "loop", "{source}/file"])
def test_links_that_lead_nowhere_or_to_the_source_are_no_plugins(
    leads: str, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "file").touch()
    (source / "loop").symlink_to(leads.format(source=source))
    with pytest.raises(RequestError, match=r"loop is refused: it is a link that leads"):
        copy_plugin(source, tmp_path / "copy")


def test_what_lies_deeper_than_a_path_is_told(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    descriptor = os.open(source, os.O_RDONLY)
    for _ in range(17):
        os.mkdir("d" * 247, dir_fd=descriptor)
        deeper = os.open("d" * 247, os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = deeper
    os.close(descriptor)
    with pytest.raises(RequestError, match=r"cannot copy .*: File name too long"):
        copy_plugin(source, tmp_path / "copy")


def test_a_link_longer_than_a_path_is_no_part_of_a_plugin(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    descriptor = os.open(source, os.O_RDONLY)
    way = []
    for step in "abcdefghijklmnopq":
        os.mkdir("d" * 247, dir_fd=descriptor)
        os.symlink("d" * 247, step, dir_fd=descriptor)
        deeper = os.open("d" * 247, os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = deeper
        way.append(step)
    os.symlink("../" * len(way), "back", dir_fd=descriptor)
    os.close(descriptor)
    link = source / "0"
    link.symlink_to("/".join(way) + "/back" + UP + "/etc/passwd")
    assert "root:" in link.read_text()
    with pytest.raises(RequestError, match=r"cannot copy .*: File name too long"):
        copy_plugin(source, tmp_path / "copy")
