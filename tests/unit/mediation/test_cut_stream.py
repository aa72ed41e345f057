"""A stream of which somebody else has read a part: the shell says that it is not whole."""

from __future__ import annotations

import subprocess

import pytest

from lmm.bootstrap import EATEN, HEAD, build_stream
from lmm.envelope import build_message
from lmm.model import Invocation, Limits, Script, Target

NONCE = "1" * 32


@pytest.mark.parametrize(
    "plugin", [b"echo text\n" * 100, b"\0bytes\n" * 100], ids=["text", "bytes"]
)
@pytest.mark.parametrize("missing", [1, 20, 500, 900, 1200])
def test_what_is_missing_is_told(plugin: bytes, missing: int) -> None:
    message = build_message(
        action="noop",
        target="x",
        run_id="r",
        input_parameters={"folder": "a\nb" * 20},
        timeout_s=30,
        trace_id="1" * 32,
    )
    script = Script("m", plugin, ("bash",))
    invocation = Invocation("r", Target("x"), "noop", "noop", script, message, limits=Limits(30))
    stream = build_stream(invocation, NONCE).whole()
    done = subprocess.run(
        ["bash", "--norc", "-p", "-c", HEAD, "rune-x"],
        input=stream[:-missing],
        capture_output=True,
        timeout=60,
    )
    ends = [line for line in done.stdout.split(b"\n") if line.startswith(b"##rune-")]
    assert done.returncode in (EATEN, 100), done
    assert not ends or ends[0].split()[3] in (b"short", b"eaten"), done
