"""What every test gets: a home of its own, a check that it leaves nothing behind, real servers.

``sshd`` is one server for all tests of a worker and ``account`` one Unix account (root only). A
test that leaves a process, thread, descriptor or directory behind fails in its teardown.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import locale
import logging
import os
import pwd
import secrets
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from lmm.testing import Account, Sshd, loopback, processes
from lmm.testing.aws import FakeAws
from lmm.testing.aws.fake import MARK, REGION

# Where PYTHONDONTWRITEBYTECODE is set, each worker would compile all tests anew: 7 s of CPU.
sys.dont_write_bytecode = False

# Carried by all that this run, or this worker, starts; not RUNE_…, which would be a setting.
SESSION = os.environ.setdefault("PYTEST_LEAK_SESSION", secrets.token_hex(8))
WORKER = os.environ["PYTEST_LEAK_WORKER"] = secrets.token_hex(8)
# What workers of this run make once for all of them; removed when it ends.
SHARED = Path(tempfile.gettempdir(), f"rune-tests-{SESSION}")
MARKS: dict[str, str | None] = {"PYTEST_LEAK_WORKER": WORKER}

SIGNALS = sorted(signal.valid_signals() - {signal.SIGALRM})  # pytest-timeout's

BUCKET = "rune"
PATIENCE_S = 5.0  # for what ends by itself right after the test
REMOVED = ("RUNE_", "AWS_", "XDG_", "SSH_")
REMOVED_EXACT = {"NO_COLOR", "FORCE_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "COLUMNS", "LINES"}

settings.register_profile("rune", deadline=None, database=None, max_examples=50)
settings.load_profile("rune")


_ROOTED = pytest.StashKey[int]()
_BEGAN = pytest.StashKey[float]()
_DIRECTORIES = pytest.StashKey[set[Path]]()


def pytest_configure(config: pytest.Config) -> None:
    os.umask(0o022)  # what the tests make is their own, whatever whoever starts them prefers
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in a shell's background job
        signal.signal(signal.SIGINT, signal.default_int_handler)
    config.stash[_BEGAN] = time.time()
    config.stash[_DIRECTORIES] = _plugin_directories()
    config.addinivalue_line(
        "markers",
        "keeps_connections: uses a transport that outlives the test; its connections, with their"
        " threads, sockets and ssh processes, may stay",
    )
    config.addinivalue_line(
        "markers", "needs_root: can only run as root, like any that uses account"
    )
    config.addinivalue_line(
        "markers", "soak: repeats a race; RUNE_TEST_SCALE multiplies how often (`make soak`)"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what only root can do, and say so; under CI that is an error."""
    if os.getuid() == 0:
        return
    rooted = [
        item
        for item in items
        if item.get_closest_marker("needs_root") or "account" in getattr(item, "fixturenames", ())
    ]
    if rooted and os.environ.get("CI"):
        raise pytest.UsageError(f"{len(rooted)} tests need root, and CI must run them all")
    config.stash[_ROOTED] = len(rooted)
    getattr(config, "workeroutput", {})["rooted"] = len(rooted)
    items[:] = [item for item in items if item not in rooted]
    config.hook.pytest_deselected(items=rooted)


def pytest_collection_finish() -> None:
    """Spare the garbage collector what is loaded now and stays."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Learn from a worker how many tests it left out: all workers see the same ones."""
    node.config.stash[_ROOTED] = getattr(node, "workeroutput", {}).get("rooted", 0)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if count := config.stash.get(_ROOTED, 0):
        terminalreporter.write_line(
            f"{count} tests were NOT run: they need root (throw-away accounts, sudo)", yellow=True
        )


@pytest.fixture(scope="session", autouse=True)
def _base(tmp_path_factory: pytest.TempPathFactory) -> None:
    tmp_path_factory.getbasetemp()  # made before TMPDIR points into a test's own directory


@pytest.fixture(scope="session")
def sshd() -> Iterator[Sshd]:
    """A real sshd on 127.0.0.1 for all tests of this worker; logs in as the user of the tests.

    It listens at ``loopback(15)`` as well: login files can tell by that who comes.
    """
    marks = {"PYTEST_LEAK_SESSION": SESSION, "PYTEST_LEAK_WORKER": WORKER}
    others = [f"ListenAddress {address}" for address in loopback(15)]
    with Sshd(environment=marks, config=others) as server:
        MARKS["RUNE_TESTING_SSHD"] = server.mark  # survives sudo
        yield server


@pytest.fixture(scope="session")
def aws() -> Iterator[FakeAws]:
    """An AWS account of this worker whose instances run what they are sent, with a bucket."""
    marks = {"PYTEST_LEAK_SESSION": SESSION, "PYTEST_LEAK_WORKER": WORKER}
    with FakeAws(moto=True, environment=marks) as account:
        MARKS[MARK] = account.mark
        account.cloud.create_bucket(BUCKET, REGION)
        yield account


@pytest.fixture(scope="session")
def account() -> Iterator[Account]:
    """A Unix account with an empty profile, no password and no sudo; ``sshd`` lets it in."""
    with Account() as made:
        yield made


@pytest.fixture(autouse=True)
def _leaves_nothing_behind(request: pytest.FixtureRequest, _base: None) -> Iterator[None]:
    """Give the test a home and temporary directory of its own and check that it tidies up."""
    keeps = request.node.get_closest_marker("keeps_connections") is not None
    environment = dict(os.environ)
    private = Path(tempfile.mkdtemp(prefix="rt-"))  # short: sockets have 107 characters of path
    try:
        _isolate(private)
        pids = set(processes.all_pids())
        threads = set(threading.enumerate())
        descriptors = _descriptors()
        directories = _plugin_directories()
        state = _process_state()
        yield
        new_directories = _plugin_directories() - directories
        leaks = [
            *_left_processes(pids, keeps),
            *_left(lambda: _new_threads(threads, keeps)),
            *_left(lambda: _new_descriptors(descriptors, keeps)),
            *_left(lambda: _still_there(new_directories)),
            *_left(lambda: sorted(map(str, [*(private / "tmp").iterdir()]))),
            *_left(lambda: sorted(map(str, (private / "run").glob(".rune-*")))),
            *(f"{what} changed" for what, was in _process_state().items() if was != state[what]),
        ]
    finally:
        os.environ.clear()
        os.environ.update(environment)
        tempfile.tempdir = None
        shutil.rmtree(private, ignore_errors=True)
    if leaks:
        pytest.fail("the test left behind:\n  " + "\n  ".join(leaks), pytrace=False)


def _isolate(private: Path) -> None:
    for name in list(os.environ):
        if name.startswith(REMOVED) or name in REMOVED_EXACT:
            del os.environ[name]
    places = {"HOME": "home", "XDG_RUNTIME_DIR": "run", "TMPDIR": "tmp"}
    for variable, name in places.items():
        (private / name).mkdir(mode=0o700)
        os.environ[variable] = str(private / name)
    tempfile.tempdir = None  # read TMPDIR again


def _left(look: Callable[[], list[str]]) -> list[str]:
    """Return what ``look`` still finds after patience and a garbage collection."""
    start = time.monotonic()
    collected = False
    while (found := look()) and time.monotonic() < start + PATIENCE_S:
        time.sleep(0.02)
        if not collected and time.monotonic() > start + 0.1:  # it costs more than most tests
            gc.collect()
            collected = True
    return found


def _left_processes(before: set[int], keeps: bool) -> list[str]:
    others = set(before)  # who is another's once stays it, and there may be many

    def is_ours(pid: int) -> bool:
        marked = processes.is_marked(pid, MARKS)
        if marked or processes.descends(pid, os.getpid()):
            return True
        if marked is False:
            others.add(pid)
        return False

    def look() -> set[int]:
        ours = filter(is_ours, set(processes.all_pids()) - others)
        return {pid for pid in ours if not (keeps and processes.name(pid) in ("ssh", "sshd"))}

    def described() -> list[str]:
        own = str(os.getpid())
        fields = {pid: processes.stat_fields(pid) for pid in look()}
        # A zombie is a leak only where we are the parent that does not wait for it.
        return [
            f"process {processes.describe(pid)}"
            for pid, words in fields.items()
            if words and (words[0] not in "ZX" or words[1] == own)
        ]

    leaks = _left(described)
    if leaks:
        processes.end(look(), 0.5)
    return leaks


def _new_threads(before: set[threading.Thread], keeps: bool) -> list[str]:
    return [
        f"thread {thread.name}"
        for thread in threading.enumerate()
        if thread not in before and not (keeps and thread.daemon)
    ]


def _process_state() -> dict[str, Any]:
    """What the whole process shares, so that a test that changes it decides how others go."""
    loggers = logging.root.manager.loggerDict.copy()
    return {
        "the working directory": os.getcwd(),
        "the umask": Path("/proc/self/status").read_text().partition("Umask:")[2].split()[0],
        "the time zone": time.tzname,
        "the locale": locale.setlocale(locale.LC_ALL),
        "the switch of all loggers": logging.root.manager.disable,
        "the set of disabled loggers": {
            name
            for name, one in loggers.items()
            if isinstance(one, logging.Logger) and one.disabled
        },
        "the handling of signals": [signal.getsignal(one) for one in SIGNALS],
    }


def _descriptors() -> dict[int, str]:
    links = {}
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # the one that lists the directory is closed again
            links[int(name)] = os.readlink(f"/proc/self/fd/{name}")
    return links


def _new_descriptors(before: dict[int, str], keeps: bool) -> list[str]:
    return [
        f"descriptor {number}: {link}"
        for number, link in _descriptors().items()
        if before.get(number) != link and not (keeps and link.startswith("socket:"))
    ]


def _plugin_directories() -> set[Path]:
    return {
        Path(top, name)
        for top in ("/dev/shm", "/tmp")
        for name in os.listdir(top)
        if name.startswith(".rune-") and not name.startswith(".rune-receipts-")
    }


def _still_there(directories: set[Path]) -> list[str]:
    left = sorted(str(path) for path in directories if _exists_as_ours(path))
    # Nothing of this test is alive, so a living plugin is another worker's, and one of these
    # directories may be its own. The look at the end of the run has no such doubt.
    return [] if left and processes.marked({"RUNE_INVOCATION": None}) else left


def _exists_as_ours(path: Path) -> bool:
    try:
        return os.getuid() in (0, path.stat().st_uid)
    except FileNotFoundError:
        return False


def _tidy_host(since: float) -> None:
    """Remove what this machine, as a host, keeps for a while; no other run may be asking for it."""
    home = Path(pwd.getpwuid(os.getuid()).pw_dir)
    root = Path(f"/var/tmp/.rune-receipts-{os.getuid()}")
    files = (
        base.glob(f"rune-files-{os.getuid()}/*") for base in (home / ".cache", Path("/var/tmp"))
    )
    for path in [*root.glob("*/*"), *itertools.chain.from_iterable(files)]:
        with contextlib.suppress(OSError):
            if path.stat().st_mtime >= since:
                path.unlink()
    for folder in [*root.glob("*"), root]:
        with contextlib.suppress(OSError):  # not empty
            folder.rmdir()


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Look once more, after all workers: nothing of this run may be alive."""
    if hasattr(session.config, "workerinput"):
        return
    shutil.rmtree(SHARED, ignore_errors=True)
    before = session.config.stash[_DIRECTORIES]
    new = _plugin_directories() - before
    directories = _left(lambda: _still_there(new))
    left = processes.marked({"PYTEST_LEAK_SESSION": SESSION}) - {os.getpid()}
    left = processes.wait_gone(left, PATIENCE_S)
    for words in [*directories, *(f"process {processes.describe(pid)}" for pid in left)]:
        print(f"\nleft behind by the run: {words}")
    processes.end(left)
    if not processes.marked({"PYTEST_LEAK_SESSION": None}) - {os.getpid()}:
        _tidy_host(session.config.stash[_BEGAN])
    if left or directories:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
