"""Finding and ending processes by ancestry or by a mark in their environment, from /proc alone.

A process that called setsid and was re-parented has left its tree; a mark that it inherited in
its environment still finds it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Collection, Iterable, Mapping


def all_pids() -> list[int]:
    """Return the id of every process that this machine shows us."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def stat_fields(pid: int) -> list[str]:
    """Return the fields of ``/proc/PID/stat`` after the command: state, ppid, … ([] if gone)."""
    return _read(pid, "stat").rpartition(b")")[2].decode("ascii").split()


def is_alive(pid: int) -> bool:
    """Whether the process exists and is no zombie; its first thread may have ended."""
    fields = stat_fields(pid)
    return bool(fields) and (fields[0] not in "ZX" or int(fields[17]) > 1)


def descendants(root: int) -> set[int]:
    """Return the ids of all children, grandchildren, … of ``root``, zombies included."""
    children: dict[int, list[int]] = {}
    for pid in all_pids():
        fields = stat_fields(pid)
        if fields:
            children.setdefault(int(fields[1]), []).append(pid)
    found: set[int] = set()
    waiting = [root]
    while waiting:
        for child in children.get(waiting.pop(), ()):
            if child not in found:
                found.add(child)
                waiting.append(child)
    return found


def descends(pid: int, root: int) -> bool:
    """Whether ``root`` is the parent, grandparent, … of the process."""
    while fields := stat_fields(pid):
        pid = int(fields[1])
        if pid == root:
            return True
    return False


def environment(pid: int) -> dict[str, str]:
    """Return the environment a process was started with ({} where it cannot be read)."""
    pairs = (item.partition(b"=") for item in _read(pid, "environ").split(b"\0") if b"=" in item)
    return {os.fsdecode(name): os.fsdecode(value) for name, _, value in pairs}


def marked(marks: Mapping[str, str | None]) -> set[int]:
    """Return the processes that carry any of these variables; ``None`` means any value."""
    return {pid for pid in all_pids() if is_marked(pid, marks)}


def is_marked(pid: int, marks: Mapping[str, str | None]) -> bool | None:
    """Whether the process carries any of these variables; None where no environment is to be read,
    as of a zombie, another user's process, or one that becomes another program just now."""
    data = _read(pid, "environ")
    if not data:
        return None
    return any(
        os.fsencode(f"\0{name}={value or ''}") + (b"" if value is None else b"\0")
        in b"\0" + data + b"\0"
        for name, value in marks.items()
    )


def describe(pid: int) -> str:
    """Return ``pid (state, parent N): command line`` for a message."""
    fields = stat_fields(pid)
    if not fields:
        return f"{pid} (gone)"
    words = _read(pid, "cmdline").replace(b"\0", b" ").strip().decode("utf-8", "replace")
    return f"{pid} (state {fields[0]}, parent {fields[1]}): {(words or name(pid))[:200]}"


def end(pids: Iterable[int], patience_s: float = 2.0) -> None:
    """Send TERM, and KILL to what is still there after ``patience_s``.

    All are stopped meanwhile: a shell whose child dies first would run its next command.
    """
    waiting = set(pids)
    for number in (signal.SIGTERM, signal.SIGKILL):
        for each in (signal.SIGSTOP, number, signal.SIGCONT):
            for pid in waiting:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, each)
        waiting = wait_gone(waiting, patience_s)
        if not waiting:
            return


def wait_gone(pids: Collection[int], patience_s: float) -> set[int]:
    """Wait until the processes are gone or zombies; return those that are still alive."""
    until = time.monotonic() + patience_s
    alive = {pid for pid in pids if is_alive(pid)}
    while alive and time.monotonic() < until:
        time.sleep(0.01)
        alive = {pid for pid in alive if is_alive(pid)}
    return alive


def owner(pid: int) -> int | None:
    """Return the user id the process runs as (``None`` if gone)."""
    try:
        return os.stat(f"/proc/{pid}").st_uid
    except OSError:
        return None


def name(pid: int) -> str:
    """Return the command name, at most 15 characters ("" if gone)."""
    return _read(pid, "comm").decode("utf-8", "replace").strip()


def _read(pid: int, file: str) -> bytes:
    """Return what is in a file of ``/proc/PID``; nothing if the process is gone, or not ours."""
    try:
        with open(f"/proc/{pid}/{file}", "rb", buffering=0) as stream:
            return stream.read()
    except OSError:
        return b""
