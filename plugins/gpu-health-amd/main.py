#!/usr/bin/env python3
"""Judges the health of the AMD GPUs of this host, and says why."""

import gpu
import gpu_amd
import gpu_log
import rune

SEVERITIES = ("note", "degraded", "failed")


def judge(one, add):
    """Find what is wrong with one GPU and return it in gpu.health's words."""
    index = one["index"]
    if one["uncorrected"]:
        text = "{} uncorrectable errors since the driver was loaded".format(one["uncorrected"])
        add("degraded", "ecc_uncorrected", index, text)
    if one["deferred"]:
        text = "{} deferred errors: bad data that nothing has used yet".format(one["deferred"])
        add("degraded", "ecc_deferred", index, text)
    if str(one["pages_exceeded"]).lower() in ("true", "yes", "exceeded", "enabled"):
        add("failed", "bad_page_threshold", index, "more bad pages than the threshold: replace")
    if one["throttled"]:
        add("degraded", "throttled", index, "clocks are lowered")
    wanted = rune.param("pcie_width", default=None) or one["width_max"]
    if one["width"] and wanted and one["width"] < wanted:
        text = "PCIe runs on {} lanes, not {}".format(one["width"], wanted)
        add("degraded", "pcie_width", index, text)
    retired = one["retired_pages"]
    return {
        "index": index,
        "uuid": one["uuid"],
        "name": one["name"],
        "pci_bus_id": one["pci_bus_id"],
        "ecc": {
            "enabled": one["ecc_enabled"],
            "corrected_volatile": one["corrected"],
            "uncorrected_volatile": one["uncorrected"],
            "uncorrected_aggregate": None,
        },
        "remapped_rows": None,
        "retired_pages": None if retired is None else {"single_bit": 0, "double_bit": retired},
        "clock_reasons": ["throttled"] if one["throttled"] else [],
        "persistence": None,
        "recovery_action": None,
        "pcie": {
            name: one[name]
            for name in ("generation", "generation_max", "width", "width_max", "replays")
        },
        "fabric": None,
        "mig": None,
        "temperature_celsius": one["temperature_celsius"],
        "nvlink": None,
    }


def main():
    """Look at each GPU and at the kernel's log, and put the verdict together."""
    reasons = []

    def add(severity, code, index, text):
        reasons.append({"severity": severity, "code": code, "gpu": index, "text": text})

    driver, found = None, []
    try:
        driver, found = gpu_amd.read(rune.param("timeout_s"))
    except gpu.Hung as hung:
        add("failed", "driver_hangs", None, str(hung))
    except gpu_amd.Down as error:
        add("failed", "driver_down", None, str(error))
    expected = rune.param("expect_gpus", default=None)
    if found and expected and len(found) < expected:
        add("failed", "gpu_missing", None, "{} of {} GPUs are there".format(len(found), expected))
    gpus = [judge(one, add) for one in found]
    since = rune.param("since_s")
    source, lines = gpu_log.kernel_log(since)
    if source is None:
        text = "neither journalctl nor dmesg shows the kernel's log: its faults are not known"
        add("note", "log_unreadable", None, text)
    events = gpu_log.amd_events(lines)
    bus_ids = {one["pci_bus_id"]: one["index"] for one in found if one["pci_bus_id"]}
    gpu_log.judge(events, bus_ids, add)
    worst = max((one["severity"] for one in reasons), key=SEVERITIES.index, default="note")
    return {
        "verdict": "healthy" if worst == "note" else worst,
        "reasons": sorted(reasons, key=lambda one: -SEVERITIES.index(one["severity"])),
        "driver_version": driver,
        "gpu_count": len(gpus),
        "gpus": gpus,
        "fabric_manager": None,
        "log": {"source": source, "since_s": since, "events": events},
    }


if __name__ == "__main__":
    rune.run(main)
