"""Connections that are cut, slow, silent or refused, on forty targets at a time."""

from __future__ import annotations

import random
from contextlib import ExitStack
from pathlib import Path

import pytest

from lmm.testing import Sshd, TcpProxy, refused_port

from .conftest import Fleet, reasons

TARGETS = 40


def trusted(sshd: Sshd, ports: list[int], folder: Path) -> str:
    """Return the setting for a known_hosts file with the server's key for these ports."""
    path = folder / "known_hosts"
    path.write_text("".join(f"[127.0.0.1]:{port} {sshd.host_key}\n" for port in ports))
    return f"[{path}]"


@pytest.mark.parametrize("transport", ["ssh", "openssh"])
def test_cut_at_any_byte(fleet: Fleet, sshd: Sshd, tmp_path: Path, transport: str) -> None:
    """From the first byte of the handshake to the plugin's last, from either side, by a TCP reset
    or an orderly end."""
    fleet.plugin("for i in {1..20}; do echo $RANDOM-$RANDOM-$RANDOM >&2; sleep 0.02; done")
    moments = random.Random(20260101)
    with ExitStack() as stack:
        ports = []
        for at in range(TARGETS):
            proxy = TcpProxy("127.0.0.1", sshd.port, reset=at % 4 < 2)
            setattr(proxy, "cut_up" if at % 2 else "cut_down", moments.randrange(8000))
            ports.append(stack.enter_context(proxy).port)
        lines = [f"transport: {transport}, port: {port}" for port in ports]
        fleet.targets(
            lines,
            known_hosts=trusted(sshd, ports, tmp_path),
            connect_attempts=2,
            banner_timeout_s=3,
        )
        done = fleet.run()
        found = fleet.count(done.document)
    assert done.code == 7
    assert found.total() == TARGETS
    # What RUNE learns of those that were cut while they ran is lost, or the host's own word.
    expected = {"ok", "unreachable", "lost", "cancelled"}
    others = [one for one in done.document["results"] if one["outcome"] not in expected]
    assert others == []
    assert min(found["ok"], found["unreachable"], found["lost"] + found["cancelled"]) > 0, found
    assert not [one for one in reasons(done.document) if one[1].startswith("internal")]
    assert fleet.is_quiet()


def test_refused_silent_and_slow_hosts_cost_only_themselves(
    fleet: Fleet, sshd: Sshd, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        refused = stack.enter_context(refused_port())
        silent = stack.enter_context(TcpProxy("127.0.0.1", sshd.port, black_hole=True)).port
        slow = stack.enter_context(TcpProxy("127.0.0.1", sshd.port, delay_s=0.02)).port
        ports = [(sshd.port, refused, sshd.port, silent, slow)[at % 5] for at in range(TARGETS)]
        lines = [
            f"transport: {('ssh', 'openssh')[at % 2]}, port: {port}"
            for at, port in enumerate(ports)
        ]
        fleet.targets(
            lines,
            known_hosts=trusted(sshd, [*{*ports}], tmp_path),
            connect_timeout_s=5,
            banner_timeout_s=5,
            connect_attempts=1,
        )
        done = fleet.run()
        assert fleet.count(done.document) == {"ok": 24, "unreachable": 16}
    wrong = {"connection_refused", "banner_timeout", "connect_timeout"}
    assert {reason for _, reason in reasons(done.document)} <= wrong
    assert fleet.is_quiet()


def test_refusals_under_load_are_waited_out(fleet: Fleet) -> None:
    """sshd with its own default of MaxStartups, and forty that log in at once."""
    with Sshd(max_startups="10:30:100") as busy:
        lines = [f"transport: {('ssh', 'openssh')[at % 2]}" for at in range(TARGETS)]
        fleet.targets(lines, busy)
        done = fleet.run("--concurrency", str(TARGETS))
        assert fleet.count(done.document) == {"ok": TARGETS}, reasons(done.document)
        assert "MaxStartups" in busy.log
