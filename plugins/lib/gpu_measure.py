"""Measures NVIDIA GPUs: whether they are free, what makes hosts comparable, what throttled them.

For Python 3.6 or newer; needs gpu.py and rune.py beside it.
"""

import collections
import contextlib
import re
import threading
import time

import gpu
import rune

BUSY_PERCENT = 10  # a desktop that draws its clock stays below
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

Sample = collections.namedtuple("Sample", "at_s power_w sm_mhz celsius throttles")


# -- measuring -----------------------------------------------------------------------------------


def measure(load, topology=None, **more):
    """Return the answer of a plugin that measures the GPUs that its parameter ``gpus`` names.

    ``load(chosen, samples)`` puts them under load and returns the name of its method, its metrics
    and what else to answer; ``samples`` grows meanwhile. It is not called if the GPUs are not free,
    unless the parameter ``disturb`` says so; then ``more`` is what else to answer. What spoils the
    numbers stands in the answer.
    """
    driver, found = gpu.inventory()
    wanted = rune.param("gpus", default=[])
    every = gpu.units(found, [])
    chosen = gpu.units(found, wanted) if wanted else every
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
        elements = {gpu.bus_id: gpu.element for gpu in gpu.gpus(gpu.query()[0])}
    except (gpu.Hung, gpu.Unreadable):
        return []
    return [
        unit._replace(gpu=unit.gpu._replace(element=elements[unit.gpu.bus_id]))
        for unit in chosen
        if unit.gpu.bus_id in elements
    ]


def _foreign(chosen):
    reasons = []
    for one in {unit.gpu.index: unit.gpu for unit in chosen}.values():
        pids = [
            "{} ({})".format(gpu.text(info, "process_name") or "unknown", gpu.text(info, "pid"))
            for info in one.element.iter("process_info")
            if "C" in (gpu.text(info, "type") or "C")  # C, C+G, M+C; G draws only
        ]
        if one.element.find("unread") is not None:
            reasons.append("GPU {}: the list of its processes cannot be read".format(one.index))
        if pids:
            reasons.append("GPU {} is used by {}".format(one.index, ", ".join(pids[:4])))
    return reasons


def _loaded(chosen):
    loads = {u.gpu.index: gpu.number(u.gpu.element, "utilization/gpu_util") for u in chosen}
    return [(index, load) for index, load in loads.items() if load and load > BUSY_PERCENT]


def facts(driver, chosen, method, topology=None):
    """Return what must be equal on two hosts if their numbers shall be compared."""
    first = [unit.gpu.element for unit in chosen]
    profiles = collections.Counter(u.labels["profile"] for u in chosen if "mig" in u.labels)

    def clocks(element):
        sm, mem = (gpu.number(element, "max_clocks/" + one) for one in ("sm_clock", "mem_clock"))
        return "max sm {} MHz, mem {} MHz".format(sm, mem) if sm and mem else None

    return {
        "sku": _one(gpu.text(one, "product_name") for one in first),
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
            with contextlib.suppress(gpu.Hung):
                for bus_id, *values in _rows():
                    samples[bus_id].append(Sample(time.monotonic() - start, *values))
            over.wait(interval_s)

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield samples
    finally:
        over.set()
        thread.join(gpu.SMI_TIMEOUT_S + 1)


def _rows():
    """Yield address, power, clock, temperature and reasons of each GPU, much cheaper than XML."""
    fields = "pci.bus_id,power.draw,clocks.sm,temperature.gpu,clocks_{}_reasons.active"
    for name in ("throttle", "event"):  # the second is the first's name since R535
        argv = ["nvidia-smi", "--query-gpu=" + fields.format(name), "--format=csv,noheader,nounits"]
        output = gpu.ask(argv)[1]
        if "not a valid field" not in output:
            break
    for line in output.splitlines():
        values = [value.strip() for value in line.split(",")]
        if len(values) == 5 and ":" in values[0]:
            mask = int(values[4], 16) if re.match("0x[0-9a-fA-F]+$", values[4]) else 0
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
    for one in {unit.gpu.index: unit.gpu for unit in chosen}.values():
        series = [sample.throttles for sample in samples.get(one.bus_id, [])]
        hits = {name: sum(name in seen for seen in series) for name in gpu.THROTTLES}
        if not any(hits.values()):
            lasting = sum(gpu.UMBRELLA in seen for seen in series)
            hits[gpu.UMBRELLA] = lasting if lasting > 1 else 0
        text = "GPU {} was throttled: {} in {} of {} samples"
        reasons += [
            text.format(one.index, name, count, len(series))
            for name, count in hits.items()
            if count
        ]
    return reasons
