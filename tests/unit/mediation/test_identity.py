"""Two names of one host are known to be one, as far as that can be told without connecting."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from lmm.model import SshSettings, SsmSettings, Target
from lmm.transports.identity import hosts_of

CONFIG = """\
Host alias
  HostName 192.0.2.1
  Port 2222
Host inside
  HostName 10.0.0.5
  ProxyJump gate:2200
Host commanded
  HostName 10.0.0.5
  ProxyCommand nc %h %p
"""


@pytest.mark.parametrize(
    ("target", "hosts"),
    [
        (Target("a", host="192.0.2.1"), ("ssh 192.0.2.1:22",)),
        (Target("b", host="192.0.2.1", transport="openssh", user="x"), ("ssh 192.0.2.1:22",)),
        (Target("c", host="192.0.2.1", port=2222), ("ssh 192.0.2.1:2222",)),
        (Target("alias"), ("ssh 192.0.2.1:2222",)),
        (Target("no.such.host.invalid"), ("ssh no.such.host.invalid:22",)),
        (Target("inside"), ("ssh gate:2200 10.0.0.5:22",)),
        (
            Target("d", host="10.0.0.5", ssh=SshSettings(proxy_jump="gate:2200")),
            ("ssh gate:2200 10.0.0.5:22",),
        ),
        (Target("commanded"), ("ssh 10.0.0.5:22",)),
        (Target("e", host="bad`name`"), ("ssh bad`name`",)),
        (Target("f", transport="local"), ("local",)),
        (
            Target("g", host="i-0a", transport="ssm", ssm=SsmSettings(region="eu-west-1")),
            ("ssm i-0a",),
        ),
    ],
)
def test_hosts(tmp_path: Path, target: Target, hosts: tuple[str, ...]) -> None:
    config = tmp_path / "config"
    config.write_text(CONFIG)
    assert hosts_of(replace(target, ssh=replace(target.ssh, config_file=str(config)))) == hosts


def test_a_name_stands_for_all_of_its_addresses() -> None:
    assert set(hosts_of(Target("x", host="127.0.0.1"))) <= set(hosts_of(Target("localhost")))
