"""The wheel and an environment with it, built once for all workers, and a stranger to use it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from lmm.testing import Account
from tests.conftest import SHARED

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ("lom", "lmm", "specs", "plugins", "setup.cfg", "pyproject.toml", "README.md", "LICENSE")
IGNORED = shutil.ignore_patterns("__pycache__", "*.egg-info", "*.pyc")
LEFT = ("lom/x.pyc", "plugins/lib/rune.sh~", "plugins/noop/.main.sh.swp", "plugins/#x#")
TOOLS = ("cc", "gcc", "g++", "c++", "clang", "make", "go", "rustc")


def run(*argv: str | Path, cwd: Path) -> str:
    """Run what must succeed; return its stdout."""
    done = subprocess.run(
        argv, cwd=cwd, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@dataclass(frozen=True)
class Stranger:
    """Somebody with an installed RUNE: no checkout, no compiler, no right to write where it lies.

    Without root it is the user of the tests.
    """

    python: Path
    home: Path
    prefix: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)

    def run(self, *argv: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run an entry point by name, as the stranger, in its home."""
        program = str(self.python.parent / argv[0])
        return subprocess.run(
            [*self.prefix, program, *argv[1:]],
            cwd=cwd or self.home,
            env=self.environment,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=100,
            check=False,
        )


Once = Callable[[str, Callable[[Path], None]], Path]


@pytest.fixture(scope="session")
def once() -> Once:
    """Makes a folder by its name, which all may read, whichever worker of this run asks first."""

    def make(name: str, fill: Callable[[Path], None]) -> Path:
        SHARED.mkdir(mode=0o755, exist_ok=True)
        place = SHARED / name
        with open(f"{place}.lock", "w", encoding="ascii") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (place / "made").exists():
                shutil.rmtree(place, ignore_errors=True)
                place.mkdir()
                fill(place)
                (place / "made").touch()
        return place

    return make


def _built(place: Path, kind: str) -> Path:
    build = f"import setuptools.build_meta as b; print(b.build_{kind}('dist'))"
    return place / "dist" / run(sys.executable, "-c", build, cwd=place).split()[-1]


@pytest.fixture(scope="session")
def wheel(once: Once) -> Path:
    """The wheel, built in a copy of the sources with what an editor leaves in them."""

    def fill(place: Path) -> None:
        for name in SOURCES:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, place / name, ignore=IGNORED)
            else:
                shutil.copy(source, place)
        for name in LEFT:
            (place / name).write_bytes(b"\xa7\x0d")
        _built(place, "wheel")

    (found,) = (once("wheel", fill) / "dist").glob("*.whl")
    return found


@pytest.fixture(scope="session")
def wheel_of_sdist(wheel: Path, once: Once) -> Path:
    """The wheel that pip would build of the source distribution, with nothing else at hand."""

    def fill(place: Path) -> None:
        sdist = _built(wheel.parents[1], "sdist")
        shutil.unpack_archive(sdist, place, filter="data")
        (sources,) = place.iterdir()
        sources.rename(place / "sources")
        _built(place / "sources", "wheel")

    (found,) = (once("sdist", fill) / "sources" / "dist").glob("*.whl")
    return found


@pytest.fixture(scope="session")
def installed(wheel: Path, once: Once) -> Path:
    """The bin directory of a new environment with the wheel, compiled as pip does by default.

    Its dependencies are lent by ours.
    """

    def fill(place: Path) -> None:
        venv.create(place / "venv", symlinks=True)
        python = place / "venv" / "bin" / "python"
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(python)]
        run(*pip, "install", "--quiet", "--no-deps", "--no-index", wheel, cwd=place)
        code = "import sysconfig; print(sysconfig.get_path('purelib'))"
        library = Path(run(python, "-c", code, cwd=place).strip())
        assert [*library.glob("lom/plugins/**/__pycache__/*.pyc")]
        (library / "lent.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
        for top, folders, _ in os.walk(library):
            for path in (Path(top, name) for name in ("", *folders)):
                path.chmod(0o555)

    return once("installed", fill) / "venv" / "bin"


@pytest.fixture(scope="session")
def stranger(
    installed: Path, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Stranger:
    """An account that may read everything and write nothing but its home, where we are root."""
    path = tmp_path_factory.mktemp("path")
    for place in reversed(os.environ["PATH"].split(os.pathsep)):
        with contextlib.suppress(OSError):
            for entry in os.scandir(place):
                (path / entry.name).unlink(missing_ok=True)
                if entry.name not in TOOLS:
                    (path / entry.name).symlink_to(entry.path)
    prefix: tuple[str, ...] = ()
    home = tmp_path_factory.mktemp("home")
    if os.getuid() == 0:
        account: Account = request.getfixturevalue("account")
        who = (f"--reuid={account.uid}", f"--regid={account.uid}", "--clear-groups")
        # The interpreter, and the dependencies, may lie in root's own home.
        rights = ("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")
        prefix, home = ("setpriv", *who, *rights), account.home
    # Carried by what a test starts, so that a leak is found.
    marks = {name: value for name, value in os.environ.items() if name.startswith("PYTEST_LEAK")}
    environment = {**marks, "HOME": str(home), "PATH": str(path)}
    return Stranger(installed / "python", home, prefix, environment)
