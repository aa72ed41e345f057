"""Whether a Linux host was quiet enough for its numbers to mean something, for Python 3.6 or newer.

``look()`` twice, once before and once after, and ``disturbances()`` says what spoilt the time
between. ``busy()`` does both for a moment before a measurement.
"""

import collections
import glob
import os
import re
import time

FOREIGN_PERCENT = 5  # of all CPUs, taken by others: less is what an idle host does by itself
STEAL_PERCENT = 2  # of all CPUs, taken by the hypervisor
LOOK_S = 0.5

# ``busy`` and ``steal`` are ticks of all CPUs since the boot, ``own`` those of this process and
# its children, ``others`` (ticks, name) by (pid, start), ``counts`` how often what throttled.
Look = collections.namedtuple("Look", "total busy steal own others counts")


def look(proc="/proc", system="/sys"):
    """Return what the kernel counts now."""
    with open(os.path.join(proc, "stat")) as stream:
        ticks = [int(word) for word in stream.readline().split()[1:]] + [0] * 8
    user, nice, kernel, idle, wait, irq, soft, steal = ticks[:8]
    busy = user + nice + kernel + irq + soft
    others, own = {}, 0
    family = _family(proc)
    ours = _ours(family)
    for pid, fields in family.items():
        ticks = int(fields[13]) + int(fields[14])
        if pid in ours:
            own += ticks + int(fields[15]) + int(fields[16])
        else:
            others[pid, fields[21]] = (ticks, fields[1])
    return Look(busy + idle + wait + steal, busy, steal, own, others, _throttle_counts(system))


def _family(proc):
    """Return the fields of /proc/PID/stat, the name without its brackets, by pid."""
    found = {}
    for path in glob.glob(os.path.join(proc, "[0-9]*", "stat")):
        try:
            with open(path) as stream:
                head, _, tail = stream.read().rpartition(")")
        except (OSError, ValueError):
            continue  # it ended
        pid, _, name = head.partition(" (")
        found[int(pid)] = [pid, name, *tail.split()]
    return found


def _ours(family):
    """Return the pids of this process and all that descend from it."""
    ours = {os.getpid()}
    grown = True
    while grown:
        more = {pid for pid, fields in family.items() if int(fields[3]) in ours} - ours
        ours |= more
        grown = bool(more)
    return ours


def _throttle_counts(system):
    """Return how often heat and the cgroup's quota throttled CPUs, by words for people."""
    counts = {}
    for kind in ("core", "package"):
        pattern = "devices/system/cpu/cpu*/thermal_throttle/{}_throttle_count".format(kind)
        numbers = [_number(path) for path in glob.glob(os.path.join(system, pattern))]
        counts["the {} was throttled for heat".format(kind)] = max(numbers, default=0)
    try:
        with open(os.path.join(system, "fs/cgroup", _cgroup(), "cpu.stat")) as stream:
            found = re.search(r"^nr_throttled (\d+)$", stream.read(), re.MULTILINE)
    except OSError:
        found = None
    counts["the cgroup's CPU quota was reached"] = int(found.group(1)) if found else 0
    return counts


def _cgroup():
    with open("/proc/self/cgroup") as stream:
        lines = [line.strip() for line in stream if line.startswith("0::")]
    return lines[0][len("0::/") :] if lines else ""


def _number(path):
    try:
        with open(path) as stream:
            return int(stream.read())
    except (OSError, ValueError):
        return 0


def disturbances(before, after):
    """Return, in words, what made the time between two looks no quiet one."""
    reasons = []
    total = max(1, after.total - before.total)
    foreign = 100 * (after.busy - before.busy - (after.own - before.own)) / total
    if foreign > FOREIGN_PERCENT:
        spent = sorted(
            (before.others.get(who, (0, ""))[0] - ticks, "{} ({})".format(name, who[0]))
            for who, (ticks, name) in after.others.items()
        )
        names = ", ".join(name for unspent, name in spent[:3] if unspent < 0)
        reasons.append(
            "other processes used {:.0f} % of the CPUs{}".format(
                foreign, ": most of it " + names if names else ""
            )
        )
    steal = 100 * (after.steal - before.steal) / total
    if steal > STEAL_PERCENT:
        reasons.append("the hypervisor took {:.0f} % of the CPUs away".format(steal))
    for words, count in after.counts.items():
        times = count - before.counts.get(words, 0)
        if times > 0:
            reasons.append("{} {} times".format(words, times))
    return reasons


def busy():
    """Return, in words, why the host is not quiet now; takes half a second."""
    before = look()
    time.sleep(LOOK_S)
    return disturbances(before, look())
