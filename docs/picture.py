"""Makes docs/run.svg from a real run: ``python docs/picture.py`` in the virtual environment.

It starts an sshd of its own, runs ``rune`` in a pseudo-terminal on its hosts, one of them dead,
and draws what came out.
"""

from __future__ import annotations

import os
import pty
import re
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

from lmm.testing import Sshd
from lmm.testing.sshd import loopback

WIDTH = 104
COMMAND = ["rune", "run", "host.info", "-t", "all"]


def recorded(folder: str) -> str:
    """Return what the command printed on a terminal of ``WIDTH`` columns."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(folder)
        os.environ.update(COLUMNS=str(WIDTH), TERM="xterm-256color", LINES="30")
        os.execv(sys.executable, [sys.executable, "-m", "lom.cli", *COMMAND[1:]])
    output = b""
    while True:
        try:
            chunk = os.read(terminal, 65536)
        except OSError:  # the other end has closed
            break
        if not chunk:
            break
        output += chunk
    os.waitpid(pid, 0)
    os.close(terminal)
    return output.decode()


def visible(text: str) -> str:
    """Drop the frames of progress, which have been erased by the time anybody looks."""
    frame = re.compile(r"\x1b\[\?7l.*?\x1b\[\?7h", re.DOTALL)
    return frame.sub("", text.replace("\r\n", "\n")).strip("\n")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, Sshd(addresses=loopback(5)) as server:
        inventory = server.inventory(5, prefix="gpu")
        inventory = inventory.replace("groups:", "  gpu006: {host: 127.0.0.1, port: 9}\ngroups:")
        Path(folder, "inventory.yaml").write_text(inventory)
        os.environ["PYTHONPATH"] = str(Path(__file__).resolve().parent.parent)
        text = visible(recorded(folder))
    with open(os.devnull, "w") as nowhere:
        console = Console(record=True, width=WIDTH, file=nowhere, force_terminal=True)
        console.print(Text(f"$ {' '.join(COMMAND)}", style="bold"))
        console.print(Text.from_ansi(text))
        svg = console.export_svg(title="RUNE")
    (Path(__file__).parent / "run.svg").write_text(svg, encoding="utf-8")
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    main()
