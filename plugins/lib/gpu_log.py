"""What the kernel's log says of GPUs: XIDs and SXIDs of NVIDIA's driver, faults of amdgpu.

For Python 3.6 or newer; needs rune.py and gpu.py beside it.
"""

import collections
import re
import shutil
import subprocess
import time

import gpu

TIMEOUT_S = 30

Line = collections.namedtuple("Line", "at text")

# The immediate action of NVIDIA's XID catalogue (docs.nvidia.com/deploy/xid-errors): a reset or
# reboot, or a part to be checked, is "failed"; one that can wait for a service window is
# "degraded"; RESTART_APP and IGNORE are the application's affair and are no finding.
FAILED = {
    46: "the GPU stopped processing",
    48: "an uncorrectable (double bit) memory error",
    54: "auxiliary power is not connected",
    62: "an internal micro-controller halted",
    64: "a row or page with errors could not be taken out of use",
    74: "an NVLink failed",
    79: "the GPU has fallen off the bus",
    95: "an uncontained memory error",
    109: "a context switch timed out",
    110: "a security fault",
    119: "the GPU's system processor (GSP) gave no answer",
    120: "the GPU's system processor (GSP) failed",
    136: "NVLink training failed",
    140: "an uncorrectable memory error that could not be handled",
    143: "the GPU could not be initialised",
    155: "an NVLink went down",
    156: "a part of the GPU was taken out of use, a reset is due",
    158: "a fatal timeout of the GPU",
    167: "a fatal timeout of PCIe",
    169: "an internal micro-controller halted",
}
DEGRADED = {
    63: "a row or page with errors is taken out of use at the next reset",
    92: "many correctable memory errors",
    94: "a contained memory error: reset when convenient",
    121: "errors on the link to the processor were corrected",
    157: "there is no spare part left to repair with",
    160: "a memory channel was taken out of use",
    161: "a memory channel could not be taken out of use",
    164: "power smoothing nears its end of life",
    165: "power smoothing has reached its end of life",
    168: "less memory than there should be",
    171: "an uncorrectable DRAM error (see XID 48)",
    172: "an uncorrectable SRAM error (see XID 48)",
}
NVLINK5 = range(144, 151)  # their line says whether it was fatal
APPLICATION = {
    *(8, 11, 13, 14, 25, 31, 32, 37, 38, 39, 40, 41, 43, 44, 45, 60, 66, 67, 68, 69, 70, 71, 72),
    *(75, 76, 77, 80, 82, 83, 84, 85, 86, 88, 89, 93, 96, 97, 98, 99, 100, 101, 102, 103, 104, 105),
    *(106, 107, 108, 126, 127, 128, 129, 130, 131, 132, 133, 134, 135, 137, 139, 141, 142, 151),
    *(152, 153, 159, 162, 163),
}
# (PCI:0000:3b:00), before R304 without PCI:, since R560 with the MIG device behind the address.
NVIDIA = re.compile(
    r"(?:NVRM: (?P<kind>Xid)|nvidia-nvswitch\d+: (?P<switch>SXid)) "
    r"\((?:PCI:)?(?P<pci>[0-9a-fA-F:.]+)[^)]*\): (?P<code>\d+),?\s*(?P<text>.*)"
)
AMD = (  # words of drivers/gpu/drm/amd in the kernel: code, severity, what the line says
    ("ring_timeout", "degraded", r"ring \S+ timeout(?!, but soft recovered)"),
    ("ras_uncorrectable", "failed", r"\b[1-9]\d* (?:new )?uncorrectable hardware errors detected"),
    ("ras_poison", "failed", r"RAS poison is consumed|RAS poison consumption"),
    (
        "reset_failed",
        "failed",
        r"GPU (?:reset|recovery) (?:\S+ )?failed|GPU reset end with ret = -",
    ),
    ("bad_page_threshold", "failed", r"RAS records:\d+ exceed threshold|bad page threshold"),
    ("bus_lost", "failed", r"device lost from bus"),
)
AMD_LINE = re.compile(r"amdgpu (?P<pci>[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.\d): (?P<text>.*)")


def kernel_log(since_s):
    """Return the name of the source and the lines of this boot's kernel log that are not older.

    The source is None where the log may not be read. Earlier boots are left out: to reboot is what
    most faults ask for, and what outlasts it shows in the driver's own counters.
    """
    for read in (_journal, _dmesg):
        lines = read(since_s)
        if lines is not None:
            return read.__name__.strip("_"), lines
    return None, []


def _journal(since_s):
    argv = ["journalctl", "-k", "-q", "--no-pager", "-o", "short-unix"]
    if not (shutil.which("journalctl") and _said([*argv, "-n", "1"])):
        return None  # empty as well for a user who may not see the kernel's lines
    told = _said([*argv, "--since", "@{}".format(int(time.time() - since_s))])
    if told is None:
        return None
    found = (re.match(r"(\d+\.\d+) \S+ kernel: (.*)", line) for line in told.splitlines())
    return [Line(float(one.group(1)), one.group(2)) for one in found if one]


def _dmesg(since_s):
    told = _said(["dmesg"]) if shutil.which("dmesg") else None
    if not told:
        return None
    with open("/proc/uptime") as file:
        booted = time.time() - float(file.read().split()[0])
    found = (re.match(r"\[\s*(\d+\.\d+)\] (.*)", line) for line in told.splitlines())
    lines = [Line(booted + float(one.group(1)), one.group(2)) for one in found if one]
    return [line for line in lines if line.at >= time.time() - since_s]


def _said(argv):
    try:
        status, told = gpu.ask(argv, TIMEOUT_S, stderr=subprocess.DEVNULL)
    except gpu.Hung:
        return None
    return told if status == 0 else None


def nvidia_events(lines):
    """Return XIDs and SXIDs, one entry for each code and address, in order of first sight."""
    found = []
    for line in lines:
        match = NVIDIA.search(line.text)
        if match:
            kind = (match.group("kind") or match.group("switch")).lower()
            code, text = int(match.group("code")), match.group("text")
            judged = _switch(text) if kind == "sxid" else _xid(code, text)
            found.append((kind, code, match.group("pci").lower(), line, judged))
    events = _merged(found)
    seen = {(event["code"], event["pci"]) for event in events if event["kind"] == "xid"}
    for event in events:
        contained = (94, event["pci"]) in seen and (95, event["pci"]) not in seen
        if event["kind"] == "xid" and event["code"] == 48 and contained:
            # NVIDIA GPU Memory Error Management: other work goes on, the reset can wait
            event.update(severity="degraded", text=event["text"] + ", contained")
    return events


def _xid(code, text):
    if code == 154:
        action = re.search(r"to 0x[0-9a-fA-F]+ \((.*?)\)", text)
        action = action.group(1) if action else "None"
        severity = {"None": None, "Drain P2P": "degraded", "Drain and Reset": "degraded"}
        return severity.get(action, "failed"), "the driver asks for: {}".format(action)
    if code in NVLINK5:
        fatal = re.search(r"\bFatal\b", text)
        return ("failed" if fatal else "degraded"), "an NVLink error: {}".format(text[:100])
    if code in FAILED:
        return "failed", FAILED[code]
    if code in DEGRADED:
        return "degraded", DEGRADED[code]
    if code in APPLICATION:
        return None, text[:200]
    return "degraded", "not in the catalogue that this plugin knows: {}".format(text[:100])


def _switch(text):
    fatal = re.match(r"Fatal\b", text)
    return ("failed" if fatal else "degraded"), "an NVSwitch reports: {}".format(text[:100])


def amd_events(lines):
    """Return amdgpu's faults, in the form of nvidia_events."""
    found = []
    for line in lines:
        match = AMD_LINE.search(line.text)
        for code, severity, pattern in AMD if match else ():
            if re.search(pattern, match.group("text")):
                text = match.group("text")[:200]
                found.append(("amdgpu", code, match.group("pci"), line, (severity, text)))
                break
    return _merged(found)


def _merged(found):
    events = collections.OrderedDict()
    for kind, code, pci, line, (severity, text) in found:
        one = events.setdefault(
            (kind, code, pci),
            {"kind": kind, "code": code, "pci": pci, "count": 0, "first_at": _utc(line.at)},
        )
        # the same code may come with several actions or links: the worst and newest stays
        if severity == "failed" or one.get("severity") != "failed":
            one.update(severity=severity, text=text)
        one.update(count=one["count"] + 1, last_at=_utc(line.at))
    return list(events.values())


def _utc(at):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))


def judge(events, bus_ids, add):
    """Put the index of its GPU into each event, and tell of those that are findings.

    ``bus_ids`` maps addresses to indices; ``add`` takes severity, code, index and text.
    """
    by_slot = {slot(bus_id): index for bus_id, index in bus_ids.items()}
    for event in events:
        event["gpu"] = by_slot.get(slot(event["pci"]))
        if event["severity"]:
            where = "" if event["gpu"] is not None else " at {}".format(event["pci"])
            name = "XID" if event["kind"] == "xid" else event["kind"]
            text = "{} {}{}: {} ({} times, last {})".format(
                name, event["code"], where, event["text"], event["count"], event["last_at"]
            )
            add(event["severity"], "{}_{}".format(event["kind"], event["code"]), event["gpu"], text)


def slot(bus_id):
    """Return domain, bus and device of an address; nvidia-smi writes a longer domain."""
    found = re.search(r"([0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2})(?:\.\d)?$", bus_id.lower())
    return found.group(1) if found else bus_id.lower()
