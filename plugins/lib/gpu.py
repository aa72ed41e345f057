"""The NVIDIA GPUs of a host as ``nvidia-smi -q -x`` tells of them, for Python 3.6 or newer.

Which there are and which a run shall use, whether they are free, what makes two hosts comparable,
and what throttled them meanwhile. Needs rune.py beside it.
"""

import collections
import contextlib
import re
import shutil
import subprocess
import threading
import time
import xml.etree.ElementTree as ElementTree

import rune

SMI_TIMEOUT_S = 30
BUSY_PERCENT = 10  # a desktop that draws its clock stays below
# Reasons that say that the hardware was not at its best; a power cap under load is normal.
THROTTLES = ("hw_thermal_slowdown", "hw_power_brake_slowdown", "sw_thermal_slowdown")
UMBRELLA = "hw_slowdown"  # comes with these, or for a moment whenever clocks change (nvml.h)
REASONS = {  # nvmlClocksEventReason* of nvml.h
    0x1: "gpu_idle",
    0x2: "applications_clocks_setting",
    0x4: "sw_power_cap",
    0x8: "hw_slowdown",
    0x10: "sync_boost",
    0x20: "sw_thermal_slowdown",
    0x40: "hw_thermal_slowdown",
    0x80: "hw_power_brake_slowdown",
    0x100: "display_clocks_setting",
}

Gpu = collections.namedtuple("Gpu", "index bus_id uuid name element")
# What one process can use: a whole GPU, or one MIG device of it. ``visible`` is its
# CUDA_VISIBLE_DEVICES, ``labels`` what its metrics carry.
Unit = collections.namedtuple("Unit", "gpu visible labels")
Sample = collections.namedtuple("Sample", "at_s power_w sm_mhz celsius throttles")


class Hung(Exception):
    """A command did not end in time; it was told to die, which it cannot while a driver hangs."""


class Unreadable(Exception):
    """nvidia-smi gave no list of GPUs; ``output`` is what it said instead."""

    def __init__(self, status, output):
        super().__init__(output)
        self.status, self.output = status, output


# -- asking --------------------------------------------------------------------------------------


def ask(argv, timeout_s=SMI_TIMEOUT_S, stderr=subprocess.STDOUT):
    """Return the exit status and the text of a command. Raises Hung."""
    process = subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr
    )
    try:
        output, _ = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()  # not waited for: a process in uninterruptible sleep never ends
        raise Hung("{} gave no answer within {} s".format(argv[0], timeout_s)) from None
    except BaseException:
        process.kill()
        raise
    return process.returncode, rune.clean(output)


def missing(command, package):
    """Return the error of a host that lacks a command."""
    message = "this host has no {}: it comes with {}".format(command, package)
    return rune.Failure(2, message, {"missing": command, "package": package})


def need_smi():
    """Fail unless there is nvidia-smi."""
    if not shutil.which("nvidia-smi"):
        raise missing(
            "nvidia-smi", "the NVIDIA driver (nvidia-utils on Ubuntu, nvidia-smi on Debian)"
        )


def query(timeout_s=SMI_TIMEOUT_S):
    """Return the root element of ``nvidia-smi -q -x`` and what it warned of.

    Raises Hung and Unreadable.
    """
    status, output = ask(["nvidia-smi", "-q", "-x"], timeout_s)
    found = re.search(r"<nvidia_smi_log>.*</nvidia_smi_log>", output, re.DOTALL)
    if not found:
        raise Unreadable(status, output)
    try:
        root = ElementTree.fromstring(found.group())
    except ElementTree.ParseError:
        raise Unreadable(status, output) from None
    said = output[: found.start()] + output[found.end() :]
    return root, [line for line in said.splitlines() if line.strip() and line[0] != "<"]


def text(element, path):
    """Return the text at a path, None where nvidia-smi knows none (N/A, deprecated, absent)."""
    value = (element.findtext(path) or "").strip()
    if value.startswith(("N/A", "[", "Requested functionality", "Unknown Error", "ERR!")):
        return None
    return value or None


def number(element, path):
    """Return the number that a text such as ``67.03 W`` or ``16x`` begins with, else None."""
    found = re.match(r"-?\d+(\.\d+)?", text(element, path) or "")
    if not found:
        return None
    return float(found.group()) if found.group(1) else int(found.group())


def active_reasons(element):
    """Return the active reasons for clocks, under the names that all driver versions share."""
    for part in ("clocks_event_reasons", "clocks_throttle_reasons"):
        reasons = element.find(part)
        if reasons is not None:
            return [
                re.sub(r"^clocks_(event|throttle)_reason_", "", reason.tag)
                for reason in reasons
                if (reason.text or "").strip() == "Active"
            ]
    return []


# -- which ---------------------------------------------------------------------------------------


def gpus(root):
    """Return the GPUs in the order of their index."""
    return [
        Gpu(index, one.get("id") or "", text(one, "uuid"), text(one, "product_name"), one)
        for index, one in enumerate(root.iter("gpu"))
    ]


def inventory():
    """Return the driver's version and the GPUs; fail if there are none or the driver is down."""
    need_smi()
    try:
        root, _ = query()
    except Hung as hung:
        raise rune.Failure(2, "the NVIDIA driver hangs: {}".format(hung)) from None
    except Unreadable as error:
        said = (error.output.strip().splitlines() or ["nothing"])[0]
        details = {"exit_status": error.status, "output": error.output[:4096]}
        raise rune.Failure(2, "nvidia-smi says: {}".format(said), details) from None
    found = gpus(root)
    if not found:
        raise rune.Failure(2, "the NVIDIA driver finds no GPU on this host")
    return text(root, "driver_version"), found


def units(found, wanted):
    """Return what to measure, of all GPUs or of the given indices and UUIDs.

    A GPU in MIG mode is its MIG devices. Fails with code 1 on one that does not exist.
    """
    instances = _mig_devices() if any(mig_enabled(gpu) for gpu in found) else {}
    every = []
    for gpu in found:
        labels = {"gpu": str(gpu.index)}
        if not mig_enabled(gpu):
            every.append(Unit(gpu, gpu.uuid or str(gpu.index), labels))
        for device, profile, uuid in instances.get(gpu.uuid, []):
            every.append(Unit(gpu, uuid, dict(labels, mig=device, profile=profile)))
    if not wanted:
        return every
    chosen = []
    for one in wanted:
        fits = [u for u in every if one in (u.gpu.index, u.gpu.uuid, u.visible)]
        if not fits and not any(one in (gpu.index, gpu.uuid) for gpu in found):
            known = ", ".join("{} ({})".format(gpu.index, gpu.uuid) for gpu in found)
            raise rune.Failure(1, "gpus: there is no GPU {}; there are {}".format(one, known))
        chosen.extend(unit for unit in fits if unit not in chosen)
    return chosen


def mig_enabled(gpu):
    """Whether a GPU is cut into MIG devices, or would be if it had any."""
    return text(gpu.element, "mig_mode/current_mig") == "Enabled"


def _mig_devices():
    devices, uuid = collections.defaultdict(list), None
    for line in ask(["nvidia-smi", "-L"])[1].splitlines():
        whole = re.match(r"GPU \d+: .*\(UUID: (\S+)\)", line)
        part = re.match(r"\s+MIG (\S+)\s+Device\s+(\d+): \(UUID: (\S+)\)", line)
        if whole:
            uuid = whole.group(1)
        elif part:
            devices[uuid].append((part.group(2), part.group(1), part.group(3)))
    return devices


# -- measuring -----------------------------------------------------------------------------------


def measure(load, topology=None, **more):
    """Return the answer of a plugin that measures the GPUs that its parameter ``gpus`` names.

    ``load(chosen, samples)`` puts them under load and returns the name of its method, its metrics
    and what else to answer; ``samples`` grows meanwhile. It is not called if the GPUs are not free,
    unless the parameter ``disturb`` says so; then ``more`` is what else to answer. What spoils the
    numbers stands in the answer.
    """
    driver, found = inventory()
    wanted = rune.param("gpus", default=[])
    every = units(found, [])
    chosen = units(found, wanted) if wanted else every
    reasons = _undivided(found, wanted, every) + busy(chosen)
    named = [dict(one.labels, uuid=one.visible, name=one.gpu.name) for one in chosen]
    method, metrics = None, []
    if chosen and (not reasons or rune.param("disturb", default=False)):
        with watch() as samples:
            method, metrics, more = load(chosen, samples)
        spoilt = more.pop("spoilt", []) + throttled(chosen, samples) + _foreign(_again(chosen))
        reasons += [reason for reason in spoilt if reason not in reasons]
    answer = {
        "valid": not reasons,
        "invalid_reasons": reasons,
        "metrics": metrics,
        "facts": facts(driver, chosen, method, topology(chosen) if topology else None),
        "gpus": named,
    }
    return dict(more, **answer)


def _undivided(found, wanted, every):
    """Return which GPUs cannot be used because they are in MIG mode without a MIG device."""
    usable = {unit.gpu.index for unit in every}
    return [
        "GPU {} is in MIG mode and has no MIG device".format(gpu.index)
        for gpu in found
        if gpu.index not in usable and (not wanted or gpu.index in wanted or gpu.uuid in wanted)
    ]


def title(unit):
    """Return the name of a unit for people."""
    mig = " MIG {}".format(unit.labels["mig"]) if "mig" in unit.labels else ""
    return "GPU {}{}".format(unit.gpu.index, mig)


def busy(chosen):
    """Return why GPUs are not free: others' compute processes on them, or a load."""
    reasons = _foreign(chosen)
    loaded = _loaded(chosen)
    for _ in range(2):  # without persistence nvidia-smi itself is a load for a moment
        if not loaded or reasons:
            break
        time.sleep(1)
        loaded = [one for one in _loaded(_again(chosen)) if one[0] in dict(loaded)]
    return reasons + ["GPU {} is {} % busy".format(*one) for one in loaded]


def _again(chosen):
    try:
        elements = {gpu.bus_id: gpu.element for gpu in gpus(query()[0])}
    except (Hung, Unreadable):
        return []
    return [
        unit._replace(gpu=unit.gpu._replace(element=elements[unit.gpu.bus_id]))
        for unit in chosen
        if unit.gpu.bus_id in elements
    ]


def _foreign(chosen):
    reasons = []
    for gpu in {unit.gpu.index: unit.gpu for unit in chosen}.values():
        pids = [
            "{} ({})".format(text(one, "process_name") or "unknown", text(one, "pid"))
            for one in gpu.element.iter("process_info")
            if "C" in (text(one, "type") or "C")  # C, C+G, M+C; G draws only
        ]
        if pids:
            reasons.append("GPU {} is used by {}".format(gpu.index, ", ".join(pids[:4])))
    return reasons


def _loaded(chosen):
    loads = {u.gpu.index: number(u.gpu.element, "utilization/gpu_util") for u in chosen}
    return [(index, load) for index, load in loads.items() if load and load > BUSY_PERCENT]


def facts(driver, chosen, method, topology=None):
    """Return what must be equal on two hosts if their numbers shall be compared."""
    first = [unit.gpu.element for unit in chosen]
    profiles = collections.Counter(u.labels["profile"] for u in chosen if "mig" in u.labels)

    def clocks(element):
        sm, mem = (number(element, "max_clocks/" + one) for one in ("sm_clock", "mem_clock"))
        return "max sm {} MHz, mem {} MHz".format(sm, mem) if sm and mem else None

    return {
        "sku": _one(text(one, "product_name") for one in first),
        "driver_version": driver,
        "clocks": _one(clocks(one) for one in first),
        "mig": ", ".join("{}x {}".format(n, one) for one, n in sorted(profiles.items())) or None,
        "topology": topology,
        "method": method,
    }


def _one(values):
    return "; ".join(sorted({value for value in values if value})) or None


# -- meanwhile -----------------------------------------------------------------------------------


@contextlib.contextmanager
def watch(interval_s=1.0):
    """Sample all GPUs while the body runs; yields a dict of bus id to list of Sample."""
    samples, over, start = collections.defaultdict(list), threading.Event(), time.monotonic()

    def sample():
        while not over.is_set():
            with contextlib.suppress(Hung):
                for bus_id, *values in _rows():
                    samples[bus_id].append(Sample(time.monotonic() - start, *values))
            over.wait(interval_s)

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield samples
    finally:
        over.set()
        thread.join(SMI_TIMEOUT_S + 1)


def _rows():
    """Yield address, power, clock, temperature and reasons of each GPU, much cheaper than XML."""
    fields = "pci.bus_id,power.draw,clocks.sm,temperature.gpu,clocks_{}_reasons.active"
    for name in ("throttle", "event"):  # the second is the first's name since R535
        argv = ["nvidia-smi", "--query-gpu=" + fields.format(name), "--format=csv,noheader,nounits"]
        output = ask(argv)[1]
        if "not a valid field" not in output:
            break
    for line in output.splitlines():
        values = [value.strip() for value in line.split(",")]
        if len(values) == 5 and ":" in values[0]:
            mask = int(values[4], 16) if values[4].startswith("0x") else 0
            reasons = frozenset(name for bit, name in REASONS.items() if mask & bit)
            yield (values[0], *map(_plain, values[1:4]), reasons)


def _plain(value):
    try:
        return float(value) if "." in value else int(value)
    except ValueError:  # [N/A], [Not Supported]
        return None


def throttled(chosen, samples):
    """Return which GPUs were slowed down by heat or by their power supply while watched."""
    reasons = []
    for gpu in {unit.gpu.index: unit.gpu for unit in chosen}.values():
        series = [sample.throttles for sample in samples.get(gpu.bus_id, [])]
        hits = {name: sum(name in one for one in series) for name in THROTTLES}
        if not any(hits.values()):
            lasting = sum(UMBRELLA in one for one in series)
            hits[UMBRELLA] = lasting if lasting > 1 else 0
        text = "GPU {} was throttled: {} in {} of {} samples"
        reasons += [
            text.format(gpu.index, name, count, len(series))
            for name, count in hits.items()
            if count
        ]
    return reasons
