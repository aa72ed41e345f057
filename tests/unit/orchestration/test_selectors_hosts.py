from __future__ import annotations

import pytest

from lmm.errors import RequestError
from lmm.model import SshSettings, Target
from lom.inventory import selectors
from lom.inventory.model import Inventory
from lom.inventory.selectors import select

INVENTORY = Inventory(
    targets={"web1": Target("web1")},
    defaults=Target(
        "", user="ops", port=2022, vars={"site": "x"}, ssh=SshSettings(keepalive_s=3.0)
    ),
)
EMPTY = Inventory()


def refusal(expression: str, inventory: Inventory = INVENTORY) -> RequestError:
    with pytest.raises(RequestError) as caught:
        select([expression], inventory)
    return caught.value


@pytest.mark.parametrize(
    ("word", "host", "user", "port"),
    [
        ("ops@h", "h", "ops", None),
        ("h:22", "h", None, 22),
        ("ops@h.example:2222", "h.example", "ops", 2222),
        ("me@corp@h", "h", "me@corp", None),
        ("CORP\\me@h", "h", "CORP\\me", None),
        ("ssh://h", "h", None, None),
        ("ssh://ops@h:22/", "h", "ops", 22),
        ("10.0.0.1", "10.0.0.1", None, None),
        ("10.0.0.1:22", "10.0.0.1", None, 22),
        ("2001:db8::7", "2001:db8::7", None, None),
        ("fe80::1%eth0", "fe80::1%eth0", None, None),
        ("[::1]:22", "::1", None, 22),
        ("ops@[::1]", "::1", "ops", None),
        ("ops@::1", "::1", "ops", None),
    ],
)
def test_a_host_given_straight(word: str, host: str, user: str | None, port: int | None) -> None:
    plain = Target(word, host=host, user=user, port=port)
    assert select([word], EMPTY) == [plain]
    defaults = INVENTORY.defaults
    assert select([word], INVENTORY) == [
        Target(
            word,
            host=host,
            user=user or "ops",
            port=port or 2022,
            vars=defaults.vars,
            ssh=defaults.ssh,
        )
    ]


def test_without_an_inventory_any_host_name_will_do() -> None:
    assert select(["web1", "n[08-09].example"], EMPTY) == [
        Target("web1", host="web1"),
        Target("n08.example", host="n08.example"),
        Target("n09.example", host="n09.example"),
    ]
    assert refusal("web_*", EMPTY).message.endswith("; no inventory is loaded")
    assert refusal("all", EMPTY).reason == "selector_empty"


@pytest.mark.parametrize(
    ("default", "expected"),
    [("ssh", "ssh"), ("openssh", "openssh"), ("local", "ssh"), ("ssm", "ssh")],
)
def test_a_host_given_straight_is_never_taken_for_this_machine(default: str, expected: str) -> None:
    inventory = Inventory(defaults=Target("", transport=default))
    assert select(["ops@h"], inventory)[0].transport == expected


def test_hosts_given_straight_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many selectors are, too: a short command would fill the memory."""
    monkeypatch.setattr(selectors, "MAX_NAMES", 4)
    assert len(select(["web1", "x[1-4]@h", "x[1-4]@h", "web1"], INVENTORY)) == 5
    with pytest.raises(RequestError, match="more than 4 hosts are given") as caught:
        select(["web1", "x[1-4]@h", "y@h", "nothing"], INVENTORY)
    assert caught.value.reason == "selector_invalid"


def test_this_machine() -> None:
    assert select(["local", "localhost"], INVENTORY) == [
        Target("local", transport="local", vars={"site": "x"}),
        Target("localhost", transport="local", vars={"site": "x"}),
    ]
    assert select(["localhost:22"], EMPTY)[0].transport == "ssh"
    own = Inventory(targets={"localhost": Target("localhost", port=2222)})
    assert select(["localhost"], own) == [own.targets["localhost"]]
