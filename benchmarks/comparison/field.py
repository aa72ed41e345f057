"""A server, its hosts and the files that every tool needs; a new one for each sample.

So no tool meets what another one left: connections, sessions, masters, or the server's anger at
a client that hung up (PerSourcePenalties of OpenSSH 9.8 and newer).
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shlex
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmm.bootstrap import build_stream
from lmm.envelope import build_message, encode_message
from lmm.model import Invocation, Limits, Script, Target
from lmm.opening import shell_argv
from lmm.testing import Sshd
from lmm.testing.sshd import loopback

ROOT = Path(__file__).resolve().parents[2]
PARAMETERS = {"answer": 42}
ANSWER = '{"payload":{"result":"success","output_data":{"answer":42}}}'
PLUGIN = next((ROOT / "plugins/noop").glob("*.sh"))
MARK = "RUNE_BENCHMARK"  # in the environment of all that a tool starts
HOST_TIMEOUT_S = 30
ONCE = "0" * 32


def message() -> dict[str, Any]:
    """Return what the plugin gets on stdin."""
    return build_message(
        action="noop",
        target="node001",
        run_id="20260101T000000Z-00000000",
        input_parameters=PARAMETERS,
        timeout_s=HOST_TIMEOUT_S,
        trace_id="1" * 32,
    )


def script() -> str:
    """Return RUNE's own plugin as one script that needs no stdin: what every other tool runs."""
    told = encode_message(message()).decode()
    return (
        f"#!/bin/bash\nplugin() {{\n{PLUGIN.read_text()}\n}}\nplugin <<'MESSAGE'\n{told}\nMESSAGE\n"
    )


def stream() -> bytes:
    """Return what RUNE sends to a host for the same plugin; ``ONCE`` is for each to replace.

    It is the nonce and the mark, which names the directory: all hosts here are one account, and
    with one directory for all of them each would remove the others' plugin.
    """
    limits = Limits(HOST_TIMEOUT_S)
    plugin = Script(PLUGIN.name, PLUGIN.read_bytes())
    job = Invocation("r", Target("x"), "noop", "noop", plugin, message(), limits=limits)
    whole = build_stream(job, ONCE).whole()
    called = re.search(rf"rune_main {ONCE} ([0-9a-f]{{32}}) ".encode(), whole)
    assert called, "the bootstrap is called otherwise by now"
    return whole.replace(called[1], ONCE.encode())


@dataclass(frozen=True)
class Field:
    """What a tool is pointed at. ``folder`` holds its files and is its home."""

    server: Sshd
    user: str
    hosts: tuple[str, ...]
    folder: Path
    mark: str

    @property
    def environment(self) -> dict[str, str]:
        """The environment of a tool: it reads no file of the user and leaves none."""
        gone = ("RUNE_", "ANSIBLE_", "SSH_", "XDG_", "PYTHONDONTWRITEBYTECODE")
        kept = {key: value for key, value in os.environ.items() if not key.startswith(gone)}
        home = str(self.folder)
        own = {"HOME": home, "XDG_RUNTIME_DIR": home, "RUNE_STATE_DIR": f"{home}/state"}
        return {**kept, **own, MARK: self.mark, "PYTHONPATH": str(ROOT)}

    def ssh_options(self, masters: bool) -> list[str]:
        """Return options for OpenSSH's client: as it is, but for files, port and masters."""
        said = {
            "BatchMode": "yes",
            "LogLevel": "ERROR",
            "IdentityFile": self.server.identity_file,
            "IdentitiesOnly": "yes",
            "UserKnownHostsFile": self.server.known_hosts,
            "Port": self.server.port,
        }
        if masters:
            said |= {"ControlMaster": "auto", "ControlPersist": "60"}
            said |= {"ControlPath": self.folder / "%h"}
        return ["-F", "none", *(f"-o{key}={value}" for key, value in said.items())]

    def write(self) -> None:
        """Write the files of the tools."""
        files = {
            "inventory.yaml": self.server.inventory(len(self.hosts), user=self.user),
            "script": script(),
            "stream": stream().decode(),
            "echo": f"echo '{ANSWER}'; echo ' end '; exit\n",
            "hosts": "".join(f"{host}\n" for host in self.hosts),
        }
        for name, text in files.items():
            (self.folder / name).write_text(text, encoding="utf-8")
        whole = shlex.join(shell_argv(None))
        for name, command in {"stream": whole, "echo": "bash -s", "script": "bash -s"}.items():
            job = {
                "hosts": self.hosts,
                "user": self.user,
                "port": self.server.port,
                "key": str(self.server.identity_file),
                "known_hosts": str(self.server.known_hosts),
                "inventory": str(self.folder / "inventory.yaml"),
                "parameters": PARAMETERS,
                "script": str(self.folder / "script"),
                "input": str(self.folder / name),
                "command": command,
                "answer": ANSWER,
                "rounds": 2,
                "host_timeout_s": HOST_TIMEOUT_S,
            }
            (self.folder / f"{name}.job").write_text(json.dumps(job), encoding="utf-8")


@contextlib.contextmanager
def field(user: str, count: int) -> Iterator[Field]:
    """Start a server for ``count`` hosts and write the files of the tools."""
    with (
        tempfile.TemporaryDirectory(prefix="rb-", ignore_cleanup_errors=True) as folder,
        Sshd(addresses=loopback(count)) as server,
    ):
        made = Field(
            server, user or server.user, loopback(count), Path(folder), secrets.token_hex()
        )
        made.write()
        yield made
