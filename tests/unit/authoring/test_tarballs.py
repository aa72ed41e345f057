"""Tarballs made to fill memory, disk or time: each is refused, and cheaply."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lom.authoring import tarballs
from lom.authoring.tarballs import TooLarge, unpack

MIB = 1024 * 1024
LIMIT = 200 * MIB  # of address space beyond what the process has before


def block(name: str, kind: bytes, size: int = 0) -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, size
    return info.tobuf(tarfile.USTAR_FORMAT)


def zeros(size: int) -> Iterator[bytes]:
    for _ in range(size // MIB):
        yield b"a" * MIB


def pax_value() -> Iterator[bytes]:
    """One extended header of 96 MiB."""
    yield block("x", b"x", 96 * MIB)
    yield b"%d comment=" % (96 * MIB)
    yield from zeros(96 * MIB)


def pax_records() -> Iterator[bytes]:
    """Extended headers of many tiny records, below any bound for one of them, all to be kept."""
    records = b"".join(b"12 k%06d=\n" % number for number in range(5000))
    for number in range(250):
        yield block("x", b"x", len(records))
        yield records.ljust(-(-len(records) // 512) * 512, b"\0")
        yield block(f"f{number}", b"0")


def global_records() -> Iterator[bytes]:
    """Global headers, which are copied to each member that has one of its own."""
    for number in range(150):
        records = b"".join(b"15 k%09d=\n" % (number * 4000 + one) for one in range(4000))
        for kind, text in ((b"g", records), (b"x", b"6 a=b\n")):
            yield block("h", kind, len(text))
            yield text.ljust(-(-len(text) // 512) * 512, b"\0")
        yield block(f"f{number}", b"0")


def long_name(kind: bytes) -> Callable[[], Iterator[bytes]]:
    def made() -> Iterator[bytes]:
        yield block("././@LongLink", kind, 96 * MIB)
        yield from zeros(96 * MIB)

    return made


def chained_names() -> Iterator[bytes]:
    for _ in range(5000):
        yield block("././@LongLink", b"L", 2) + b"a\0".ljust(512, b"\0")


def sparse_map() -> Iterator[bytes]:
    """A sparse file of format 1.0 whose map has forty million numbers."""
    records = b"22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n24 GNU.sparse.realsize=1\n"
    yield block("x", b"x", len(records)) + records.ljust(512, b"\0")
    yield block("f", b"0", 78 * MIB) + b"40000000\n"
    for _ in range(78):
        yield b"1\n" * (MIB // 2)


def sparse_size() -> Iterator[bytes]:
    """A file that says to be a terabyte of holes."""
    records = (
        b"22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n36 GNU.sparse.realsize=1000000000000\n"
    )
    yield block("x", b"x", len(records)) + records.ljust(512, b"\0")
    yield block("f", b"0", 512) + b"0\n".ljust(512, b"\0")


def link_before_headers() -> Iterator[bytes]:
    """A link to what is not there, for which tarfile reads all headers that follow."""
    info = tarfile.TarInfo("link")
    info.type, info.linkname = tarfile.LNKTYPE, "missing"
    yield info.tobuf()
    yield from sparse_map()


def deep() -> Iterator[bytes]:
    for number in range(200):
        info = tarfile.TarInfo(f"{number}/" + "d/" * 1500 + "f")
        yield info.tobuf(tarfile.GNU_FORMAT)


def many() -> Iterator[bytes]:
    for number in range(11_000):
        yield block(f"f{number}", b"0")


def folders() -> Iterator[bytes]:
    for number in range(5000):
        yield block("/".join([str(number), *"abcdefgh", "f"]), b"0")


def content() -> Iterator[bytes]:
    yield block("f", b"0", 96 * MIB)
    yield from zeros(96 * MIB)


HOSTILE = {
    "pax-value": pax_value,
    "pax-records": pax_records,
    "global-records": global_records,
    "long-name": long_name(b"L"),
    "long-link": long_name(b"K"),
    "chained-names": chained_names,
    "sparse-map": sparse_map,
    "sparse-size": sparse_size,
    "link-before-headers": link_before_headers,
    "deep": deep,
    "many": many,
    "folders": folders,
    "content": content,
}

INSTALL = """
import json, pathlib, resource, sys, time
from lmm.errors import RequestError
from lom.authoring import installing
from lom.authoring.sources import fetch
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
pages = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (pages + int(sys.argv[3]),) * 2)
began = time.process_time()
try:
    said = str(fetch(sys.argv[1], pathlib.Path(sys.argv[2])).folder)
except RequestError as error:
    said = error.message
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
print(json.dumps({"said": said, "kib": grown, "s": time.process_time() - began}))
"""


@pytest.mark.parametrize("name", HOSTILE)
def test_a_tarball_that_would_fill_memory_is_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / "t.tar.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        for data in HOSTILE[name]():
            file.write(data)
    place = tmp_path / "place"
    place.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", INSTALL, str(path), str(place), str(LIMIT)],
        capture_output=True,
        text=True,
        check=True,
    )
    told = json.loads(done.stdout)
    if name not in ("pax-records", "global-records"):  # no harm: what they say is dropped at once
        refusals = ("too much for a plugin", "cannot unpack", "is refused: 'link' is a hard link")
        assert any(refusal in told["said"] for refusal in refusals), told
    assert told["kib"] < 64 * 1024, told
    assert told["s"] < 30, told


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress, bytes])
@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_plain_ones_of_any_kind(
    compress: Callable[[bytes], bytes], form: int, tmp_path: Path
) -> None:
    made = io.BytesIO()
    long = "folder/" + "n" * (90 if form == tarfile.USTAR_FORMAT else 200)
    with tarfile.open(fileobj=made, mode="w", format=form) as archive:
        for name in ("a", long):
            info = tarfile.TarInfo(name)
            info.size = 100_000
            archive.addfile(info, io.BytesIO(b"x" * info.size))
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.LNKTYPE, "a"
        archive.addfile(link)
    path = tmp_path / "t.tar"
    path.write_bytes(compress(made.getvalue()))
    unpack(path, tmp_path / "place")
    for name in ("a", long, "link"):
        assert (tmp_path / "place" / name).read_bytes() == b"x" * 100_000


def test_streams_behind_each_other(tmp_path: Path) -> None:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a"))
    whole = made.getvalue()
    for compress in (gzip.compress, bz2.compress, lzma.compress):
        path = tmp_path / f"{compress.__module__}.tar"
        path.write_bytes(compress(whole[:700]) + compress(whole[700:]))
        unpack(path, tmp_path / path.stem)
        assert (tmp_path / path.stem / "a").exists()


def test_one_that_takes_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tarballs, "MOST_S", -1.0)
    path = tmp_path / "t.tar"
    path.write_bytes(b"\0" * 10240)
    with pytest.raises(TooLarge, match="longer"):
        unpack(path, tmp_path / "place")


def test_xz_that_asks_for_much_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "t.tar.xz"
    path.write_bytes(lzma.compress(b"\0" * 10240))
    monkeypatch.setattr(tarballs, "XZ_MEMORY", 1024 * 1024)
    with pytest.raises(ValueError, match="emory"):
        unpack(path, tmp_path / "place")
