"""net.iperf with a real iperf3 on loopback: both ends are invocations of the plugin."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.support.tools import need


@pytest.fixture(autouse=True)
def _iperf3() -> None:
    need("iperf3")


@pytest.fixture
def port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        number: int = taken.getsockname()[1]
    return number


@pytest.mark.parametrize("reverse", [False, True])
def test_a_pair(bench: Any, tmp_path: Path, port: int, reverse: bool) -> None:
    """The client may start first: it calls until its server is there."""
    for name in ("server", "client"):
        (tmp_path / name).mkdir()
    both = {"port": port, "seconds": 1, "disturb": True}
    client = {**both, "role": "client", "peer": "127.0.0.1", "streams": 2, "reverse": reverse}
    server = {**both, "role": "server", "bind": "127.0.0.1"}
    with ThreadPoolExecutor() as pool:
        calling = pool.submit(bench.run, "net-iperf", client, tmp_path / "client")
        serving = pool.submit(bench.run, "net-iperf", server, tmp_path / "server")
        answers = {"client": calling.result(), "server": serving.result()}
    for role, answer in answers.items():
        assert answer.exit_code == 0, answer.error
        facts = answer.output_data["facts"]
        assert (facts["role"], facts["streams"], facts["reverse"]) == (role, 2, reverse)
        assert facts["tool"].startswith("iperf 3.")
        metrics = {one["name"]: one for one in answer.output_data["metrics"]}
        assert metrics["throughput"]["value"] > 0
        assert metrics["throughput"]["unit"] == "Gbit/s"
        counted = "sent" if reverse and role == "server" else "received"
        assert metrics["throughput"]["labels"] == {"role": role, "counted": counted}
    assert answers["client"].output_data["peer"] == "127.0.0.1"


def test_nobody_serves(bench: Any, tmp_path: Path, port: int) -> None:
    parameters = {"role": "client", "peer": "127.0.0.1", "port": port, "connect_s": 0.5}
    answer = bench.run("net-iperf", {**parameters, "disturb": True}, tmp_path)
    assert answer.exit_code == 3
    assert "Connection refused" in answer.error["message"]


def test_a_port_that_is_taken(bench: Any, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        parameters = {"role": "server", "port": taken.getsockname()[1], "bind": "127.0.0.1"}
        answer = bench.run("net-iperf", {**parameters, "disturb": True}, tmp_path)
    assert answer.exit_code == 3
    assert "iperf3" in answer.error["message"]


@pytest.mark.parametrize("peer", ["-h", "a b", "", "$(id)", "a/b"])
def test_an_address_is_no_option(bench: Any, tmp_path: Path, peer: str) -> None:
    from lmm.errors import RequestError

    with pytest.raises(RequestError):
        bench.run("net-iperf", {"role": "client", "peer": peer}, tmp_path)
