"""The libraries for shells do the same whatever options the plugin has set before."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from lmm.envelope import build_message, encode_message, loads_strict
from lom.registry.files import bundled_plugins
from tests.unit.plugin_lib.conftest import CONFORM

LIB = bundled_plugins() / "lib"
TEXTS = ["a*b? [a-z]", "é\U0001d11e", '"\\/\n\t\x01', "a&b:c,d", "-n", "True", "0123", ""]
VALUE: dict[str, Any] = {
    "a b": TEXTS,
    "*": {},
    "n": [0, -1.5, 10, True, False, None, [], {"A": {"a": [[1]]}}],
}
POSIX = ["", "set -u", "set -e", "set -f", "set -euf", "set -C", "IFS=:", "IFS=", "IFS=0123456789"]
POSIX += ["IFS=' ,aeu\"'", "unset IFS"]
BASH = [
    *POSIX,
    *("set -o pipefail", "set -o posix", "set -euo pipefail", "set +B"),
    *("set -eE; trap 'exit 9' ERR", "set -T; trap : DEBUG RETURN", "BASH_COMPAT=4.4"),
    *(f"shopt -s {name}" for name in ("failglob", "nullglob", "dotglob", "nocaseglob")),
    *(f"shopt -s {name}" for name in ("nocasematch", "globstar", "lastpipe", "xpg_echo")),
    *("shopt -s localvar_inherit", "shopt -s localvar_unset", "shopt -u patsub_replacement"),
    *("shopt -u extglob", "shopt -u globasciiranges", "set -eu; shopt -s failglob; IFS=,"),
]
SHELLS = [
    *(("bash", "rune.sh", "conform.bash", one) for one in BASH),
    *(("bash --posix", "rune_posix.sh", "conform.sh", one) for one in POSIX),
    *(("dash", "rune_posix.sh", "conform.sh", one) for one in POSIX),
    *(("busybox ash", "rune_posix.sh", "conform.sh", one) for one in POSIX),
]


def run(script: Path, shell: str, parameters: dict[str, Any]) -> tuple[int, Any]:
    message = build_message(
        action="conform.check",
        target="web1",
        run_id="run-1",
        input_parameters=parameters,
        timeout_s=30.5,
        trace_id="4bf92f3577b34da6a3ce929d0e0e4736",
    )
    argv = [*shell.split(), str(script)]
    done = subprocess.run(
        argv, input=encode_message(message), capture_output=True, cwd=script.parent, timeout=60
    )
    lines = [line for line in done.stderr.splitlines() if not line.startswith(b"##rune ")]
    assert lines == []
    return done.returncode, loads_strict(done.stdout)


@pytest.mark.parametrize(
    ("shell", "library", "plugin", "setting"),
    SHELLS,
    ids=[f"{shell.split()[-1]}-{setting}" for shell, _, _, setting in SHELLS],
)
def test_a_library_works_under_any_option(
    tmp_path: Path, shell: str, library: str, plugin: str, setting: str
) -> None:
    shutil.copy(LIB / library, tmp_path)
    text = (CONFORM / plugin).read_text(encoding="utf-8")
    changed = '[ "$-/${IFS-unset}" = "$before" ] || rune_fail 9 changed'
    text = text.replace("\nrune_success\n", f"\n{changed}\nrune_success\n")
    script = tmp_path / "plugin"
    # An option of another version of the shell is none here.
    optional = f"{setting} 2>/dev/null || :" if "shopt" in setting else setting
    script.write_text(f"{optional}\nbefore=$-/${{IFS-unset}}\n{text}", encoding="utf-8")
    status, answer = run(script, shell, {"do": "walk", "value": VALUE})
    assert (status, answer["payload"]["output_data"]) == (0, {"value": VALUE})
    status, answer = run(script, shell, {"do": "events", "message": "ab, 1:é"})
    first = answer["payload"]["output_data"]["metrics"][0]
    assert (first["labels"], first["samples"]) == ({"device": "ab, 1:é", "kind": "a"}, [411, 414])
    wrong = {"do": "fail", "code": 7, "message": "0*", "details": VALUE, "retryable": True}
    status, answer = run(script, shell, wrong)
    assert (status, answer["error"]["details"], answer["error"]["message"]) == (7, VALUE, "0*")


PROBE = r"""
. "${0%/*}/json.sh"
IFS= read -rd '' text || :
if json_cut "$text" missing; then exit 3; fi
json_cut "$text" message; json_decode "$REPLY"; json_encode "$REPLY"; first=$REPLY
json_cut "$text" inner Key; second=$REPLY
json_cut "$text" inner; inner=$REPLY
json_cut "$text" number
printf '[%s,%s,%s,%s]' "$first" "$second" "$inner" "$REPLY"
"""


@pytest.mark.parametrize("setting", BASH, ids=BASH)
def test_json_sh_works_under_any_option(tmp_path: Path, setting: str) -> None:
    shutil.copy(LIB / "json.sh", tmp_path)
    script = tmp_path / "plugin"
    optional = f"{setting} 2>/dev/null || :" if "shopt" in setting else setting
    script.write_text(optional + PROBE, encoding="utf-8")
    inner = {"key": 1, "KEY": 2, "Key": [10, {"a": "* ?"}], "last": {}}
    document = {"inner": inner, "message": "".join(TEXTS), "number": -10.5}
    sent = subprocess.run(
        ["bash", str(script)],
        input=encode_message(document),
        capture_output=True,
        cwd=tmp_path,
        timeout=60,
    )
    assert sent.stderr == b""
    assert loads_strict(b'{"a":' + sent.stdout + b"}") == {
        "a": ["".join(TEXTS), inner["Key"], inner, -10.5]
    }
