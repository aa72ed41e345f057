"""How much of a script's output the agent and the service pass on.

The texts and lengths are those of amazon-ssm-agent: ``StringPrefix`` in
agent/plugins/pluginutil/pluginutil.go, ``TruncateOutput`` and ``DefaultOutputConfig`` in
agent/framework/processor/executer/iohandler/iohandler.go, the exit codes 168 and 169 in
agent/framework/runpluginutil/runpluginutil.go. It counts bytes, and a character cut in two becomes
U+FFFD.
"""

from __future__ import annotations

# GetCommandInvocation's reference: "the first 24,000 characters", "the first 8,000 characters".
STDOUT_LIMIT = 24_000
STDERR_LIMIT = 8_000
COMBINED_LIMIT = 2_500
CUT = b"--output truncated--"
ERROR_TITLE = b"\n----------ERROR-------\n"
OUT_CUT = b"\n---Output truncated---"
ERROR_CUT = b"\n---Error truncated----"
# Exit codes that end a document: 168 makes its step a success, 169 leaves it failed.
SKIP_REST = 168
FAIL_REST = 169


def step_output(code: int, stdout: bytes, stderr: bytes) -> tuple[bytes, bytes]:
    """Return both streams as the agent reports them for a step with this exit code."""
    text = b"\nStep exited with code %d. Therefore, marking step as %s. Further document steps will"
    text += b" be skipped."
    if code == SKIP_REST:
        return stdout + text % (code, b"succeeded"), b""
    if code == FAIL_REST:
        return stdout + text % (code, b"Failed"), stderr + text % (code, b"Failed")
    return stdout, stderr


def stdout_content(data: bytes) -> str:
    """Return StandardOutputContent: the agent marks where it cut."""
    return _text(_prefix(data, STDOUT_LIMIT))


def stderr_content(data: bytes) -> str:
    """Return StandardErrorContent: the agent cuts as for stdout, the service again and silently."""
    return _text(_prefix(data, STDOUT_LIMIT))[:STDERR_LIMIT]


def combined(stdout: bytes, stderr: bytes, limit: int = COMBINED_LIMIT) -> str:
    """Return a CommandPlugin's Output: both streams, shortened to fit."""
    title = ERROR_TITLE if stderr else b""
    room = limit - len(title)
    if len(stdout) + len(stderr) < room:
        return _text(stdout + title + stderr)
    half = room // 2
    if len(stdout) > half and len(stderr) > half:
        kept = (room - len(ERROR_CUT) - len(OUT_CUT)) // 2
        return _text(stdout[:kept] + OUT_CUT + title + stderr[:kept] + ERROR_CUT)
    if len(stdout) < half:
        kept = room - len(ERROR_CUT) - len(stdout)
        return _text(stdout + title + stderr[:kept] + ERROR_CUT)
    kept = room - len(OUT_CUT) - len(stderr)
    return _text(stdout[:kept] + OUT_CUT + title + stderr)


def _prefix(data: bytes, limit: int) -> bytes:
    return data if len(data) < limit else data[: limit - len(CUT)] + CUT


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")
