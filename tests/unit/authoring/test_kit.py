"""Each check of the kit finds a plugin that misbehaves so, and a good one passes them all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lmm.errors import Cancelled
from lmm.testing import processes
from lom.authoring.cases import load_cases
from lom.authoring.kit import KIT, checks_of
from lom.authoring.trials import Trials
from lom.registry.manifest import load_plugin
from tests.unit.authoring.conftest import ANSWER, case, findings

ONCE = '[[ -e $HOME/again ]] && again=1; touch "$HOME/again"\n'
TOKEN = {
    "type": "object",
    "properties": {"token": {"type": "string", "writeOnly": True}},
    "additionalProperties": False,
}
FAILS = """printf '{"error":{"code":3,"message":"no"}}\\n'\nexit 3\n"""

MISBEHAVING: dict[str, tuple[str, str, dict[str, Any]]] = {
    "output": (f"echo here it comes\n{ANSWER}", "stdout begins with 'here it comes", {}),
    "exit-code": (FAILS.replace("exit 3", "exit 4"), "error.code 3 but exited with 4", {}),
    "unread-stdin": (f"(($(wc -c) < 65536)) || exit 9\n{ANSWER}", "exited with 9", {}),
    "empty": (
        f"[[ $RUNE_PARAM_TEXT ]] || exit 9\n{ANSWER}",
        "exited with 9",
        {"cases": {"base": case({"text": "x"})}},
    ),
    "huge": (
        f"set -u\n: $RUNE_PARAM_TEXT\n{ANSWER}",
        "RUNE_PARAM_TEXT: unbound",
        {"cases": {"base": case({"text": "x"})}},
    ),
    "unicode": (
        """printf '{"payload":{"result":"success","output_data":{"text":"%s"}}}' """
        """"${RUNE_PARAM_TEXT-}"\n""",
        "with a hostile text as text: invalid_output",
        {"output_schema": {"type": "object", "properties": {"text": {"type": "string"}}}},
    ),
    "secrets": (f"cat >&2\n{ANSWER}", "the secret token comes back", {"input_schema": TOKEN}),
    "closed-stdout": (f"trap '' PIPE\n{ANSWER}exit 0\n", "although nobody got its answer", {}),
    "orphans": (
        "setsid bash -c 'touch ready; exec sleep 600' >/dev/null 2>&1 </dev/null &\n"
        f"until [[ -e ready ]]; do sleep .01; done\n{ANSWER}",
        "it left running: sleep",
        {},
    ),
    "sigterm": (
        f"trap '' TERM\n{ONCE}sleep ${{again:+60}} .4\n{ANSWER}",
        "did not end on TERM",
        {},
    ),
    "deadline": (
        f"trap '' TERM\n{ONCE}sleep ${{again:+60}} .4\n{ANSWER}",
        "did not end on TERM",
        {},
    ),
}


def test_every_check_has_a_plugin_that_fails_it() -> None:
    assert MISBEHAVING.keys() == KIT.keys()


@pytest.mark.parametrize("name", MISBEHAVING)
def test_a_misbehaving_plugin_is_found(write_plugin: Any, name: str) -> None:
    script, told, manifest = MISBEHAVING[name]
    finding = findings(write_plugin(script, **manifest), name)[name]
    assert finding.status == "failed"
    assert told in finding.what
    assert finding.action == "t.do"
    assert finding.remedy


def test_an_orphan_does_not_survive_its_discovery(write_plugin: Any) -> None:
    finding = findings(write_plugin(MISBEHAVING["orphans"][0]), "orphans")["orphans"]
    pid = int(finding.what.partition("(")[2].partition(")")[0])
    assert not processes.wait_gone([pid], 5)


def test_a_good_plugin_passes_all(write_plugin: Any) -> None:
    script = f"[[ ${{RUNE_PARAM_TEXT-}} == no ]] && {{ {FAILS}}}\n{ANSWER}"
    cases = {
        "base": case(expect={"output_data": {"done": True}}),
        "error": case({"text": "no"}, 3, expect={"error": {"message": "no"}}),
    }
    found = findings(write_plugin(script, cases=cases))
    assert {name for name, one in found.items() if one.status != "ok"} == {"secrets"}
    assert found["secrets"].status == "skipped"


# -- cases -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (case(exit_code=3), "the exit code is 0, not 3"),
        (case(expect={"output_data": {"done": False}}), "$.output_data.done is True, not False"),
        (case(expect={"error": {"message": "x"}}), "$.error is None, not an object"),
        (case({"text": 1}), "1 is not of type 'string' @ $.text"),
        (case(commands={"x": "not-there"}), "is no program to be run"),
        (case(files={"../x": ""}), "is not in the working directory"),
    ],
)
def test_a_case_that_does_not_hold(write_plugin: Any, content: Any, told: str) -> None:
    finding = findings(write_plugin(cases={"one": content}), "case one")["case one"]
    assert finding.status == "failed"
    assert told in finding.what


def test_a_case_makes_its_own_host(write_plugin: Any) -> None:
    script = (
        """
[[ $COLOUR == red && $(<file) == text && ! $(type -P tail) ]] || exit 9
[[ $RUNE_PARAM_TEXT == "$PWD" && $(stand-in) == stood ]] || exit 8
"""
        + ANSWER
    )
    content = case(
        {"text": "{cwd}"},
        env={"COLOUR": "red"},
        files={"file": "text"},
        commands={"stand-in": "bin/stand-in"},
        without=["tail"],
    )
    folder = write_plugin(script, cases={"one": content})
    (folder / "cases" / "bin").mkdir()
    stand_in = folder / "cases" / "bin" / "stand-in"
    stand_in.write_text("#!/bin/sh\necho stood\n")
    stand_in.chmod(0o755)
    finding = findings(folder, "case one")["case one"]
    assert (finding.status, finding.what) == ("ok", "it does it")


# -- what may harm -----------------------------------------------------------------------------


def test_what_changes_a_host_is_only_given_what_its_cases_say(write_plugin: Any) -> None:
    found = findings(write_plugin(risk="change"))
    harmful = {"empty", "huge", "unicode", "secrets", "closed-stdout", "sigterm", "deadline"}
    assert {name for name, one in found.items() if "--risk change" in one.what} == harmful
    assert found["case base"].status == "ok"


def test_what_destroys_is_not_run_at_all(write_plugin: Any) -> None:
    folder = write_plugin('touch "$HOME/ran"\n' + ANSWER, risk="destructive")
    ran = Path.home() / "ran"
    assert {one.status for one in findings(folder, risk="change").values()} == {"skipped"}
    assert not ran.exists()
    assert findings(folder, "output", risk="destructive")["output"].status == "ok"
    assert ran.exists()


def test_with_a_stand_in_nothing_is_held_back(write_plugin: Any) -> None:
    folder = write_plugin(risk="destructive", cases={"one": case(commands={"rm": "rm"})})
    (folder / "cases" / "rm").write_text("#!/bin/sh\n")
    (folder / "cases" / "rm").chmod(0o755)
    found = findings(folder)
    assert "skipped" not in {one.status for name, one in found.items() if name != "secrets"}


def test_a_cancel_ends_what_runs_and_what_would_follow(write_plugin: Any) -> None:
    plugin = load_plugin(write_plugin("sleep 60\n"), "tested")
    trials = Trials(plugin)
    check = checks_of(trials, load_cases(plugin))[0]
    trials.cancel()
    with pytest.raises(Cancelled):
        check.run()
