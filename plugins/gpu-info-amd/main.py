#!/usr/bin/env python3
"""Describes the AMD GPUs of this host in the form of gpu.info."""

import gpu
import gpu_amd
import rune

TIMEOUT_S = 30
SAME = (
    *("index", "uuid", "name", "vbios_version", "pci_bus_id", "memory_total_bytes"),
    *("memory_used_bytes", "memory_clock_mhz", "power_draw_w", "power_limit_w"),
    *("temperature_celsius", "gpu_utilization_percent", "memory_utilization_percent"),
)


def main():
    """Ask the tool and put what it says into gpu.info's words."""
    try:
        driver, found = gpu_amd.read(TIMEOUT_S)
    except (gpu_amd.Down, gpu.Hung) as error:
        raise rune.Failure(2, str(error)) from None
    gpus = []
    for one in found:
        described = {name: one[name] for name in SAME}
        described["sm_clock_mhz"] = one["gfx_clock_mhz"]
        described["ecc"] = {
            "enabled": one["ecc_enabled"],
            "corrected_volatile": one["corrected"],
            "uncorrected_volatile": one["uncorrected"],
        }
        described["mig"] = {"enabled": None, "devices": []}
        gpus.append(described)
    return {"driver_version": driver, "gpu_count": len(gpus), "gpus": gpus, "warnings": []}


if __name__ == "__main__":
    rune.run(main)
