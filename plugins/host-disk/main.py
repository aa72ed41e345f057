"""Measures a file system's device with a file of its own: in sequence and at random."""

import contextlib
import json
import mmap
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time

from quiet import busy, disturbances, look
from rune import Failure, clean, left, metric, param, progress, run, tidy_on_term

MIB = 1 << 20
BIG, SMALL = MIB, 4096  # bytes at a time, in sequence and at random
JOBS = (("seq_write", "write"), ("seq_read", "read"), ("rand_read", "randread"),
        ("rand_write", "randwrite"))  # fmt: skip
KEPT_SHARE = 0.1  # of a file system, that the file must leave free
BUSY_PERCENT = 10  # of the time the device had something to do before we came
GRACE_S = 10.0  # kept of the deadline, and given to fio to end in
MEMORY = ("tmpfs", "ramfs")


def missing_fio():
    """Return the error of a host that lacks fio."""
    details = {"missing": "fio", "package": "fio"}
    return Failure(2, "this host has no fio: install the package fio", details)


# -- the file ------------------------------------------------------------------------------------


@contextlib.contextmanager
def nameless_file(folder, size):
    """Yield the descriptor of a file without a name, so that nothing is left whatever happens."""
    usage = shutil.disk_usage(folder)
    room = usage.free - int(usage.total * KEPT_SHARE)
    if size > room:
        raise Failure(
            2,
            "size_mib: {} MiB would leave less than {:.0f} % of the file system of {} free; there"
            " is room for {} MiB".format(
                size // MIB, KEPT_SHARE * 100, folder, max(0, room) // MIB
            ),
        )
    try:
        descriptor = os.open(folder, os.O_TMPFILE | os.O_RDWR, 0o600)
    except OSError:  # NFS and others have no such thing
        descriptor, path = tempfile.mkstemp(prefix=".rune-disk-", dir=folder)
        os.unlink(path)
    try:
        os.posix_fallocate(descriptor, 0, size)
        yield descriptor
    finally:
        os.close(descriptor)


def takes_direct(path):
    """Whether the file can be written past the page cache."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDWR | os.O_DIRECT)
        try:
            return os.pwritev(descriptor, [mmap.mmap(-1, SMALL)], 0) == SMALL
        finally:
            os.close(descriptor)
    return False


def device_of(folder, proc="/proc", system="/sys"):
    """Return the facts of the file system and device that a folder is on, and its /sys folder."""
    number = os.stat(folder).st_dev
    name = "{}:{}".format(os.major(number), os.minor(number))
    kind, place = None, os.path.realpath(os.path.join(system, "dev/block", name))
    with open(os.path.join(proc, "self/mountinfo"), errors="replace") as stream:
        for line in stream:
            fields, _, rest = line.partition(" - ")
            if fields.split()[2] == name:
                kind = rest.split()[0]
    whole = os.path.dirname(place) if os.path.exists(os.path.join(place, "partition")) else place
    rotates = _line(os.path.join(whole, "queue/rotational"))
    facts = {
        "sku": _line(os.path.join(whole, "device/model")),
        "filesystem": kind,
        "device": os.path.basename(whole) if os.path.isdir(whole) else None,
        "scheduler": _line(os.path.join(whole, "queue/scheduler")),
        "rotational": rotates == "1" if rotates else None,
    }
    return facts, whole


def _line(path):
    try:
        with open(path, errors="replace") as stream:
            return stream.read().strip() or None
    except OSError:
        return None


def device_ticks(place):
    """Return the milliseconds in which a device had something to do, since the boot."""
    words = (_line(os.path.join(place, "stat")) or "").split()
    return int(words[9]) if len(words) > 9 else None


# -- fio -----------------------------------------------------------------------------------------


def fio_engine():
    """Return the I/O engine to use: libaio keeps a queue, psync is everywhere."""
    done = subprocess.run(["fio", "--enghelp"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    return "libaio" if re.search(rb"^\s*libaio\s*$", done.stdout, re.MULTILINE) else "psync"


def fio(rw, path, spec, size):
    """Run one job; return the version of fio and what it says of the direction, checked."""
    options = {
        "filename": path,
        "rw": rw,
        "size": size,
        "bs": SMALL if rw.startswith("rand") else BIG,
        "runtime": spec["seconds"],
        "direct": int(spec["direct"]),
        "ioengine": spec["engine"],
        "iodepth": spec["depth"],
        "output-format": "json",
    }
    argv = ["fio", "--name=rune", "--thread"]
    argv += ["--{}={}".format(*one) for one in options.items()]
    argv += ["--end_fsync=1"] if rw == "write" else ["--time_based"]
    process = subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        output, complaint = process.communicate(timeout=spec["seconds"] + GRACE_S)
    except subprocess.TimeoutExpired:
        words = "fio did not end {:.0f} s after its time".format(GRACE_S)
        raise Failure(3, words, {"job": rw}) from None
    finally:
        process.kill()
        process.wait()
    return read_fio(rw, output, complaint, process.returncode)


def read_fio(rw, output, complaint, status):
    """Return version, bytes moved, bytes/s, operations/s and latency percentiles in us.

    fio 3 tells nanoseconds in clat_ns, fio 2 microseconds in clat and KiB/s in bw.
    """
    text = output.decode("utf-8", "replace")
    try:
        answer = json.loads(text[text.index("{") : text.rindex("}") + 1])  # notes stand around it
        job = answer["jobs"][0]
        found = job["write" if rw.endswith("write") else "read"]
        if status or job["error"]:
            raise ValueError("fio failed")
        scale, latency = (1e3, found["clat_ns"]) if "clat_ns" in found else (1.0, found["clat"])
        rate = found["bw_bytes"] if "bw_bytes" in found else found["bw"] * 1024
        moved = found["io_bytes"] if "clat_ns" in found else found["io_bytes"] * 1024
        percentiles = {float(name): value for name, value in latency["percentile"].items()}
        tails = {50: percentiles[50.0] / scale, 99: percentiles[99.0] / scale}
        return answer["fio version"], moved, rate, found["iops"], tails
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        said = clean(complaint).strip() or text.strip()
        raise Failure(
            3,
            "fio ended with {} and gave no numbers: {}".format(status, said[:300] or "nothing"),
            {"job": rw, "exit_status": status},
        ) from None


# -- without fio ---------------------------------------------------------------------------------


def builtin(rw, path, spec, size):
    """Do the same with one operation at a time; return what read_fio returns."""
    each = SMALL if rw.startswith("rand") else BIG
    buffer = mmap.mmap(-1, each)  # aligned to a page, as O_DIRECT wants it
    buffer.write(os.urandom(each))
    descriptor = os.open(path, os.O_RDWR | (os.O_DIRECT if spec["direct"] else 0))
    transfer = os.pwritev if rw.endswith("write") else os.preadv
    blocks, took = max(1, size // each), []
    try:
        start = moment = time.perf_counter()
        while moment - start < spec["seconds"] and (rw != "write" or len(took) < blocks):
            at = random.randrange(blocks) if each == SMALL else len(took) % blocks
            if transfer(descriptor, [buffer], at * each) != each:
                raise Failure(3, "a {} of {} bytes was cut short".format(rw, each))
            before, moment = moment, time.perf_counter()
            took.append(moment - before)
        if rw == "write":
            os.fsync(descriptor)
        elapsed = time.perf_counter() - start
    finally:
        os.close(descriptor)
    took.sort()
    tails = {one: took[min(len(took) - 1, len(took) * one // 100)] * 1e6 for one in (50, 99)}
    version = "builtin, CPython {}.{}".format(*sys.version_info[:2])
    return version, len(took) * each, len(took) * each / elapsed, len(took) / elapsed, tails


# -- all together --------------------------------------------------------------------------------


def measure(do, path, spec, size):
    """Do the jobs, add their metrics and return the version of the tool."""
    for number, (name, rw) in enumerate(JOBS):
        progress(100.0 * number / len(JOBS), name)
        version, moved, rate, operations, tails = do(rw, path, spec, size)
        if rw == "write":  # what was not written yet would be read as holes, which cost nothing
            size = max(BIG, min(size, int(moved)) // BIG * BIG)
        if rw.startswith("rand"):
            metric(name, operations, "1/s", "higher")
            for percent, value in sorted(tails.items()):
                metric("{}_p{}".format(name, percent), value, "us", "lower")
        else:
            metric(name, rate / 1e9, "GB/s", "higher")
    return version


def main():
    """Choose the tool, look whether the device is free, measure."""
    folder, seconds, tool = param("path"), param("seconds"), param("tool")
    size, remaining = int(param("size_mib")) * MIB, left()
    if not os.path.isdir(folder) or not os.access(folder, os.W_OK):
        raise Failure(1, "path: {} is no folder that we may write to".format(folder))
    if remaining is not None and len(JOBS) * seconds + GRACE_S > remaining:
        words = "seconds: {} tests of {} s do not end within the {:.0f} s that are left"
        raise Failure(1, words.format(len(JOBS), seconds, remaining))
    with_fio = tool != "builtin" and shutil.which("fio") is not None
    if tool == "fio" and not with_fio:
        raise missing_fio()
    facts, place = device_of(folder)
    ticks, start = device_ticks(place), time.monotonic()
    reasons, spec = busy(), {"seconds": seconds, "direct": None, "engine": None, "depth": 1}
    if ticks is not None:
        share = (device_ticks(place) - ticks) / (time.monotonic() - start) / 10
        if share > BUSY_PERCENT:
            reasons.append("{} was {:.0f} % busy before".format(facts["device"], share))
    version = None
    if not reasons or param("disturb"):
        with nameless_file(folder, size) as descriptor:
            path = "/proc/{}/fd/{}".format(os.getpid(), descriptor)
            spec["direct"], spec["engine"] = (
                takes_direct(path),
                fio_engine() if with_fio else "pread",
            )
            spec["depth"] = int(param("depth")) if spec["engine"] == "libaio" else 1
            before = look()
            version = measure(fio if with_fio else builtin, path, spec, size)
            reasons += [one for one in disturbances(before, look()) if one not in reasons]
    if spec["direct"] is False:
        reasons.append("the file system takes no direct I/O: this is partly the page cache")
    if facts["filesystem"] in MEMORY:
        reasons.append(
            "{} is a {}: this is memory and no device".format(folder, facts["filesystem"])
        )
    facts["tool"] = version
    facts.update({name: spec[name] for name in ("direct", "engine", "depth")}, size_mib=size // MIB)
    return {"valid": not reasons, "invalid_reasons": reasons, "facts": facts, "metrics": []}


if __name__ == "__main__":
    tidy_on_term()
    run(main)
