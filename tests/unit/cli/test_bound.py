"""Every command and option is decided on for an account that runs RUNE for others."""

from __future__ import annotations

from lom.cli.app import rune
from lom.cli.bound import COMMANDS, EVERYWHERE, name_of
from tests.integration.cli.everything import REFUSED_COMMANDS, REFUSED_OPTIONS, leaves


def test_every_command_is_classified() -> None:
    """A new one is refused until it is in the list, and this test until somebody has decided."""
    assert {*COMMANDS, *REFUSED_COMMANDS} == {*leaves(rune)}
    assert not {*COMMANDS} & {*REFUSED_COMMANDS}


def test_every_option_is_classified() -> None:
    for path, command in leaves(rune).items():
        if path not in COMMANDS:
            continue
        names = {name_of(param) for param in command.params}
        allowed = EVERYWHERE | {*COMMANDS[path].split()}
        assert allowed <= names, path
        assert names - allowed <= REFUSED_OPTIONS, path
        assert not allowed & REFUSED_OPTIONS, path
