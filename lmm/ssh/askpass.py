"""Answers the password prompts of an ``ssh`` that RUNE started, through SSH_ASKPASS.

A secret goes through a named pipe in a private directory: it stands in no argument, in no
environment and in no file.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lmm.model import SshSettings

# ssh asks for a password once for each method that takes one, for a passphrase once for each key.
COPIES = 16  # fit into a pipe, as a secret is LINE_BYTES long at most

# $1 is the prompt. The parent must be the very ssh that RUNE started: a jump host's ssh, which
# has inherited the environment, gets no answer, and so no password of another host.
_SCRIPT = """\
#!/bin/sh
[ "$PPID" = "$RUNE_ASKPASS_PID" ] || exit 1
case $1 in
  "Enter passphrase for "*) secret=passphrase ;;
  *[Pp]assword*) secret=password ;;
  *) exit 1 ;;
esac
IFS= read -r answer <"$RUNE_ASKPASS_DIR/$secret" && printf '%s\\n' "$answer"
"""
_WITH_OWN_PID = 'RUNE_ASKPASS_PID=$$ exec "$@"'


@dataclass(frozen=True, slots=True)
class Askpass:
    """How to start an ssh so that its prompts are answered."""

    environment: Mapping[str, str]

    def argv(self, argv: Sequence[str]) -> list[str]:
        """Return ``argv`` wrapped so that ssh's process id is known to its askpass."""
        return ["/bin/sh", "-c", _WITH_OWN_PID, "sh", *argv]


@contextlib.contextmanager
def serve(ssh: SshSettings, parent: Path) -> Iterator[Askpass]:
    """Answer prompts for the password and the passphrase of ``ssh`` while the block lasts.

    ``parent`` is a private directory. Raises RequestError (``secret_unavailable``).
    """
    references = {"password": ssh.password, "passphrase": ssh.passphrase}
    secrets = {name: ref.line() for name, ref in references.items() if ref is not None}
    with contextlib.ExitStack() as stack:
        directory = Path(tempfile.mkdtemp(prefix="ask", dir=parent))
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        script = directory / "askpass"
        script.write_text(_SCRIPT, encoding="ascii")
        script.chmod(0o700)
        for name, secret in secrets.items():
            os.mkfifo(directory / name, 0o600)
            # Open both ways, so that neither side waits for the other
            pipe = os.open(directory / name, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
            stack.callback(os.close, pipe)
            os.write(pipe, f"{secret}\n".encode() * COPIES)
        yield Askpass(
            {
                "SSH_ASKPASS": str(script),
                "SSH_ASKPASS_REQUIRE": "force",  # from OpenSSH 8.4 on; before, a display counts
                "DISPLAY": os.environ.get("DISPLAY") or "rune:0",
                "RUNE_ASKPASS_DIR": str(directory),
            }
        )
