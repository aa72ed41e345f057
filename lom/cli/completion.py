"""``rune completion`` and the answers that the shell's script asks for."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

import click

from lmm.errors import RequestError
from lom.cli import COMPLETE_VARIABLE
from lom.cli.output import write_stdout
from lom.exit_codes import ExitCode

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

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


def candidates(kind: str, context: click.Context, incomplete: str) -> list[CompletionItem[str]]:
    """Return what ``incomplete`` may become; ``kind`` says what it is part of."""
    from click.shell_completion import CompletionItem

    from lom.service.candidates import candidates

    if kind in ("file", "folder"):
        return [CompletionItem(incomplete, type="file" if kind == "file" else "dir")]
    before = ""
    if kind == "target":
        # Within an expression the last word is completed: 'gpu and no…'.
        cut = max(map(incomplete.rfind, " (,")) + 1
        before, incomplete = incomplete[:cut], incomplete[cut:]
    given = {key: context.params.get(key) for key in ("inventory", "plugin_path", "state_dir")}
    # While the option still lacks its value, the action stands among what is unparsed.
    action = context.params.get("action") or next(iter(context.args), "")
    return [
        CompletionItem(before + name, help=help_text.split("\n")[0] or None)
        for name, help_text in candidates(kind, given, action).items()
        if name.startswith(incomplete)
    ]


def answer(root: click.Command, instruction: str) -> None:
    """Print the candidates for the words in the environment; whatever goes wrong gives none."""
    from click.shell_completion import get_completion_class

    shell, _, what = instruction.partition("_")
    kind = get_completion_class(shell)
    if kind is not None and what == "complete":
        with contextlib.suppress(Exception):
            found = kind(root, {}, "rune", COMPLETE_VARIABLE).complete()
            write_stdout(found.encode("utf-8", "surrogateescape") + b"\n")
