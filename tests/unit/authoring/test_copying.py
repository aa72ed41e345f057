"""A plugin's folder whose owner changes it while it is copied: nothing from elsewhere gets in."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lmm.errors import RequestError
from lom.authoring.sources import copy_plugin

SECRET = b"what only root may read"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    for folder, content in (("source/files", b"own"), ("secrets", SECRET)):
        (tmp_path / folder).mkdir(parents=True)
        for name in ("first", "second"):
            (tmp_path / folder / name).write_bytes(content)
    return tmp_path / "source"


@contextlib.contextmanager
def after_a_look_at(name: str, act: Callable[[], object]) -> Iterator[None]:
    """Act once, as soon as somebody has asked what stands at a path with this name."""
    done = list[bool]()

    def looking(look: Callable[..., os.stat_result]) -> Callable[..., os.stat_result]:
        def stat(path: Any, *args: Any, **options: Any) -> os.stat_result:
            found = look(path, *args, **options)
            if not done and not isinstance(path, int) and os.path.basename(path) == name:
                done.append(True)
                act()
            return found

        return stat

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "lstat", looking(os.lstat))
        patch.setattr(os, "stat", looking(os.stat))
        yield


@pytest.mark.parametrize("swapped", ["files/second", "files"])
def test_a_link_that_is_put_there_meanwhile_brings_nothing_in(
    swapped: str, source: Path, tmp_path: Path
) -> None:
    secret = tmp_path / "secrets" / Path(swapped).relative_to("files")

    def swap() -> None:
        os.rename(source / swapped, tmp_path / "put away")
        (source / swapped).symlink_to(secret)

    looked_at = "second" if swapped == "files/second" else "first"
    with after_a_look_at(looked_at, swap), contextlib.suppress(RequestError):
        copy_plugin(source, tmp_path / "copy")
    assert (source / swapped).is_symlink()
    copied = [path for path in (tmp_path / "copy").rglob("*") if path.is_file()]
    assert copied
    assert SECRET not in {path.read_bytes() for path in copied}


def test_a_link_that_leads_elsewhere_meanwhile_is_refused(source: Path, tmp_path: Path) -> None:
    (source / "link").symlink_to("files/first")

    def turn() -> None:
        (source / "link").unlink()
        (source / "link").symlink_to(tmp_path / "secrets" / "first")

    told = "link is refused: it is a link that leads out"
    with after_a_look_at("first", turn), pytest.raises(RequestError, match=told):
        copy_plugin(source, tmp_path / "copy")


def test_a_pipe_that_is_put_there_meanwhile_is_not_waited_for(source: Path, tmp_path: Path) -> None:
    def swap() -> None:
        (source / "files" / "second").unlink()
        os.mkfifo(source / "files" / "second")

    told = "files/second is refused: it is no plain file"
    with after_a_look_at("second", swap), pytest.raises(RequestError, match=told):
        copy_plugin(source, tmp_path / "copy")


def test_what_grows_meanwhile_is_bounded(source: Path, tmp_path: Path) -> None:
    def grow() -> None:
        os.truncate(source / "files" / "second", 1024**3)

    told = "too much for a plugin"
    with after_a_look_at("second", grow), pytest.raises(RequestError, match=told):
        copy_plugin(source, tmp_path / "copy")
    assert (tmp_path / "copy" / "files" / "second").stat().st_size <= 64 * 1024**2


def test_folders_too_deep_in_each_other_are_refused(source: Path, tmp_path: Path) -> None:
    (source / "/".join("d" * 33)).mkdir(parents=True)
    with pytest.raises(RequestError, match="is refused: it lies more than 32 folders deep"):
        copy_plugin(source, tmp_path / "copy")
