"""Whether a plugin's script can be read by what will run it; nothing of it is run."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from lom.authoring.findings import Finding, failed, ok, skipped, warn
from lom.registry.manifest import Plugin

_CHECK = "script"
_TIMEOUT_S = 60.0


def script_findings(plugin: Plugin) -> list[Finding]:
    """Return the findings on the entrypoint, by the means of its language."""
    found = list(_text(plugin))
    if any(one.remedy for one in found):
        return found
    language = Path(plugin.interpreter[0]).name if plugin.interpreter else "binary"
    if language in ("bash", "sh"):
        return [*found, *_shell(plugin.entrypoint, language)]
    if language.startswith("python"):
        return [*found, _python(plugin.entrypoint)]
    if language == "node":
        return [*found, _tool(plugin.entrypoint, "node", "--check")]
    return [*found, ok(_CHECK, f"{plugin.entrypoint.name} ({language})")]


def _text(plugin: Plugin) -> Iterator[Finding]:
    if not plugin.interpreter:
        return
    content = plugin.entrypoint.read_bytes()
    name = plugin.entrypoint.name
    if content.startswith(b"\xef\xbb\xbf"):
        yield failed(_CHECK, f"{name} begins with a byte order mark", "Save it without one.")
    if b"\r\n" in content:
        yield failed(_CHECK, f"{name} has line ends of Windows", "Save it with those of Unix.")


def _shell(script: Path, language: str) -> Iterator[Finding]:
    # shopt is not run, so what follows a `shopt -s extglob` could not be read
    options = ("-O", "extglob", "-n") if language == "bash" else ("-n",)
    plain = _tool(script, language, *options)
    if plain.remedy:
        yield plain
    elif not shutil.which("shellcheck"):
        yield skipped("shellcheck", "shellcheck is not installed on this machine")
    else:
        finding = _tool(
            script, "shellcheck", "--shell", language, "--severity", "warning", "--format", "gcc"
        )
        yield Finding("shellcheck", finding.status, finding.what, finding.remedy)


def _python(script: Path) -> Finding:
    try:
        compile(script.read_bytes(), script.name, "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        where = f"line {error.lineno}: " if isinstance(error, SyntaxError) else ""
        return failed(_CHECK, f"{where}{error.args[0]}", "Mend the script.")
    return ok(_CHECK, f"{script.name} is Python")


def _tool(script: Path, program: str, *options: str) -> Finding:
    """Have a program read the script and say what is wrong with it."""
    if not shutil.which(program):
        return skipped(_CHECK, f"{program} is not installed on this machine")
    try:
        done = subprocess.run(
            [program, *options, script.name],
            cwd=script.parent,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return warn(_CHECK, f"{program} was still at it after {_TIMEOUT_S:.0f} s", "")
    if done.returncode == 0:
        return ok(_CHECK, f"{program} finds nothing wrong with {script.name}")
    said = [line for line in done.stdout.decode(errors="replace").splitlines() if line.strip()]
    more = f" (and {len(said) - 1} lines more)" if len(said) > 1 else ""
    return failed(
        _CHECK,
        f"{program}: {said[0] if said else f'exit code {done.returncode}'}{more}",
        f"Mend what `{' '.join((program, *options, script.name))}` tells.",
    )
