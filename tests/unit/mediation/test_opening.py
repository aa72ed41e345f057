"""The shell that reads the stream: what reaches it broken, and what its environment brings."""

from __future__ import annotations

import os
import random
import re
import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from lmm.bootstrap import EATEN, HEAD, Stream, build_stream
from lmm.envelope import build_message
from lmm.model import Become, File, Invocation, Limits, Script, Target
from lmm.opening import shell_argv

ANSWER = '{"payload":{"result":"success","output_data":{"n":1}}}'
PATH = os.environ.get("PATH", os.defpath)


def invocation(
    script: Script, params: Mapping[str, Any], become: Become | None = None
) -> Invocation:
    message = build_message(
        action="test.run",
        target="t",
        run_id="r",
        input_parameters=params,
        timeout_s=30,
        trace_id="1" * 32,
    )
    target = Target("t", become=become)
    return Invocation("r", target, "test.run", "test", script, message, limits=Limits(30))


def shell(
    data: bytes, folder: Path, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Have the shell read the bytes, and then the end of stdin."""
    return subprocess.run(
        shell_argv(None),
        input=data,
        capture_output=True,
        env={"PATH": PATH, "TMPDIR": str(folder), "XDG_RUNTIME_DIR": str(folder), **(env or {})},
        cwd=folder,
        timeout=30,
        check=False,
    )


# -- bytes that are missing --------------------------------------------------------------------


@pytest.fixture
def attack(tmp_path: Path) -> Stream:
    """A stream whose plugin, files and parameters leave a file behind if a byte of them is run."""
    trace = "\ntouch ran\n" * 50
    files = (File("more", (trace * 3).encode()), File("bytes", b"\0" + trace.encode()))
    script = Script("plugin", f"touch ran; echo '{ANSWER}'".encode(), files=files)
    return build_stream(invocation(script, {"a": trace, "b": f"' {trace}"}), "0" * 32)


def test_the_whole_stream_runs(attack: Stream, tmp_path: Path) -> None:
    assert b'"n":1' in shell(attack.whole(), tmp_path).stdout
    assert (tmp_path / "ran").exists()


def test_of_a_stream_with_a_gap_nothing_runs(attack: Stream, tmp_path: Path) -> None:
    whole, draw = attack.whole(), random.Random(7)
    head, shared = len(attack.head), len(attack.head) + len(attack.shared)
    edges = [0, 1, len(attack.hello), head, shared, len(whole) - 33]
    gaps = [(at, size) for at in edges for size in (1, 33, 400)]
    for begin, end in ((0, head), (head, shared), (shared, len(whole))):
        for _ in range(8):
            gaps.append((draw.randrange(begin, end), draw.choice((1, 2, 30, 700, 5000))))
    for at, size in gaps:
        done = shell(whole[:at] + whole[at + size :], tmp_path)
        assert not (tmp_path / "ran").exists(), (at, size)
        assert done.returncode in (EATEN, 100), (at, size, done)
        assert b" start\n" not in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == []


def test_what_was_missing_is_not_taken_from_what_follows(attack: Stream, tmp_path: Path) -> None:
    """More bytes that come later, as of a cancel, do not make the stream whole."""
    whole = attack.whole()
    for at in (len(attack.head) + len(attack.shared) + 5, len(attack.head) + 20, len(whole) - 50):
        done = shell(whole[:at] + whole[at + 9 :] + b"c" * 9 + b"\ntouch ran\n" * 9, tmp_path)
        assert not (tmp_path / "ran").exists()
        assert done.returncode in (EATEN, 100)


def test_two_streams_have_no_word_in_common() -> None:
    one, two = (build_stream(invocation(Script("p", b"true"), {}), "0" * 32) for _ in range(2))
    assert one.word != two.word
    assert one.ready not in one.whole()  # nobody who sends it back is taken for the shell
    assert one.shared == two.shared


def test_the_head_can_be_quoted_by_every_login_shell() -> None:
    assert not re.search(r"['\\!\n]", HEAD)
    assert shlex.quote(HEAD) == f"'{HEAD}'"


# -- what the environment says to bash ---------------------------------------------------------


def _names(command: str) -> list[str]:
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    return [line.split()[0] for line in done.stdout.splitlines()]


# All but what the shell sets itself.
OPTIONS = sorted(set(_names("set -o")) - {"privileged", "interactive-comments"})
SHOPTS = sorted(_names("shopt"))
PROBE = f"""
[[ -e $RUNE_PARAM_FILE ]] || exit 9
printf '%s|%s|%s|' "$SHELLOPTS" "$BASHOPTS" "${{BASH_ENV-}}${{ENV-}}${{TMOUT-}}" >"$RUNE_PARAM_OUT"
echo '{ANSWER}'
"""


def probed(folder: Path, env: Mapping[str, str]) -> str:
    out = folder / "out"
    out.write_text("")
    (folder / "file").touch()
    params = {"file": str(folder / "file"), "out": str(out)}
    stream = build_stream(invocation(Script("plugin", PROBE.encode(), ("bash",)), params), "0" * 32)
    done = shell(stream.whole(), folder, env)
    assert b'"n":1' in done.stdout, (env, done)
    return out.read_text()


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What the plugin sees where the environment says nothing."""
    return probed(tmp_path_factory.mktemp("plain"), {})


@pytest.mark.parametrize("name", [*OPTIONS, *SHOPTS])
def test_no_option_of_the_hosts_shell_reaches_the_plugin(
    name: str, tmp_path: Path, plain: str
) -> None:
    variable = "BASHOPTS" if name in SHOPTS else "SHELLOPTS"
    assert probed(tmp_path, {variable: name}) == plain


@pytest.mark.parametrize(
    "variables",
    [
        {"BASH_ENV": "{file}", "ENV": "{file}"},
        {"POSIXLY_CORRECT": "1"},
        {"POSIXLY_CORRECT": "1", "ENV": "{file}"},
        {"TMOUT": "1", "FUNCNEST": "1", "GLOBIGNORE": "*", "EXECIGNORE": "*", "CDPATH": "/"},
        {"BASH_COMPAT": "3.2"},
        {"IFS": "0123456789", "PS4": "$(touch ran)", "LC_ALL": "C", "OPTIND": "x"},
        {f"BASH_FUNC_{name}%%": "() { touch ran; }" for name in ("read", "eval", "exec", "kill")},
    ],
)
def test_no_variable_of_the_hosts_shell_reaches_the_bootstrap(
    variables: dict[str, str], tmp_path: Path, plain: str
) -> None:
    (tmp_path / "rc").write_text("touch ran; set -eu; shopt -s failglob\n")
    env = {
        name: value.format(file=tmp_path / "rc") if "{file}" in value else value
        for name, value in variables.items()
    }
    assert probed(tmp_path, env) == plain
    assert not (tmp_path / "ran").exists()


def test_what_the_login_sets_for_programs_stays(tmp_path: Path) -> None:
    script = Script("plugin", b'echo "<$PATH $SOME $(module)>"', ("bash",))
    env = {"PATH": f"/opt/x:{PATH}", "SOME": "thing", "BASH_FUNC_module%%": "() { echo loaded; }"}
    stream = build_stream(invocation(script, {}), "0" * 32)
    said = shell(stream.whole(), tmp_path, env).stdout.decode()
    assert f"</opt/x:{PATH} thing loaded>" in said
