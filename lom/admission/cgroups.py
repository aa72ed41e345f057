"""Who could freeze this process, or slow it down, by the control groups (cgroups(7)) it is in."""

from __future__ import annotations

import os
from collections.abc import Iterator

from lmm.ownership import first_doubt

# What freezes a group, moves processes into it, or keeps them from running.
_FILES = (
    *("cgroup.freeze", "cgroup.kill", "cgroup.procs", "cgroup.threads", "cpu.max"),
    *("freezer.state", "tasks"),  # of the first version
)


def foreign_group() -> str | None:
    """Return which group of this process, or above one, others can change, in words; None: none.

    Whoever owns a group makes new ones in it, moves its processes there, and freezes them.
    """
    doubts = (first_doubt(path, inside=True) for path in _places())
    return next((doubt.why for doubt in doubts if doubt), None)


def _places() -> Iterator[str]:
    """Yield the groups of this process and those above them, with the files that rule them."""
    for folder in filter(os.path.exists, _folders()):  # a container may not show its own
        yield folder
        while os.path.exists(os.path.join(folder, "cgroup.procs")):
            yield from filter(os.path.exists, (os.path.join(folder, name) for name in _FILES))
            folder = os.path.dirname(folder)


def _folders() -> Iterator[str]:
    """Yield where the groups of this process are, as far as they are mounted."""
    with open("/proc/self/cgroup", errors="surrogateescape") as stream:
        groups = [line.removesuffix("\n").split(":", 2)[1:] for line in stream]
    with open("/proc/self/mountinfo", errors="surrogateescape") as stream:
        mounts = [line.split() for line in stream]
    for mount in mounts:
        root, place = mount[3:5]
        kind, options = mount[mount.index("-") + 1], mount[-1]
        for controllers, path in groups:
            if kind == "cgroup" and controllers:
                is_here = set(controllers.split(",")) <= set(options.split(","))
            else:
                is_here = kind == "cgroup2" and not controllers
            if is_here:
                yield os.path.join(place, os.path.relpath(path, root))
