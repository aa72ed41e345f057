"""``python -m lmm.testing.demo``: RUNE on several hosts over real SSH, on this machine alone.

It starts an sshd of its own, writes an inventory of loopback hosts and runs the installed
``rune`` on them, as a person or a dashboard would. It reads and writes nothing of the user's.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

from lmm.errors import RequestError
from lmm.testing.sshd import Sshd, loopback

HOSTS = 5


def main() -> int:
    """Run the demo; return 0 if every command did what it should."""
    with tempfile.TemporaryDirectory(prefix="rune-demo-") as place:
        try:
            with Sshd(addresses=loopback(HOSTS)) as server:
                inventory = server.inventory(HOSTS)
                Path(place, "inventory.yaml").write_text(inventory, encoding="utf-8")
                print(f"{HOSTS} hosts, 127.0.1.1 to {server.addresses[-1]}, over a real sshd:")
                table = rune(place, "run", "host.info", "-t", "nodes")
                print("\nThe same for a program, from one host:")
                document = rune(place, "run", "host.info", "-t", "node001", "-o", "json")
        except RequestError as error:
            print(f"No sshd here, so this machine alone: {error.message}\n", flush=True)
            table = rune(place, "run", "host.info")
            document = rune(place, "run", "host.info", "-o", "json")
    return table or document


def rune(place: str, *arguments: str) -> int:
    """Print the command, run it in ``place`` and return its exit status."""
    print("\n$ " + shlex.join(["rune", *arguments]), flush=True)
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("RUNE_", "XDG_"))}
    for name in ("CONFIG", "STATE", "CACHE", "DATA"):
        environment[f"XDG_{name}_HOME"] = f"{place}/{name.lower()}"
    command = [str(Path(sys.executable).parent / "rune"), *arguments]
    return subprocess.run(command, cwd=place, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
