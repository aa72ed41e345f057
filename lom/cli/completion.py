"""``rune completion`` and the answers that the shell's script asks for."""

from __future__ import annotations

import contextlib
import os

import click

from lmm.errors import RequestError
from lom.cli import COMPLETE_VARIABLE
from lom.cli.output import write_stdout
from lom.exit_codes import ExitCode

SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(SHELLS), required=False)
def completion(shell: str | None) -> int:
    """Print the completion script for SHELL, by default for the one in $SHELL.

    \b
    rune completion bash > ~/.local/share/bash-completion/completions/rune
    rune completion zsh  > ~/.zfunc/_rune       (a folder in your fpath)
    rune completion fish > ~/.config/fish/completions/rune.fish
    """
    from click.shell_completion import get_completion_class

    name = shell or os.path.basename(os.environ.get("SHELL", ""))
    kind = get_completion_class(name) if name in SHELLS else None
    if kind is None:
        raise RequestError(
            "invalid_usage", f"say for which shell: {', '.join(SHELLS)}", command="rune completion"
        )
    script = kind(click.get_current_context().find_root().command, {}, "rune", COMPLETE_VARIABLE)
    write_stdout((script.source_template % script.source_vars()).encode())
    return ExitCode.OK


def answer(root: click.Command, instruction: str) -> None:
    """Print the candidates for the words in the environment; whatever goes wrong gives none."""
    from click.shell_completion import get_completion_class

    shell, _, what = instruction.partition("_")
    kind = get_completion_class(shell)
    if kind is not None and what == "complete":
        with contextlib.suppress(Exception):
            found = kind(root, {}, "rune", COMPLETE_VARIABLE).complete()
            write_stdout(found.encode("utf-8", "surrogateescape") + b"\n")
