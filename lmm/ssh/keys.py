"""Private keys, certificates and the agent: loaded once, offered in OpenSSH's order."""

from __future__ import annotations

import base64
import contextlib
import io
import os
import threading
from collections.abc import Generator

from lmm.errors import Unreachable
from lmm.model import SecretRef
from lmm.regular import read_regular
from lmm.shortage import wanting
from lmm.ssh.agent import OnCancel, SshAgent
from lmm.ssh.config import HostConfig
from lmm.ssh.library import Message, paramiko


class Credentials:
    """Keys by path and the agent's keys, shared by all connections of a transport."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._keys: dict[tuple[str, str | None, SecretRef | None], paramiko.PKey | None] = {}

    def offers(
        self, config: HostConfig, on_cancel: OnCancel
    ) -> Generator[tuple[str, paramiko.PKey], None, None]:
        """Yield ``(where it is from, key)``: files given for the host, the agent, default files."""
        given = [self._file(config, path) for path in config.identity_files]
        for path, key in zip(config.identity_files, given, strict=True):
            if key is not None and not config.identities_are_defaults:
                yield path, key
        if config.identity_agent:
            wanted = {blob for path in config.identity_files if (blob := _public_blob(path))}
            wanted |= {key.asbytes() for key in given if key is not None}
            with contextlib.closing(SshAgent(config.identity_agent, config, on_cancel)) as agent:
                for key in agent.get_keys():
                    if not config.identities_only or key.asbytes() in wanted:
                        yield "agent", key
        if config.identities_are_defaults:
            for path, key in zip(config.identity_files, given, strict=True):
                if key is not None:
                    yield path, key

    def _file(self, config: HostConfig, path: str) -> paramiko.PKey | None:
        certificate = next(
            (c for c in (*config.certificate_files, f"{path}-cert.pub") if os.path.exists(c)), None
        )
        if not os.path.exists(path):  # only its public half is here: the agent has the key
            return None
        with self._lock:
            known = (path, certificate, config.passphrase)
            if known not in self._keys:
                self._keys[known] = self._load(config, path, certificate)
            return self._keys[known]

    def _load(self, config: HostConfig, path: str, certificate: str | None) -> paramiko.PKey | None:
        """Load a key file; a default file that needs a passphrase nobody gave is passed over."""
        secret = config.passphrase.line() if config.passphrase else None
        try:
            key = _read(path, secret)
            if certificate:
                key.load_certificate(Message(_blob(certificate)))
        except paramiko.PasswordRequiredException:
            if config.identities_are_defaults or config.use_agent:
                return None
            raise Unreachable(
                "key_unusable", f"the key {path} needs a passphrase", field="ssh.passphrase"
            ) from None
        except (OSError, ValueError, TypeError, paramiko.SSHException) as error:
            if wanting(error):
                raise
            if config.identities_are_defaults:
                return None
            why = getattr(error, "strerror", None) or error
            raise Unreachable(
                "key_unusable", f"cannot use the key {path}: {why}", field="ssh.identity_files"
            ) from None
        return key


def _read(path: str, passphrase: str | None) -> paramiko.PKey:
    text = read_regular(path).decode()
    problem: paramiko.SSHException | None = None
    for kind in (paramiko.Ed25519Key, paramiko.ECDSAKey, paramiko.RSAKey):
        try:
            return kind.from_private_key(io.StringIO(text, newline=None), passphrase)
        except paramiko.PasswordRequiredException:
            raise
        except paramiko.SSHException as error:
            problem = problem or error
    raise problem or paramiko.SSHException("unknown kind of key")


def _public_blob(path: str) -> bytes | None:
    """Return the key in ``path``'s public half, None if there is none."""
    try:
        return _blob(f"{path}.pub")
    except (OSError, ValueError) as error:
        if wanting(error):
            raise
        return None


def _blob(path: str) -> bytes:
    """Return the key or certificate in a public file. Raises OSError, ValueError."""
    words = read_regular(path).split(None, 2)
    if len(words) < 2:
        raise ValueError(f"there is no public key in {path}")
    return base64.b64decode(words[1], validate=True)
