"""Host keys made up for tests, and what ssh-keygen finds of them in a file."""

from __future__ import annotations

import base64
import re
import subprocess
from pathlib import Path

from lmm.ssh.known_hosts import KnownHosts


def string_field(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


def ed25519(seed: int) -> bytes:
    return string_field(b"ssh-ed25519") + string_field(bytes([seed]) * 32)


def rsa(seed: int) -> bytes:
    modulus = b"\0" + bytes([0x80 | seed]) * 256
    return string_field(b"ssh-rsa") + string_field(b"\x01\x00\x01") + string_field(modulus)


def text(key_type: str, blob: bytes) -> str:
    return f"{key_type} {base64.b64encode(blob).decode()}"


ED1, ED2, ED3 = (ed25519(seed) for seed in (1, 2, 3))
RSA1 = rsa(1)
K1, K2, K3 = (text("ssh-ed25519", blob) for blob in (ED1, ED2, ED3))
R1 = text("ssh-rsa", RSA1)


def numbers_by_keygen(file: Path, name: str) -> list[int]:
    """Return the numbers of the lines whose key ssh-keygen finds for the name."""
    done = subprocess.run(
        ["ssh-keygen", "-F", name, "-l", "-f", str(file)],
        capture_output=True,
        env={"LC_ALL": "C"},
    )
    return [int(number) for number in re.findall(rb"(?m)^# Host .* found: line (\d+)", done.stdout)]


def numbers(file: Path, host: str, port: int) -> list[int]:
    return [line.number for line in KnownHosts.load([file]).lookup(host, port).lines]
