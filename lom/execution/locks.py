"""Lets actions that change a host run on it one at a time, of whichever run they are."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import struct
import threading
from collections.abc import Iterable, Sequence
from enum import Enum, auto
from pathlib import Path
from typing import Protocol

from lmm.errors import RequestError
from lmm.ownership import make_private
from lmm.transports.identity import hosts_of
from lom.execution.queue import TargetState

FILE_NAME = "targets.lock"
CHANGING = ("change", "destructive")  # the risks of actions that need their host for themselves

_FLOCK = "hhqqi4x"  # struct flock of fcntl(2): type, whence, start, length, pid
_FIRST_PLACE = 1 << 62
_PLACE_BITS, _HASH_BITS = 16, 45  # a place has room for a lock of any length that is used
_ENTRY = 64  # bytes; a run's id stands in the entry whose number is the length of its locks


class Taken(Enum):
    """What came of the wish to have a target's host."""

    YES = auto()
    BEHIND = auto()  # no: another target of the run has it, which is to be let go first
    ELSEWHERE = auto()  # no: another run has it


class HostLocks(Protocol):
    """What one run has locked where all runs look: places, each of a host, until ``close``.

    What a run has locked is free as soon as its process has ended, however that was. The methods
    raise RequestError (``local_io_error``).
    """

    def take(self, places: Sequence[int]) -> bool:
        """Lock all of the places or none; False if another run has one of them."""

    def release(self, places: Iterable[int]) -> None: ...

    def holder(self, places: Iterable[int]) -> str | None:
        """Return the id of the other run that has locked one of the places."""

    def close(self) -> None:
        """Unlock all that the run has locked."""


class Locks:
    """The targets of one run that have, or wait for, their hosts. Any thread may call it."""

    def __init__(self, shared: HostLocks, run_id: str) -> None:
        self._run_id = run_id
        self._shared = shared
        self._lock = threading.Lock()
        self._owners: dict[int, TargetState] = {}  # by place

    def take(self, state: TargetState) -> Taken:
        """Lock the host of a target, and that of whom it meets.

        One that waits BEHIND another comes out of its ``let_go``.
        """
        if state.places is None:
            hosts = (host for target in state.targets for host in hosts_of(target))
            state.places = tuple({place_of(host) for host in hosts})
        with self._lock:
            for place in state.places:
                if place in self._owners:
                    self._owners[place].behind.append(state)
                    return Taken.BEHIND
            if not self._shared.take(state.places):
                return Taken.ELSEWHERE
            self._owners.update(dict.fromkeys(state.places, state))
        return Taken.YES

    def let_go(self, state: TargetState) -> TargetState | None:
        """Unlock what a target has locked, if anything; return the target that may have it now.

        To be called whenever a target is through or steps back, with a lock or without: what waits
        behind it must not wait for ever.
        """
        with self._lock:
            mine = [place for place in state.places or () if self._owners.get(place) is state]
            self._shared.release(mine)
            for place in mine:
                del self._owners[place]
            if not state.behind:
                return None
            heir, *others = state.behind
            state.behind = []
            heir.behind += others
        return heir

    def holder(self, state: TargetState) -> str | None:
        """Return the id of the run that has locked a target's host; None if it is not known."""
        places = state.places or ()
        with self._lock:
            if any(place in self._owners for place in places):
                return self._run_id
        return self._shared.holder(places)

    def close(self) -> None:
        self._shared.close()


class LockFile:
    """The locks of this machine's runs in one file, as one run has it open: see ``HostLocks``.

    The file stays as small as it is: a host's lock is a byte range far behind its end, and the
    kernel keeps it for as long as the run has the file open. So nothing is left of a process that
    was killed, and there is nothing to clean up. Raises RequestError (``local_io_error``).
    """

    def __init__(self, path: Path, run_id: str) -> None:
        self._path = path
        try:
            make_private(path.parent)
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise self._fault(error) from None
        try:
            self._entry = self._sign(run_id)
        except OSError as error:
            os.close(self._descriptor)
            raise self._fault(error) from None

    def take(self, places: Sequence[int]) -> bool:
        try:
            for number, place in enumerate(places):
                if not self._lock(place, self._entry):
                    self.release(places[:number])
                    return False
        except OSError as error:
            raise self._fault(error) from None
        return True

    def release(self, places: Iterable[int]) -> None:
        for place in places:
            self._control(fcntl.F_OFD_SETLK, fcntl.F_UNLCK, place, self._entry)

    def holder(self, places: Iterable[int]) -> str | None:
        for place in places:
            kind, _, _, entry, _ = self._control(fcntl.F_OFD_GETLK, fcntl.F_WRLCK, place, 1)
            if kind != fcntl.F_UNLCK:
                return os.pread(self._descriptor, _ENTRY, entry * _ENTRY).rstrip(b"\0").decode()
        return None

    def close(self) -> None:
        os.close(self._descriptor)

    def _sign(self, run_id: str) -> int:
        """Write the run's id into the first entry that is free; return its number."""
        for entry in range(1, 1 << _PLACE_BITS):
            if self._lock(entry, 1):
                name = run_id.encode()[:_ENTRY].ljust(_ENTRY, b"\0")
                os.pwrite(self._descriptor, name, entry * _ENTRY)
                return entry
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    def _lock(self, start: int, length: int) -> bool:
        try:
            self._control(fcntl.F_OFD_SETLK, fcntl.F_WRLCK, start, length)
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise
            return False
        return True

    def _control(self, command: int, kind: int, start: int, length: int) -> tuple[int, ...]:
        asked = struct.pack(_FLOCK, kind, os.SEEK_SET, start, length, 0)
        return struct.unpack(_FLOCK, fcntl.fcntl(self._descriptor, command, asked))

    def _fault(self, error: OSError) -> RequestError:
        return RequestError(
            "local_io_error",
            f"targets cannot be locked in {self._path}: {error.strerror};"
            " name another directory with --state-dir",
            file=str(self._path),
        )


def place_of(host: str) -> int:
    """Return where in the file a host's lock begins; two hosts that share a place only wait."""
    digest = hashlib.blake2b(host.encode("utf-8", "backslashreplace"), digest_size=8).digest()
    return _FIRST_PLACE + ((int.from_bytes(digest, "big") >> (64 - _HASH_BITS)) << _PLACE_BITS)
