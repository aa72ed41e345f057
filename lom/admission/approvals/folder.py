"""Requests for approval and the answers to them: small files in one folder, without a server.

``RUN.request.json`` belongs to who asks and says all that would run; ``RUN.HEX.answer.json``
belongs to who answers and holds the hash of that. Who wrote a file is told by its owner, which
only root can change, and never by what stands in it; but for users that the machine's policy lets
speak for others. When an answer was given is told by its file's change time, which nobody can set.
``RUN.used.json`` is a request whose run was started.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import secrets
import stat
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from lmm.contract import spec_validator
from lmm.envelope import loads_request, timestamp
from lmm.errors import RequestError
from lmm.regular import open_regular
from lmm.shortage import wanting
from lom.admission.approvals.standing import AHEAD, Answer, Demand
from lom.admission.approvals.store import ApprovalRequest
from lom.admission.caller import owner, user_name
from lom.names import shown

MOST_BYTES = 16 * 1024 * 1024  # of a file; a request names every target
KEPT_S = 30 * 86400.0  # how long one's own files stay: as long as an approval may hold
REQUEST, USED, ANSWER = ".request.json", ".used.json", ".answer.json"
_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


class ApprovalFolder:
    """The folder of requests and answers at ``path``: see ``ApprovalStore``.

    ``identities`` names, by OS user, the variable that is believed about who wrote a file.
    """

    def __init__(self, path: str, identities: Mapping[str, str]) -> None:
        self.path = path
        self._identities = identities

    def ask(self, request: ApprovalRequest) -> None:
        document = {
            "run_id": request.run_id,
            "user": request.user,
            "asked_at": timestamp(request.asked_at),
            "demands": [one._asdict() for one in request.demands],
            "subject": request.subject,
        }
        self._write(f"{request.run_id}{REQUEST}", document)

    def leave(self, run_id: str, answer: Answer) -> None:
        document = {
            "run_id": run_id,
            "user": answer.user,
            "plan_hash": answer.plan_hash,
            "approved": answer.approved,
            "at": timestamp(answer.at),
            "reason": answer.reason,
        }
        self._write(f"{run_id}.{secrets.token_hex(4)}{ANSWER}", document)

    def use(self, run_id: str) -> bool:
        self._refuse_foreign_mark(run_id)
        try:
            os.rename(self._path(run_id, REQUEST), self._path(run_id, USED))
        except FileNotFoundError:
            return False
        except OSError as error:
            raise self._io_error(error) from None
        return True

    def give_back(self, run_id: str) -> None:
        with contextlib.suppress(OSError):
            os.rename(self._path(run_id, USED), self._path(run_id, REQUEST))

    def is_used(self, run_id: str) -> bool:
        self._refuse_foreign_mark(run_id)
        return os.path.lexists(self._path(run_id, USED))

    def _refuse_foreign_mark(self, run_id: str) -> None:
        """Raise RequestError (``local_io_error``) for a mark that another than who asked has made.

        Nobody can put a mark in the place of another's: the folder has the sticky bit.
        """
        with contextlib.suppress(FileNotFoundError):
            mark = os.lstat(self._path(run_id, USED))
            if mark.st_uid != os.lstat(self._path(run_id, REQUEST)).st_uid:
                raise RequestError(
                    "local_io_error",
                    f"{self._path(run_id, USED)} is none of who asked, but of"
                    f" {user_name(mark.st_uid)}: the request {run_id} was not used, and cannot be"
                    " until that is removed",
                    file=self._path(run_id, USED),
                )

    def requests(self) -> list[ApprovalRequest]:
        found = []
        for name in self._names("", REQUEST):
            try:
                found.append(self.read(name.removesuffix(REQUEST)))
            except RequestError as error:
                if error.reason != "unknown_run":
                    raise
        return sorted(found, key=lambda one: one.asked_at)

    def find(
        self, name: str, is_shown: Callable[[ApprovalRequest], bool] = lambda one: True
    ) -> ApprovalRequest:
        ids = [one.removesuffix(REQUEST) for one in self._names(name, REQUEST)]
        if name in ids or len(ids) == 1:
            found = [self.read(name if name in ids else ids[0])]
        else:
            found = [one for one in self.requests() if one.run_id in ids]
        found = [one for one in found if is_shown(one)]
        if len(found) != 1:
            ids = sorted(one.run_id for one in found)
            why = f"more than one begins so: {', '.join(ids[:4])}" if ids else "there is none"
            raise RequestError(
                "unknown_run", f"no request {name!r} in {self.path}: {why}", name=name
            )
        return found[0]

    def read(
        self,
        run_id: str,
        is_shown: Callable[[ApprovalRequest], bool] = lambda one: True,
        *,
        used: bool = False,
    ) -> ApprovalRequest:
        self._path(run_id, REQUEST)
        try:
            name = f"{run_id}{USED if used else REQUEST}"
            document, user, _, _ = self._read(name, "subject")
            if document["run_id"] != run_id:
                raise _Unfit(f"it is for {document['run_id']}")
            request = ApprovalRequest(
                run_id,
                user,
                _instant(document["asked_at"]),
                tuple(
                    Demand(one["rule"], one["policy"], tuple(one["approvers"]), one["valid_for_s"])
                    for one in document["demands"]
                ),
                document["subject"],
            )
            if not is_shown(request):
                raise _unread(os.strerror(errno.ENOENT))
        except _Unfit as unfit:
            raise RequestError(
                "unknown_run",
                f"the request {run_id} in {self.path} cannot be used: {unfit}",
                name=run_id,
            ) from None
        return request

    def answers(self, run_id: str) -> list[Answer]:
        """Leave out what its owner did not write as an answer.

        An approval that says it is of later than its file is none.
        """
        found = []
        for name in self._names(f"{run_id}.", ANSWER):
            with contextlib.suppress(_Unfit):
                document, user, groups, changed = self._read(name, "plan_hash")
                ahead = document["approved"] and _instant(document["at"]) > changed + AHEAD
                if document["run_id"] == run_id and not ahead:
                    found.append(
                        Answer(
                            user,
                            groups,
                            document["plan_hash"],
                            document["approved"],
                            changed,
                            document["reason"],
                        )
                    )
        return found

    def _read(self, name: str, key: str) -> tuple[dict[str, Any], str, frozenset[str], datetime]:
        """Return a document that has ``key``, who wrote it, the groups of that user, and when."""
        content, found = _content(os.path.join(self.path, name))
        document = _parsed(content)
        if key not in document:
            raise _Unfit(f"it has no {key}")
        claimed = document["user"]
        user, groups = owner(found.st_uid, claimed, self._identities)
        if user != claimed:
            raise _Unfit(f"it says that {claimed!r} wrote it, and it belongs to {user!r}")
        return document, user, groups, datetime.fromtimestamp(found.st_ctime, UTC)

    def _write(self, name: str, document: Mapping[str, Any]) -> None:
        """Write a file that those can read who can read the folder; all of it or nothing."""
        content = json.dumps(document).encode("ascii")
        try:
            _parsed(content)  # what could not be read again would count for nothing
        except _Unfit as unfit:
            raise RequestError("invalid_request", f"{name} cannot be written: {unfit}") from None
        new = os.path.join(self.path, f".{secrets.token_hex(8)}")
        try:
            place = _place(self.path)
            _tidy(self.path)
            descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                with open(descriptor, "wb") as stream:
                    stream.write(content)
                    stream.flush()
                    with contextlib.suppress(OSError):  # the folder's group may not be ours to give
                        os.fchown(descriptor, -1, place.st_gid)
                    os.fchmod(descriptor, 0o600 | place.st_mode & 0o044)
                    os.fsync(descriptor)
                os.rename(new, os.path.join(self.path, name))
            except BaseException:
                os.unlink(new)
                raise
        except OSError as error:
            raise self._io_error(error) from None

    def _path(self, run_id: str, end: str) -> str:
        if not _RUN_ID.fullmatch(run_id):
            raise RequestError("unknown_run", f"{shown(run_id)} is not the id of a run")
        return os.path.join(self.path, f"{run_id}{end}")

    def _names(self, start: str, end: str) -> list[str]:
        try:
            names = os.listdir(self.path)
        except OSError as error:
            raise self._io_error(error) from None
        return [name for name in names if name.startswith(start) and name.endswith(end)]

    def _io_error(self, error: OSError) -> RequestError:
        return RequestError(
            "local_io_error",
            f"the folder of approvals {self.path} cannot be used: {error.strerror}; root makes it"
            f" with `install -d -g GROUP -m 3770 {self.path}`",
            file=self.path,
        )


# -- files -------------------------------------------------------------------------------------


class _Unfit(Exception):
    """A file that is not what its name says."""


def _unread(why: str | None) -> _Unfit:
    return _Unfit(f"it cannot be read: {why}")


def _parsed(content: bytes) -> dict[str, Any]:
    try:
        document: dict[str, Any] = loads_request(content, "it")
    except RequestError as error:
        raise _Unfit(error.message) from None
    violations = spec_validator("approval_v1").violations(document)
    if violations:
        raise _Unfit(str(violations[0]))
    return document


def _instant(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:  # a leap second
        raise _Unfit(f"{text} is no instant") from None


def _content(path: str) -> tuple[bytes, os.stat_result]:
    """Return the bytes of a file that nobody but its owner can have written, and what it is.

    Raises RequestError (``local_io_error``) for want of descriptors or memory: it may be a denial.
    """
    try:
        with open(open_regular(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as stream:
            found = os.fstat(stream.fileno())
            # A second name could be somebody's link to a file that another wrote elsewhere.
            if found.st_nlink != 1:
                raise _Unfit("it is no file with one name")
            if found.st_mode & 0o022:
                raise _Unfit("others than its owner may write it")
            if found.st_size > MOST_BYTES:
                raise _Unfit(f"it is larger than {MOST_BYTES} bytes")
            return stream.read(MOST_BYTES + 1), found
    except OSError as error:
        if error.errno != errno.EAGAIN and wanting(error):  # who holds a lease on it wants nothing
            why = f"cannot read {path}: {error.strerror}"
            raise RequestError("local_io_error", why, file=path) from None
        raise _unread(error.strerror) from None


def _place(folder: str) -> os.stat_result:
    """Return what the folder is. Raises RequestError where others could remove one's files."""
    found = os.stat(folder)
    if found.st_mode & 0o022 and not found.st_mode & stat.S_ISVTX:
        raise RequestError(
            "config_invalid",
            f"in {folder} everybody who may write could remove the files of others;"
            f" `chmod +t {folder}` forbids that",
            field="$.approvals",
            file=folder,
        )
    return found


def _tidy(folder: str) -> None:
    """Remove one's own files that are too old to count."""
    before = time.time() - KEPT_S
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith((REQUEST, USED, ANSWER)):
                with contextlib.suppress(OSError):
                    found = entry.stat(follow_symlinks=False)
                    if found.st_uid == os.geteuid() and found.st_mtime < before:
                        os.unlink(entry.path)
