"""A file is made anew; devices, pipes and one's own links are written as ever."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from lom.render.write import write_file


def test_a_file_is_put_in_the_place_of_an_older_one(tmp_path: Path) -> None:
    path = tmp_path / "page"
    write_file(str(path), b"one")
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"one", 0o644)
    path.chmod(0o640)
    write_file(str(path), b"two")
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"two", 0o640)
    assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "page").mkdir()
    with pytest.raises(OSError, match="Is a directory"):
        write_file(str(tmp_path / "page"), b"one")
    assert os.listdir(tmp_path) == ["page"]


def test_pipes_devices_and_ones_own_links_are_written(tmp_path: Path) -> None:
    pipe, link, file = tmp_path / "pipe", tmp_path / "link", tmp_path / "file"
    os.mkfifo(pipe)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
    reader.start()
    write_file(str(pipe), b"one")
    reader.join()
    assert got == [b"one"]
    file.touch()
    link.symlink_to(file)
    write_file(str(link), b"two")
    assert (file.read_bytes(), link.is_symlink()) == (b"two", True)
    descriptor = os.open(file, os.O_WRONLY)  # as /dev/stdout leads to
    write_file(f"/proc/self/fd/{descriptor}", b"three")
    os.close(descriptor)
    assert file.read_bytes() == b"three"
    write_file("/dev/null", b"four")
    assert Path("/dev/null").is_char_device()


@pytest.mark.needs_root
def test_a_file_of_another_says_nothing_about_the_new_one(tmp_path: Path) -> None:
    """It may be for everybody to write, and run as whom it belongs to."""
    path = tmp_path / "page"
    path.touch()
    os.chown(path, 65534, 65534)
    path.chmod(0o4777)
    write_file(str(path), b"one")
    found = path.stat()
    assert (found.st_uid, found.st_mode & 0o7777) == (os.geteuid(), 0o644)
    path.chmod(0o4755)
    write_file(str(path), b"two")
    assert path.stat().st_mode & 0o7777 == 0o755


@pytest.mark.needs_root
def test_a_link_of_another_is_not_followed(tmp_path: Path) -> None:
    precious = tmp_path / "authorized_keys"
    precious.write_text("precious")
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    link = theirs / "page"
    link.symlink_to(precious)
    for path in (theirs, link):
        os.chown(path, 65534, 65534, follow_symlinks=False)
    write_file(str(link), b"one")
    assert precious.read_text() == "precious"
    assert (link.read_bytes(), link.is_symlink()) == (b"one", False)
