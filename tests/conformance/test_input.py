"""What is sent arrives byte for byte, executes nothing, and shows nowhere else."""

from __future__ import annotations

import hashlib
import json
import os
import pwd
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lmm.model import Limits, Outcome
from lmm.testing import processes

# Answers with the whole message as output_data, so that a test sees what arrived.
ECHO = 'printf \'{"payload":{"result":"success","output_data":\'; cat; printf \'}}\''
WHERE = 'printf \'{"payload":{"result":"success","output_data":{"pwd":"%s"}}}\' "$PWD"'
OK = 'echo \'{"payload":{"result":"success","output_data":{}}}\''

PLANES = "".join(chr((plane << 16) + 0x1234) for plane in range(17)) + "\U0010fffd"
HOSTILE = [
    "$(touch {file})",
    "`touch {file}`",
    "'; touch {file}; '",
    '"; touch {file}; "',
    "\\'; touch {file} #",
    "a\nb\r\n\ttouch {file}\n",
    "${{IFS}}touch${{IFS}}{file}",
    "!!; %s %n {{0..9}} * ? ~ \\ \\\\ \\x41 \\0",
    "nul\u0000inside",
    "".join(map(chr, range(1, 160))),
    PLANES,
    "\u2028\u2029\ufeff\u202e",
    "##rune-0 end 0 exit",
    "",
    " ",
    "-n",
    "x" * 1_000_000,
    "$(touch {file})" * 10_000,
]


def arrived(result: Any) -> Any:
    assert result.outcome is Outcome.OK, result.error
    return result.output_data["payload"]["input_parameters"]


def test_no_plugin_starts_in_the_current_folder(
    host: Any, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be another user's, and interpreters take code from it."""
    (scratch / "json.py").write_text(f"open({str(scratch / 'ran')!r}, 'w')\n")
    monkeypatch.chdir(scratch)
    result = host.run(f"python3 -c 'import json'; python3 -m json.tool --help >/dev/null; {WHERE}")
    assert result.outcome is Outcome.OK, result.error
    assert not (scratch / "ran").exists()
    if host.target.transport != "ssm":  # whose agent chooses
        assert result.output_data == {"pwd": pwd.getpwuid(os.getuid()).pw_dir}


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
@pytest.mark.parametrize("script", [ECHO, OK], ids=["reads", "ignores-stdin"])
def test_hostile_parameters(host: Any, scratch: Path, script: str, text: str) -> None:
    touched = scratch / "touched"
    text = text.replace("{file}", str(touched)).replace("{{", "{").replace("}}", "}")
    params = {"value": text, "list": [text[:100]], "odd $(id) 'name'": text[:100]}
    result = host.run(script, params)
    if script is ECHO:
        assert arrived(result) == params
    else:
        assert result.outcome is Outcome.OK
    assert not touched.exists()


def test_any_json_arrives(host: Any) -> None:
    json_values = st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=20),
        lambda children: (
            st.lists(children, max_size=3)
            | st.dictionaries(st.text(max_size=8), children, max_size=3)
        ),
        max_leaves=8,
    )

    @settings(max_examples=15, suppress_health_check=list(HealthCheck))
    @given(st.dictionaries(st.text(max_size=8), json_values, max_size=4))
    def check(params: dict[str, Any]) -> None:
        assert arrived(host.run(ECHO, params)) == params

    check()


def test_variables_hold_the_scalars(host: Any) -> None:
    params = {
        "name": "Zoë $(id) \x01\x7f '\"\\\n x",
        "count": 3,
        "on": True,
        "none": None,
        "list": [1],
        "nul": "a\0b",
        "big": "x" * 32_768,
        "bigger": "x" * 32_769,
        "secret": "hush",
        "empty": "",
    }
    script = (
        'import json, os\nfound = {k: v for k, v in os.environ.items() if k.startswith("RUNE_P")}\n'
        'print(json.dumps({"payload": {"result": "success", "output_data": found}}))'
    )
    result = host.run(script, params, interpreter=("python3",), write_only=frozenset({"/secret"}))
    assert result.outcome is Outcome.OK, result.error
    assert result.output_data == {
        "RUNE_PARAM_NAME": params["name"],
        "RUNE_PARAM_COUNT": "3",
        "RUNE_PARAM_ON": "true",
        "RUNE_PARAM_BIG": params["big"],
        "RUNE_PARAM_EMPTY": "",
    }


def test_a_plugin_knows_its_target_action_run_and_deadline(host: Any) -> None:
    """As variables, and the same as its stdin says."""
    script = (
        "import json, os, sys\ncontext = json.load(sys.stdin)['payload']['context']\n"
        "names = ('target', 'action', 'run_id', 'deadline')\n"
        "told = {n: os.environ.get('RUNE_' + n.upper()) for n in names}\n"
        "asked = {n: context[n] for n in names}\n"
        'print(json.dumps({"payload": {"result": "success", "output_data": '
        '{"told": told, "asked": asked}}}))'
    )
    result = host.run(script, {}, interpreter=("python3",))
    assert result.outcome is Outcome.OK, result.error
    assert result.output_data["told"] == result.output_data["asked"]


def test_nothing_of_the_payload_shows_elsewhere(host: Any, scratch: Path) -> None:
    """While the plugin runs, look into every process and every file that RUNE made."""
    token = hashlib.sha256(os.urandom(16)).hexdigest()
    params = {"plain": f"plain-{token}", "hidden": f"hidden-{token}", "deep": {"x": f"d-{token}"}}
    seen: dict[str, Any] = {}

    def look() -> bool:
        if not (scratch / "running").exists():
            return False
        plugin = int((scratch / "running").read_text())
        for pid in processes.all_pids():
            for part in ("cmdline", "environ"):
                try:
                    data = Path(f"/proc/{pid}/{part}").read_bytes()
                except OSError:
                    continue
                if token.encode() in data:
                    seen[f"{part} of {'plugin' if pid == plugin else pid}"] = data
        for place in ("/dev/shm", "/tmp", os.environ["XDG_RUNTIME_DIR"], os.environ["TMPDIR"]):
            for path in Path(place).glob(".rune-*/**/*"):
                if path.is_file() and token.encode() in path.read_bytes():
                    seen[str(path)] = True
        seen["looked"] = True
        return True

    watcher = host.cancel_when(look)
    result = host.run(
        f"cat >/dev/null; echo $$ >{scratch}/part; mv {scratch}/part {scratch}/running; sleep 30",
        params,
        write_only=frozenset({"/hidden"}),
    )
    watcher.join()
    assert seen.pop("looked"), "the plugin never ran"
    assert result.outcome is Outcome.CANCELLED
    own = seen.pop("environ of plugin")
    assert f"plain-{token}".encode() in own
    assert b"hidden-" not in own
    assert b"d-" + token.encode() not in own
    # the plugin's own children inherit its variables; nothing else knows anything
    assert all(b"hidden-" not in data for data in seen.values() if isinstance(data, bytes))
    assert not [place for place in seen if place.startswith(("cmdline", "/"))]


def test_a_secret_that_comes_back_is_hidden(host: Any) -> None:
    """Echoed in the answer, in the log, in an event, in an error."""
    params = {"token": "hunter2-$(id)-ü", "name": "alice"}
    secret = {"write_only": frozenset({"/token"})}
    echo = f'echo "it is hunter2-\\$(id)-ü" >&2; {ECHO}'
    result = host.run(echo, params, **secret)
    assert arrived(result) == {"token": "********", "name": "alice"}
    assert result.stderr == "it is ********\n"
    assert ("log", {"message": "it is ********"}) in host.events
    result = host.run("cat >&2; echo no json: $(cat <&2)hunter2-\\$\\(id\\)-ü", params, **secret)
    assert result.outcome is Outcome.INVALID_OUTPUT
    assert "hunter2" not in str(result)
    assert "hunter2" not in str(host.events)


@pytest.mark.parametrize("size", [100, 4_000, 4_100, 70_000, 1_000_000])
def test_a_plugin_that_never_reads_stdin_is_not_held_up(host: Any, size: int) -> None:
    result = host.run(f"{OK}; sleep 0.1", {"x": "x" * size})
    assert result.outcome is Outcome.OK


@pytest.mark.parametrize("size", [0, 100, 300_000, 2_000_000])
def test_the_plugins_bytes_arrive_exactly(host: Any, size: int) -> None:
    """Small scripts, ones above the shell's own reader, and ones with NUL bytes."""
    padding = b"#" + bytes(b for b in range(256) if b != 10) * (size // 255) + b"\n"
    script = (
        b"import hashlib, json, sys\n"
        b"d = hashlib.sha256(open(sys.argv[0], 'rb').read()).hexdigest()\n"
        b'print(json.dumps({"payload": {"result": "success", "output_data": {"d": d}}}))\n'
    )
    for content in (script + b"# " + b"\x01\x7f ok" * (size // 5) + b"\n",):
        result = host.run(content, interpreter=("python3",))
        assert result.output_data == {"d": hashlib.sha256(content).hexdigest()}, result.error
    digest = 'sha256sum "$0" | { read -r d _; printf \'{"payload":{"result":"success",\''
    digest += '\'"output_data":{"d":"%s"}}}\' "$d"; }; exit\n'
    content = digest.encode() + padding
    assert host.run(content).output_data == {"d": hashlib.sha256(content).hexdigest()}


def test_context_is_told(host: Any) -> None:
    result = host.run(ECHO, {"a": 1}, limits=Limits(timeout_s=12))
    message = result.output_data
    assert message["payload"]["context"]["target"] == host.target.name
    assert message["payload"]["context"]["timeout_s"] == 12
    assert json.dumps(message)


def test_answering_before_reading_does_not_deadlock(host: Any) -> None:
    result = host.run(
        'printf \'{"payload":{"result":"success","output_data":{"x":"\'; '
        "head -c 3000000 /dev/zero | tr '\\0' y; cat >/dev/null; printf '\"}}}'",
        {"x": "x" * 1_000_000},
    )
    assert result.outcome is Outcome.OK
