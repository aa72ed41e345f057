"""The AMD GPUs of a host as amd-smi, or rocm-smi where that is not there, tells of them.

For Python 3.6 or newer; needs gpu.py and rune.py beside it.
"""

import json
import re
import shutil

import gpu
import rune

GENERATIONS = {2.5: 1, 5.0: 2, 8.0: 3, 16.0: 4, 32.0: 5, 64.0: 6}  # GT/s of each PCIe generation
MIB = 1048576


BLAMES = re.compile(
    r"not initialized|not loaded|not found in modules|unable to get devices|no devices|/dev/kfd",
    re.IGNORECASE,
)


class Down(Exception):
    """The tool is there and lists no GPU, for which it blames the driver; says what it said."""


def read(timeout_s):
    """Return the driver's version and a dict for each GPU; a value that is not known is None.

    Fails with code 2 if there is no tool, with 3 if what it says cannot be read, which tells
    nothing of the hardware. Raises Down and gpu.Hung.
    """
    if shutil.which("amd-smi"):
        found = _amd_smi(timeout_s)
    elif shutil.which("rocm-smi"):
        found = _rocm_smi(timeout_s)
    else:
        raise gpu.missing("amd-smi", "ROCm (package amd-smi-lib, or rocm-smi-lib before ROCm 6)")
    if not found[1]:
        raise Down("no GPU is listed")
    return found


def _document(argv, timeout_s):
    """Return the first object, or list of objects, among what a command says."""
    status, output = gpu.ask(argv, timeout_s)
    reader = json.JSONDecoder(strict=False)  # control characters in a text are the tool's affair
    for found in re.finditer(r"^[\[{]", output, re.MULTILINE):
        try:
            document = reader.raw_decode(output, found.start())[0]
        except ValueError:
            continue
        if isinstance(document, dict) or all(isinstance(one, dict) for one in document):
            return document
        # else a word in brackets, as before a warning
    lines = output.strip().splitlines() or ["nothing"]
    said = next(filter(BLAMES.search, lines), None)
    text = "{} (exit status {}) says: {}".format(" ".join(argv), status, said or lines[-1])
    if said:
        raise Down(text)
    details = {"exit_status": status, "output": output[:4096]}
    raise rune.Failure(3, "its JSON cannot be read: {}".format(text), details)


# -- amd-smi -------------------------------------------------------------------------------------


def _amd_smi(timeout_s):
    static, metric, listed, pages = (
        _by_gpu(_document(["amd-smi", command, "--json"], timeout_s))
        for command in ("static", "metric", "list", "bad-pages")
    )
    gpus = []
    for index in sorted(static):
        merged = {}
        for one in (listed, static, metric):
            merged.update(one.get(index, {}))
        gpus.append(_described(index, merged, pages.get(index, {})))
    versions = {text(one, "driver", "version") for one in static.values()}
    return next(iter(sorted(filter(None, versions))), None), gpus


def _by_gpu(document):
    # a list until ROCm 6, since ROCm 7 under a key
    rows = document.get("gpu_data") or [] if isinstance(document, dict) else document
    rows = [row for row in rows if isinstance(row, dict)]
    return {row["gpu"]: row for row in rows if isinstance(row.get("gpu"), int)}


def _described(index, one, pages):
    retired = pages.get("retired")
    speed = number(one, "pcie", "speed")
    speed_max = number(one, "bus", "max_pcie_speed")
    temperature = number(one, "temperature", "edge")
    return {
        "index": index,
        "uuid": text(one, "uuid"),
        "name": text(one, "asic", "market_name"),
        "vbios_version": text(one, "ifwi", "version") or text(one, "vbios", "version"),
        "pci_bus_id": text(one, "bdf") or text(one, "bus", "bdf"),
        "memory_total_bytes": _bytes(one, "mem_usage", "total_vram"),
        "memory_used_bytes": _bytes(one, "mem_usage", "used_vram"),
        "gfx_clock_mhz": number(one, "clock", "gfx_0", "clk"),
        "memory_clock_mhz": number(one, "clock", "mem_0", "clk"),
        "power_draw_w": number(one, "power", "socket_power"),
        "power_limit_w": number(one, "limit", "socket_power") or number(one, "limit", "max_power"),
        "temperature_celsius": (
            number(one, "temperature", "hotspot") if temperature is None else temperature
        ),
        "gpu_utilization_percent": number(one, "usage", "gfx_activity"),
        "memory_utilization_percent": number(one, "usage", "umc_activity"),
        "ecc_enabled": _enabled(one),
        "corrected": number(one, "ecc", "total_correctable_count"),
        "uncorrected": number(one, "ecc", "total_uncorrectable_count"),
        "deferred": number(one, "ecc", "total_deferred_count"),
        "retired_pages": len(retired) if isinstance(retired, list) else 0 if retired else None,
        "pages_exceeded": text(one, "ras", "bad_page_threshold_exceeded"),
        "throttled": text(one, "power", "throttle_status") == "THROTTLED",
        "generation": GENERATIONS.get(speed),
        "generation_max": GENERATIONS.get(speed_max),
        "width": number(one, "pcie", "width"),
        "width_max": number(one, "bus", "max_pcie_width"),
        "replays": number(one, "pcie", "replay_count"),
    }


def _enabled(one):
    state = one.get("ras", {}).get("ecc_block_state") if isinstance(one.get("ras"), dict) else None
    return state.get("UMC") == "ENABLED" if isinstance(state, dict) else None


def text(one, *path):
    """Return the text at a path of keys, None where the tool knows none."""
    for step in path:
        one = one.get(step) if isinstance(one, dict) else None
    return None if one in (None, "", "N/A") else str(one)


def number(one, *path):
    """Return the number at a path: plain, as text, or as {value, unit}."""
    for step in path:
        one = one.get(step) if isinstance(one, dict) else None
    if isinstance(one, dict):
        one = one.get("value")
    found = re.match(r"\(?(-?\d+(?:\.\d+)?)", one if isinstance(one, str) else json.dumps(one))
    if not found:
        return None
    return float(found.group(1)) if "." in found.group(1) else int(found.group(1))


def _bytes(one, *path):
    mib = number(one, *path)
    return None if mib is None else int(mib * MIB)  # it writes MB and means MiB


# -- rocm-smi ------------------------------------------------------------------------------------


def _rocm_smi(timeout_s):
    document = _document(["rocm-smi", "-a", "--json"], timeout_s)
    document = document if isinstance(document, dict) else {}
    cards = {
        int(name[4:]): card
        for name, card in document.items()
        if re.match(r"card\d+$", name) and isinstance(card, dict)
    }
    gpus = [_card(index, card) for index, card in sorted(cards.items())]
    return text(document, "system", "Driver version"), gpus


def _card(index, card):
    link = re.match(r"\d+ \((\d+\.\d+)GT/s x(\d+)\)", text(card, "pcie clock level") or "")
    name = text(card, "Card series") or text(card, "Card Series") or text(card, "Card model")
    temperature = number(card, "Temperature (Sensor edge) (C)")
    power = number(card, "Average Graphics Package Power (W)")
    known = {
        "index": index,
        "uuid": text(card, "Unique ID"),
        "name": name,
        "vbios_version": text(card, "VBIOS version"),
        "pci_bus_id": (text(card, "PCI Bus") or "").lower() or None,
        "memory_total_bytes": number(card, "VRAM Total Memory (B)"),
        "memory_used_bytes": number(card, "VRAM Total Used Memory (B)"),
        "gfx_clock_mhz": number(card, "sclk clock speed:"),
        "memory_clock_mhz": number(card, "mclk clock speed:"),
        "power_draw_w": (
            number(card, "Current Socket Graphics Package Power (W)") if power is None else power
        ),
        "power_limit_w": number(card, "Max Graphics Package Power (W)"),
        "temperature_celsius": (
            number(card, "Temperature (Sensor junction) (C)")
            if temperature is None
            else temperature
        ),
        "gpu_utilization_percent": number(card, "GPU use (%)"),
        "memory_utilization_percent": number(card, "GPU memory use (%)"),
        "generation": GENERATIONS.get(float(link.group(1))) if link else None,
        "width": int(link.group(2)) if link else None,
        "replays": number(card, "PCIe Replay Count"),
        "throttled": False,
    }
    # what it does not tell in this form
    unknown = ("ecc_enabled", "corrected", "uncorrected", "deferred", "retired_pages")
    unknown += ("pages_exceeded", "generation_max", "width_max")
    return dict(dict.fromkeys(unknown), **known)
