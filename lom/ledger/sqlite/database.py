"""Opens the ledger's file, for writing or only for reading, and words what can go wrong with it.

A file that cannot be used is refused and left exactly as it is: never replaced, never moved.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

from lmm.errors import RequestError
from lmm.ownership import make_private
from lmm.temporary import private_folder
from lom.ledger.sqlite.schema import APPLICATION_ID, STEPS, migrate

BUSY_S = 5.0  # how long to wait for another process that writes

_LEFT = ("-journal", "-wal")  # files beside the ledger that a killed process may leave

# What reading ends in where the file beside the ledger cannot be made: no right to, or no room.
_UNPREPARED = (
    *(sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY),
    *(sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL),
)
_WORDS = {
    sqlite3.SQLITE_BUSY: f"another process has kept it locked for {BUSY_S:g} s",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened",
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_IOERR: "it cannot be read or written",
    sqlite3.SQLITE_PERM: "permission is denied",
    sqlite3.SQLITE_READONLY: "it can only be read",
}


def why(error: sqlite3.Error | MemoryError) -> str:
    """Return what SQLite's error means, in words."""
    if isinstance(error, MemoryError):
        return "this machine lacks memory"
    words = _WORDS.get(_primary(error))
    return f"{words} ({error})" if words else str(error)


def identity(path: Path) -> tuple[int, int] | None:
    """Return what tells the file at a path from any other, None if there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def is_damage(error: sqlite3.Error | MemoryError) -> bool:
    """Tell whether the file itself is at fault, so that trying again cannot help."""
    return _primary(error) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def fault(path: Path, error: sqlite3.Error | OSError) -> RequestError:
    """Return what to raise (``ledger_corrupt``, ``ledger_unavailable``)."""
    if isinstance(error, OSError):
        return _refusal("ledger_unavailable", path, f"{error.filename}: {error.strerror}")
    if is_damage(error):
        return _refusal("ledger_corrupt", path, f"{error}; it is left as it is")
    return _refusal("ledger_unavailable", path, why(error))


@contextlib.contextmanager
def faults_of(path: Path) -> Iterator[None]:
    """Within, SQLite's errors become those of RUNE."""
    try:
        yield
    except sqlite3.Error as error:
        raise fault(path, error) from None


def connect_writer(path: Path) -> sqlite3.Connection:
    """Open the ledger for writing; make or migrate it where needed. Any one thread may use it.

    Directory and file are made private (700, 600). Raises RequestError (``ledger_corrupt``,
    ``ledger_newer``, ``ledger_unavailable``).
    """
    try:
        make_private(path.parent)
        # Only a new file is opened here: closing one that SQLite has open drops its locks.
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        if path.stat().st_mode & 0o077:
            path.chmod(0o600)
    except OSError as error:
        raise fault(path, error) from None
    with faults_of(path):
        connection = sqlite3.connect(
            path, timeout=BUSY_S, isolation_level=None, check_same_thread=False
        )
        try:
            _prepare(connection, path)
        except BaseException:
            connection.close()
            raise
        return connection


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    if check_version(connection, path) < len(STEPS):
        # Only a file without tables takes this.
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        _turn_to_wal(connection)
        with transaction(connection):
            check_version(connection, path)  # another process may have been faster
            migrate(connection)
    # NORMAL: a commit outlives the process, kill -9 included. Only a crash of the whole machine
    # can take the newest ones, and costs no fsync for every target.
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA foreign_keys = ON")


def _turn_to_wal(connection: sqlite3.Connection) -> None:
    """SQLite itself does not wait here for others that make the same file."""
    until = time.monotonic() + BUSY_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if _primary(error) != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(0.01)


def connect_reader(path: Path) -> sqlite3.Connection | None:
    """Open the ledger for reading only, None if there is none. Raises as ``connect_writer``."""
    try:
        path.stat()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise fault(path, error) from None
    with faults_of(path):
        connection, version = _readable(path)
        if version == 0:  # it is just being made
            connection.close()
            return None
        return connection


def _readable(path: Path) -> tuple[sqlite3.Connection, int]:
    """Return a connection that can read the ledger, and the file's version.

    Reading may take a file beside it, to agree with writers, and a process that was killed leaves
    there what is to be put right first. Who may write does so; for others nobody writes just now,
    and they put a copy right.
    """
    refused: sqlite3.OperationalError | None = None
    for how in ("mode=ro", "mode=rw"):
        connection = _open_to_read(path, how)
        try:
            return connection, check_version(connection, path)
        except sqlite3.OperationalError as error:
            connection.close()
            if _primary(error) not in _UNPREPARED:
                raise
            refused = refused or error
        except BaseException:
            connection.close()
            raise
    if not any(Path(f"{path}{end}").exists() for end in _LEFT):
        connection = _open_to_read(path, "immutable=1")
        return connection, check_version(connection, path)
    try:
        return _read_copy(path)
    except OSError:
        assert refused
        raise refused from None


def _read_copy(path: Path) -> tuple[sqlite3.Connection, int]:
    """Return a connection to a copy of the ledger, which is gone when that is closed."""
    with private_folder("rune-ledger-") as folder:
        copy = folder / path.name
        for end in ("", *_LEFT):
            if Path(f"{path}{end}").exists():
                shutil.copyfile(f"{path}{end}", f"{copy}{end}")
        connection = _open_to_read(copy, "mode=rw")
        try:
            return connection, check_version(connection, path)
        except BaseException:
            connection.close()
            raise


def _open_to_read(path: Path, how: str) -> sqlite3.Connection:
    uri = f"{path.absolute().as_uri()}?{how}"
    connection = sqlite3.connect(uri, uri=True, timeout=BUSY_S, isolation_level=None)
    try:
        connection.execute("PRAGMA query_only = ON")
    except BaseException:
        connection.close()
        raise
    return connection


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Write within: the lock is taken at once, as a later upgrade of a reader cannot wait."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


@contextlib.contextmanager
def writing(path: Path) -> Iterator[sqlite3.Connection]:
    """Open the ledger and write within, in one transaction. Raises as ``connect_writer``."""
    with (
        contextlib.closing(connect_writer(path)) as connection,
        faults_of(path),
        transaction(connection),
    ):
        yield connection


# One statement sees one state of the file: others may just be making it.
_WHAT_IT_IS = """
SELECT user_version, application_id, (SELECT count(*) FROM sqlite_schema)
FROM pragma_user_version, pragma_application_id"""


def check_version(connection: sqlite3.Connection, path: Path) -> int:
    """Return the file's version. Raises RequestError for what is no ledger, or a newer one."""
    version: int
    version, application, tables = connection.execute(_WHAT_IT_IS).fetchone()
    if application != APPLICATION_ID:
        if version or tables:
            raise _refusal("ledger_corrupt", path, "it is a database of something else")
    elif version > len(STEPS):
        words = f"it was written by a newer RUNE (version {version}, this one knows {len(STEPS)})"
        raise _refusal("ledger_newer", path, words)
    return version


def _primary(error: sqlite3.Error | MemoryError) -> int:
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def _refusal(reason: str, path: Path, words: str) -> RequestError:
    return RequestError(reason, f"the ledger {path} cannot be used: {words}", file=str(path))
