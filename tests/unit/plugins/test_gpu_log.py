"""How XIDs are judged, by NVIDIA's catalogue, and that no line of a log breaks its reader."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lom.registry.files import bundled_plugins

LIB = bundled_plugins() / "lib"


@pytest.fixture(scope="module")
def log() -> Iterator[ModuleType]:
    """The library as a plugin imports it: from the folder that it lies in."""
    before, ours = list(sys.path), ("gpu_log", "gpu", "rune")
    sys.path.insert(0, str(LIB))
    dont_write, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        import gpu_log  # type: ignore[import-not-found]

        yield gpu_log
    finally:
        sys.path[:] = before
        sys.dont_write_bytecode = dont_write
        for name in ours:
            sys.modules.pop(name, None)


def test_each_xid_has_one_judgement(log: ModuleType) -> None:
    groups = [set(log.FAILED), set(log.DEGRADED), set(log.APPLICATION), set(log.NVLINK5), {154}]
    assert sum(map(len, groups)) == len(set().union(*groups))


@pytest.mark.parametrize(
    ("code", "text", "severity"),
    [
        (13, "Graphics Exception", None),
        (31, "MMU Fault", None),
        (43, "GPU stopped processing", None),
        (45, "Preemptive removal", None),
        (48, "An uncorrectable double bit error", "failed"),
        (63, "Row Remapper: New row marked for remapping", "degraded"),
        (64, "Fatal error, unable to retire page", "failed"),
        (74, "NVLink: fatal error detected", "failed"),
        (79, "GPU has fallen off the bus.", "failed"),
        (92, "High single-bit ECC error rate", "degraded"),
        (94, "Contained: CE User Channel", "degraded"),
        (95, "Uncontained: LTC TAG", "failed"),
        (119, "Timeout after 6s of waiting for RPC response", "failed"),
        (145, "RLW_RXPIPE Nonfatal XC0 i0 Link 03", "degraded"),
        (149, "NETIR_LINK_EVT  Fatal   XC0 i0 Link 08", "failed"),
        (154, "GPU recovery action changed from 0x0 (None) to 0x0 (None)", None),
        (154, "GPU recovery action changed from 0x0 (None) to 0x3 (Drain P2P)", "degraded"),
        (154, "GPU recovery action changed from 0x0 (None) to 0x2 (OS Reboot)", "failed"),
        (999, "from the future", "degraded"),
    ],
)
def test_the_severity_of_an_xid(
    log: ModuleType, code: int, text: str, severity: str | None
) -> None:
    [event] = log.nvidia_events([log.Line(0.0, f"NVRM: Xid (PCI:0000:3b:00): {code}, {text}")])
    assert (event["kind"], event["code"], event["severity"]) == ("xid", code, severity)


@pytest.mark.parametrize(
    ("line", "pci", "code"),
    [
        ("NVRM: Xid (0000:03:00): 14, Channel 00000001", "0000:03:00", 14),
        ("NVRM: Xid (PCI:0000:3b:00): 79, GPU has fallen off the bus.", "0000:3b:00", 79),
        ("NVRM: Xid (PCI:0000:05:00 GPU-I:05 GPU-CI:00): 94, pid=7", "0000:05:00", 94),
        ("nvidia-nvswitch3: SXid (PCI:0000:C1:00.0): 12028, Non-fatal", "0000:c1:00.0", 12028),
    ],
)
def test_the_forms_that_drivers_wrote(log: ModuleType, line: str, pci: str, code: int) -> None:
    [event] = log.nvidia_events([log.Line(0.0, line)])
    assert (event["pci"], event["code"]) == (pci, code)


def test_what_repeats_is_one_event_and_keeps_the_worst(log: ModuleType) -> None:
    line = "NVRM: Xid (PCI:0000:3b:00): 154, GPU recovery action changed from 0x0 (None) to {}"
    steps = ("0x4 (Drain and Reset)", "0x2 (Node Reboot Required)", "0x0 (None)")
    lines = [log.Line(float(at), line.format(step)) for at, step in enumerate(steps)]
    [event] = log.nvidia_events(lines)
    assert event["count"] == 3
    assert event["severity"] == "failed"
    assert event["text"] == "the driver asks for: Node Reboot Required"
    assert (event["first_at"], event["last_at"]) == ("1970-01-01T00:00:00Z", "1970-01-01T00:00:02Z")


def test_an_uncontained_error_is_no_contained_one(log: ModuleType) -> None:
    def severity(*codes: int) -> str:
        texts = [f"NVRM: Xid (PCI:0000:3b:00): {code}, pid=1" for code in codes]
        events = log.nvidia_events([log.Line(0.0, text) for text in texts])
        return str(next(event["severity"] for event in events if event["code"] == 48))

    assert severity(48) == "failed"
    assert severity(48, 94) == "degraded"
    assert severity(48, 94, 95) == "failed"


def test_addresses_of_nvidia_smi_and_of_the_kernel_meet(log: ModuleType) -> None:
    assert log.slot("00000000:3B:00.0") == log.slot("0000:3b:00") == log.slot("0000:3B:00.0")


@given(
    st.text(), st.sampled_from(["NVRM: Xid (PCI:0000:3b:00): 154, ", "amdgpu 0000:0c:00.0: ", ""])
)
def test_no_line_breaks_the_reader(log: ModuleType, text: str, start: str) -> None:
    lines = [log.Line(0.0, start + text)]
    for event in log.nvidia_events(lines) + log.amd_events(lines):
        assert event["severity"] in (None, "degraded", "failed")
