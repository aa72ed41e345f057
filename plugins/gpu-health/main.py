#!/usr/bin/env python3
"""Judges the health of the NVIDIA GPUs of this host, and says why."""

import re
import shutil

import gpu
import gpu_log
import rune

SEVERITIES = ("note", "degraded", "failed")
# nvidia-smi's "GPU Recovery Action" and the field that it replaced in R565.
RECOVERIES = {"Drain P2P": "degraded", "Drain and Reset": "degraded"}


class Findings(list):
    """The reasons for the verdict."""

    def add(self, severity, code, index, text, *values):
        text = text.format(*values) if values else text
        self.append({"severity": severity, "code": code, "gpu": index, "text": text})


# Flags that shall be No, the severity and the meaning if one is Yes; its name is the code.
FLAGS = (
    ("ecc_errors/aggregate/sram_threshold_exceeded", "failed", "too many bad SRAM cells: replace"),
    ("ecc_errors/unrepairable_memory", "failed", "there is memory that cannot be repaired"),
    ("ecc_errors/channel_repair_pending", "degraded", "a reset repairs a memory channel"),
    ("ecc_errors/tpc_repair_pending", "degraded", "a reset repairs a TPC"),
    ("remapped_rows/remapped_row_failure", "failed", "a row could not be remapped: replace"),
    ("remapped_rows/remapped_row_pending", "degraded", "a reset remaps a row"),
    ("retired_pages/pending_retirement", "degraded", "loading the driver again retires a page"),
)
LOST = re.compile(r"is lost|fallen off|device handle", re.IGNORECASE)
PAGES_MAX = 64  # all that can be retired on GPUs before Ampere
ON = {"Enabled": True, "Disabled": False}


# -- each GPU ------------------------------------------------------------------------------------


def judge_memory(one, index, findings):
    """Return ECC counters, remapped rows and retired pages, and find what is wrong with them."""
    volatile = _uncorrected(one, "ecc_errors/volatile")
    remapped, retired = _remapped(one), _retired(one)
    if volatile:
        # Since Ampere an error is contained and its row remapped at the next reset.
        severity = "degraded" if _remaps(one) else "failed"
        text = "{} uncorrectable memory errors since the driver was loaded"
        findings.add(severity, "ecc_uncorrected", index, text, volatile)
    for path, severity, text in FLAGS:
        if gpu.text(one, path) == "Yes":
            findings.add(severity, path.rpartition("/")[2], index, text)
    if remapped and remapped["banks_without_spare_rows"]:
        text = "{} memory banks have no spare row left"
        spent = remapped["banks_without_spare_rows"]
        findings.add("degraded", "row_remap_exhausted", index, text, spent)
    if retired and sum(retired.values()) >= PAGES_MAX:
        findings.add("failed", "retired_pages_full", index, "no more pages can be retired: replace")
    enabled = ON.get(gpu.text(one, "ecc_mode/current_ecc"))
    if enabled is False:
        findings.add("note", "ecc_disabled", index, "ECC is off")
    return {
        "ecc": {
            "enabled": enabled,
            "corrected_volatile": _corrected(one, "ecc_errors/volatile"),
            "uncorrected_volatile": volatile,
            "uncorrected_aggregate": _uncorrected(one, "ecc_errors/aggregate"),
        },
        "remapped_rows": remapped,
        "retired_pages": retired,
    }


def _remaps(one):
    """Whether this kind of GPU remaps rows; in MIG mode nvidia-smi does not tell which."""
    return gpu.text(one, "product_architecture") not in (
        None,
        "Kepler",
        "Maxwell",
        "Pascal",
        "Volta",
        "Turing",
    )


def _sum(one, part, names):
    counts = [gpu.number(one, "{}/{}".format(part, name)) for name in names]
    counts = [count for count in counts if count is not None]
    return sum(counts) if counts else None


def _uncorrected(one, part):
    # R450 and newer know SRAM and DRAM, split further in R550; before Turing there is one total.
    sram = ("sram_uncorrectable", "sram_uncorrectable_parity", "sram_uncorrectable_secded")
    return _sum(one, part, (*sram, "dram_uncorrectable", "double_bit/total"))


def _corrected(one, part):
    return _sum(one, part, ("sram_correctable", "dram_correctable", "single_bit/total"))


def _remapped(one):
    pending = gpu.text(one, "remapped_rows/remapped_row_pending")
    if pending is None:
        return None
    return {
        "correctable": gpu.number(one, "remapped_rows/remapped_row_corr"),
        "uncorrectable": gpu.number(one, "remapped_rows/remapped_row_unc"),
        "pending": pending == "Yes",
        "failure": gpu.text(one, "remapped_rows/remapped_row_failure") == "Yes",
        "banks_without_spare_rows": gpu.number(
            one, "remapped_rows/row_remapper_histogram/row_remapper_histogram_none"
        ),
    }


def _retired(one):
    counts = {
        name: gpu.number(one, "retired_pages/{}_retirement/retired_count".format(path))
        for name, path in (("single_bit", "multiple_single_bit"), ("double_bit", "double_bit"))
    }
    return None if None in counts.values() else counts


def judge_state(one, index, findings):
    """Return clocks' reasons, persistence and recovery action, and find what is wrong."""
    reasons = gpu.active_reasons(one)
    for name in gpu.THROTTLES:
        if name in reasons:
            findings.add("degraded", name, index, "clocks are lowered: " + name)
    if gpu.UMBRELLA in reasons and not set(gpu.THROTTLES) & set(reasons):
        findings.add("note", gpu.UMBRELLA, index, "clocks are lowered, for no reason that is told")
    persistence = ON.get(gpu.text(one, "persistence_mode"))
    if persistence is False:
        text = "persistence mode is off: counters are lost whenever no process uses the GPU"
        findings.add("note", "persistence_disabled", index, text)
    action = gpu.text(one, "gpu_recovery_action")
    if action is None:
        if gpu.text(one, "gpu_reset_status/reset_required") == "Yes":
            action = "Reset"
        elif gpu.text(one, "gpu_reset_status/drain_and_reset_recommended") == "Yes":
            action = "Drain and Reset"
    if action and action != "None":
        severity = RECOVERIES.get(action, "failed")
        findings.add(severity, "recovery_needed", index, "the driver asks for: {}", action)
    return {
        "clock_reasons": reasons,
        "persistence": persistence,
        "recovery_action": action,
    }


def judge_pcie(one, index, findings):
    """Return the PCIe link, and find whether it is narrower or slower than it could be."""
    path = "pci/pci_gpu_link_info/"
    link = {
        "generation": gpu.number(one, path + "pcie_gen/current_link_gen"),
        "generation_max": gpu.number(one, path + "pcie_gen/max_link_gen"),
        "width": gpu.number(one, path + "link_widths/current_link_width"),
        "width_max": gpu.number(one, path + "link_widths/max_link_width"),
        "replays": gpu.number(one, "pci/replay_counter"),
    }
    wanted = rune.param("pcie_width", default=None) or link["width_max"]
    if link["width"] and wanted and link["width"] < wanted:
        text = "PCIe runs on {} lanes, not {}"
        findings.add("degraded", "pcie_width", index, text, link["width"], wanted)
    # An idle GPU lowers its link to save power, unless it is kept in P0.
    full = gpu.text(one, "performance_state") == "P0"
    now, most = link["generation"], link["generation_max"]
    if full and now and most and now < most:
        text = "PCIe runs at generation {}, not {}"
        findings.add("degraded", "pcie_generation", index, text, now, most)
    return link


def judge_fabric(one, index, findings):
    """Return how the GPU stands to the NVSwitch fabric, and find whether it is left out."""
    state = gpu.text(one, "fabric/state")
    if state is None:
        return None
    status = gpu.text(one, "fabric/status")
    if state != "Completed" or status not in (None, "Success"):
        text = "the NVLink fabric is not up: {}, {}"
        findings.add("failed", "fabric", index, text, state, status)
    health = gpu.text(one, "fabric/health/summary")
    bandwidth = gpu.text(one, "fabric/health/bandwidth")
    if health in ("Unhealthy", "Limited Capacity") or bandwidth in ("Degraded", "True"):
        findings.add("degraded", "fabric_health", index, "the NVLink fabric is degraded")
    return {"state": state, "status": status}


# -- the host ------------------------------------------------------------------------------------


def judge_nvlinks(found, findings):
    """Return the links of each GPU by index, and find those that are down.

    A GPU has fewer links up than its brothers, or than the parameter ``nvlinks``; how many there
    should be is nowhere to be read, since boards leave some unconnected.
    """
    try:
        _, output = gpu.ask(["nvidia-smi", "nvlink", "-s"], gpu.SMI_TIMEOUT_S)
    except gpu.Hung:
        findings.add("failed", "driver_hangs", None, "nvidia-smi nvlink -s gives no answer")
        return {}
    links, index = {}, None
    for line in output.splitlines():
        head = re.match(r"\s*GPU (\d+):", line)
        state = re.match(r"\s*Link (\d+): (?:(\d+\.?\d*) GB/s|<?inactive>?)", line, re.IGNORECASE)
        if head:
            index = int(head.group(1))
        elif state and index is not None:
            speed = float(state.group(2)) if state.group(2) else None
            links.setdefault(index, {})[int(state.group(1))] = speed
    up = {index: [s for s in one.values() if s] for index, one in links.items()}
    names = {one.index: one.name for one in found}
    for index, one in sorted(links.items()):
        brothers = [up[other] for other in up if names.get(other) == names.get(index)]
        wanted = rune.param("nvlinks", default=None) or max(map(len, brothers))
        down = [str(number) for number, speed in sorted(one.items()) if not speed]
        if len(up[index]) < wanted:
            text = "{} of {} NVLinks are up; down: {}"
            values = len(up[index]), wanted, ", ".join(down) or "not listed"
            findings.add("degraded", "nvlink_down", index, text, *values)
        fastest = max((speed for speeds in brothers for speed in speeds), default=0)
        slow = [str(number) for number, speed in sorted(one.items()) if speed and speed < fastest]
        if slow:
            text = "NVLinks below {} GB/s: {}"
            findings.add("degraded", "nvlink_slow", index, text, fastest, ", ".join(slow))
    return {
        index: {
            "up": len(up[index]),
            "down": len(one) - len(up[index]),
            "gb_per_s": max(up[index], default=None),
        }
        for index, one in links.items()
    }


def judge_fabric_manager(findings):
    """Return the state of the service that trains NVSwitches, null where there are none."""
    if not (shutil.which("lspci") and shutil.which("systemctl")):
        return None
    try:
        if not gpu.ask(["lspci", "-n", "-d", "10de::0680"], 10)[1].strip():
            return None
        state = gpu.ask(["systemctl", "is-active", "nvidia-fabricmanager"], 10)[1].strip()
    except gpu.Hung:
        return None
    if state != "active":
        text = "this host has NVSwitches, but nvidia-fabricmanager is {}"
        findings.add("failed", "fabric_manager", None, text, state)
    return state


def judge_log(found, findings):
    """Return where the kernel's log was read and what it says of the driver."""
    since = rune.param("since_s")
    source, lines = gpu_log.kernel_log(since)
    if source is None:
        text = "neither journalctl nor dmesg shows the kernel's log: XIDs are not known"
        findings.add("note", "log_unreadable", None, text)
    events = gpu_log.nvidia_events(lines)
    gpu_log.judge(events, {one.bus_id: one.index for one in found}, findings.add)
    return {"source": source, "since_s": since, "events": events}


def look():
    """Return the driver's version and the GPUs; without any, find why."""
    findings = Findings()
    try:
        root, warnings = gpu.query(rune.param("timeout_s"))
    except gpu.Hung as hung:
        findings.add("failed", "driver_hangs", None, str(hung))
        return None, [], findings
    except gpu.Unreadable as error:
        if not error.blamed:
            raise error.failure() from None
        code = "gpu_lost" if LOST.search(error.said) else "driver_down"
        findings.add("failed", code, None, "nvidia-smi says: {}", error.said)
        return None, [], findings
    for line in warnings:
        if LOST.search(line):
            findings.add("failed", "gpu_lost", None, line.strip())
        elif "inforom" in line.lower():
            findings.add("degraded", "inforom_corrupted", None, line.strip())
        else:
            findings.add("note", "smi_warning", None, line.strip())
    found = gpu.gpus(root)
    if not found:
        findings.add("failed", "no_gpu", None, "the driver finds no GPU")
    return gpu.text(root, "driver_version"), found, findings


def main():
    """Look at each part and put the verdict together."""
    gpu.need_smi()
    driver, found, findings = look()
    expected = rune.param("expect_gpus", default=None)
    if found and expected and len(found) < expected:
        text = "{} of {} GPUs are there"
        findings.add("failed", "gpu_missing", None, text, len(found), expected)
    listed = []
    for one in found:
        element, index = one.element, one.index
        described = {"index": index, "uuid": one.uuid, "name": one.name, "pci_bus_id": one.bus_id}
        described.update(judge_memory(element, index, findings))
        described.update(judge_state(element, index, findings))
        described["pcie"] = judge_pcie(element, index, findings)
        described["fabric"] = judge_fabric(element, index, findings)
        described["mig"] = gpu.mig_enabled(one)
        described["temperature_celsius"] = gpu.number(element, "temperature/gpu_temp")
        listed.append(described)
    links = judge_nvlinks(found, findings) if found else {}
    for described in listed:
        described["nvlink"] = links.get(described["index"])
    manager = judge_fabric_manager(findings)
    log = judge_log(found, findings)
    worst = max((one["severity"] for one in findings), key=SEVERITIES.index, default="note")
    return {
        "verdict": "healthy" if worst == "note" else worst,
        "reasons": sorted(findings, key=lambda one: -SEVERITIES.index(one["severity"])),
        "driver_version": driver,
        "gpu_count": len(listed),
        "gpus": listed,
        "fabric_manager": manager,
        "log": log,
    }


if __name__ == "__main__":
    rune.run(main)
