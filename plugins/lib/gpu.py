"""The NVIDIA GPUs of a host as ``nvidia-smi -q -x`` tells of them, for Python 3.6 or newer.

Which there are, what is told of each, and which a run shall use. Needs rune.py beside it.
"""

import collections
import re
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree

import rune

SMI_TIMEOUT_S = 30
# Reasons that say that the hardware was not at its best; a power cap under load is normal.
THROTTLES = ("hw_thermal_slowdown", "hw_power_brake_slowdown", "sw_thermal_slowdown")
UMBRELLA = "hw_slowdown"  # comes with these, or for a moment whenever clocks change (nvml.h)
BLAMES = re.compile(
    r"NVIDIA-SMI has failed|Failed to initialize NVML: (?!Insufficient)|No devices were found"
    r"|is lost|fallen off|device handle|power cable",
    re.IGNORECASE,
)
DOWN = (8, 9, 10, 15)  # exit statuses of its manual: no power, no driver, no interrupts, lost
STRAY = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]|&(?!(?:amp|lt|gt|quot|apos);)")

Gpu = collections.namedtuple("Gpu", "index bus_id uuid name element")
# What one process can use: a whole GPU, or one MIG device of it. ``visible`` is its
# CUDA_VISIBLE_DEVICES, ``labels`` what its metrics carry.
Unit = collections.namedtuple("Unit", "gpu visible labels")


class Hung(Exception):
    """A command did not end in time; it was told to die, which it cannot while a driver hangs."""


class Unreadable(Exception):
    """nvidia-smi listed no GPU. ``blamed``: ``said``, its own line, blames the driver or a GPU.

    Else nvidia-smi itself is at fault, and nothing is known of the hardware.
    """

    def __init__(self, status, output, fault=None):
        plain = re.sub(r"(?s)<nvidia_smi_log>.*(</nvidia_smi_log>|$)|<[!?][^>]*>", "", output)
        lines = [line.strip() for line in plain.splitlines() if line.strip()]
        blames = [line for line in lines if BLAMES.search(line)]
        self.said, self.blamed = (blames + lines + ["nothing"])[0], bool(blames or status in DOWN)
        self.details = {"exit_status": status, "output": output[:4096]}
        super().__init__("its XML cannot be read, {}".format(fault) if fault else self.said)

    def failure(self):
        """Return the error of a plugin that can do nothing without the GPUs."""
        if self.blamed:
            return rune.Failure(2, "nvidia-smi says: {}".format(self.said), self.details)
        return rune.Failure(3, "nvidia-smi -q -x lists no GPU: {}".format(self), self.details)


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
        root = _parsed(found.group())
    except ElementTree.ParseError as error:
        raise Unreadable(status, output, error) from None
    said = output[: found.start()] + output[found.end() :]
    return root, [line for line in said.splitlines() if line.strip() and line[0] != "<"]


def _parsed(xml):
    # nvidia-smi escapes nothing, and users name their processes. Where a name breaks their list
    # all the same, the element ``unread`` takes its place.
    xml = re.sub(r"(?s)<(supported_clocks|accounted_processes)>.*?</\1>", "", xml)
    xml = STRAY.sub(lambda found: "&amp;" if found.group() == "&" else "", xml)
    names = r"(?s)(?<=<process_name>).*?(?=</process_name>)"
    xml = re.sub(names, lambda one: one.group().replace("<", "&lt;").replace(">", "&gt;"), xml)
    try:
        return ElementTree.fromstring(xml)
    except ElementTree.ParseError:
        return ElementTree.fromstring(re.sub(r"(?s)<processes>.*?</processes>", "<unread/>", xml))


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
        raise error.failure() from None
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
