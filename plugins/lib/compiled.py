"""A C program made on the host that it measures, and what that host is, for Python 3.6 or newer."""

import glob
import os
import re
import shutil
import subprocess
import tempfile

COMPILERS = ("cc", "gcc", "clang")
FLAGS = (["-O3", "-march=native"], ["-O3", "-mcpu=native"], ["-O2"])
COMPILE_S = 60


def build(source):
    """Return the path of the program, its compiler and its flags; three None without a compiler.

    The program lies in a directory of its own, which the caller removes: on the first file system
    that lets it run.
    """
    compiler = next(filter(None, map(shutil.which, COMPILERS)), None)
    if compiler is None:
        return None, None, None
    places = [os.path.dirname(os.path.abspath(__file__)), None, "/var/tmp", os.path.expanduser("~")]
    for place in places:
        try:
            folder = tempfile.mkdtemp(prefix=".rune-build-", dir=place)
        except OSError:
            continue
        program = os.path.join(folder, "program")
        for flags in FLAGS:
            argv = [compiler, "-std=gnu99", *flags, "-pthread", "-o", program, "-x", "c", "-"]
            try:
                if _ran(argv, source, folder) and _ran([program], "", folder):
                    return program, _version(compiler), " ".join(flags)
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
        shutil.rmtree(folder, ignore_errors=True)
    return None, None, None


def _ran(argv, text, folder):
    try:
        done = subprocess.run(
            argv,
            input=text.encode(),
            env=dict(os.environ, TMPDIR=folder),  # a compiler that is killed leaves files there
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=COMPILE_S,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _version(compiler):
    output = subprocess.check_output([compiler, "--version"], stdin=subprocess.DEVNULL)
    return output.decode("utf-8", "replace").partition("\n")[0].strip() or None


def processor():
    """Return the facts of the host's processors: sku, topology, governor, virtual."""
    with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as stream:
        text = stream.read()
    model = re.search(r"^(?:model name|Model|cpu)\s*:\s*(.+)$", text, re.MULTILINE)
    packages, cores = set(), set()
    for folder in glob.glob("/sys/devices/system/cpu/cpu[0-9]*/topology"):
        package = _read(os.path.join(folder, "physical_package_id"))
        packages.add(package)
        cores.add((package, _read(os.path.join(folder, "core_id"))))
    threads = os.cpu_count() or 1
    governors = {
        _read(path) for path in glob.glob("/sys/devices/system/cpu/cpu*/cpufreq/scaling_governor")
    }
    return {
        "sku": model.group(1).strip() if model else None,
        "topology": "sockets {}, cores {}, CPUs {}, ours {}".format(
            len(packages) or "?", len(cores) or "?", threads, len(os.sched_getaffinity(0))
        ),
        "governor": ", ".join(sorted(filter(None, governors))) or None,
        "virtual": bool(re.search(r"^flags\s*:.*\bhypervisor\b", text, re.MULTILINE)),
    }


def last_level_cache_bytes():
    """Return the size of all last-level caches together, 0 if the kernel does not say."""
    caches = {}
    for folder in glob.glob("/sys/devices/system/cpu/cpu[0-9]*/cache/index[0-9]*"):
        level = _read(os.path.join(folder, "level"))
        shared = _read(os.path.join(folder, "shared_cpu_list"))
        size = re.match(r"(\d+)([KM]?)$", _read(os.path.join(folder, "size")) or "")
        if level and size:
            scale = {"": 1, "K": 1 << 10, "M": 1 << 20}[size.group(2)]
            caches[int(level), shared] = int(size.group(1)) * scale
    last = max((level for level, _ in caches), default=0)
    return sum(size for (level, _), size in caches.items() if level == last)


def _read(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read().strip()
    except OSError:
        return None
