"""Every command and option is decided on for an account that runs RUNE for others."""

from __future__ import annotations

import re

from lmm.errors import RequestError, code_table
from lom.admission.bound import Bound
from lom.cli.app import rune
from lom.cli.bound import COMMANDS, EVERYWHERE, Gate, name_of
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


def test_no_advice_names_what_is_not_there() -> None:
    """Of all that RUNE knows, and of messages that give one."""
    gate = Gate(Bound("rune", "SUDO_USER", "/home/rune"))
    others = "Tell those who look after the account rune of it."
    gone = REFUSED_OPTIONS | {"RUNE_CONFIG", "RUNE_PLUGIN_PATH", "rune config", "rune doctor"}
    for reason, row in code_table().items():
        actions = row["recovery_actions"]
        advice = gate.advice(RequestError(reason, "no advice"), actions)
        assert not [one for one in advice for name in gone if re.search(rf"{name}\b", one)]
        assert advice == actions or advice[-1] == others, reason
    kept = ["Confirm with --yes.", "See how it stands with `rune runs show RUN`."]
    assert gate.advice(RequestError("invalid_request", "see `rune run --help`"), kept) == kept
    for message in (
        "another directory with --state-dir",
        "or: `rune config trust /srv`",
        "give -i",
    ):
        assert gate.advice(RequestError("local_io_error", message), kept) == [*kept, others]
