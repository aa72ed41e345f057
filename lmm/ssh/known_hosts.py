"""Host keys: judged against known_hosts files as OpenSSH judges them, new ones added.

Reading one file is done in ``hostfile``.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
import shlex
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from lmm import filelock
from lmm.errors import Unreachable
from lmm.ownership import make_private
from lmm.ssh.home import expand_home
from lmm.ssh.hostfile import SALT_BYTES, HostFile, Line, load_file, note_added

DEFAULT_PORT = 22


def fingerprint(blob: bytes) -> str:
    """Return a key's fingerprint as ``ssh-keygen -l`` prints it: ``SHA256:…``."""
    digest = base64.b64encode(hashlib.sha256(blob).digest()).decode("ascii")
    return f"SHA256:{digest.rstrip('=')}"


def host_name(host: str, port: int = DEFAULT_PORT) -> str:
    """Return the name under which known_hosts knows a host: ``host`` or ``[host]:port``."""
    return host if port == DEFAULT_PORT else f"[{host}]:{port}"


def _encoded_name(host: str, port: int) -> bytes:
    """Return the name as it stands in a file, in lower case as ssh writes and seeks it."""
    return host_name(host, port).encode(errors="surrogatepass").lower()


@dataclass(frozen=True, slots=True)
class HostKeys:
    """What known_hosts says of one host: keys as (type, blob), blobs that are revoked."""

    keys: tuple[tuple[str, bytes], ...] = ()
    revoked: frozenset[bytes] = frozenset()
    has_cert_authority: bool = False
    lines: tuple[Line, ...] = field(default=(), repr=False)

    def place(self, marker: str = "", blob: bytes | None = None) -> Line | None:
        """Return the first line with this marker (and this key), for a message."""
        for line in self.lines:
            if line.marker == marker and (blob is None or (line.key and line.key[1] == blob)):
                return line
        return None


class KnownHosts:
    """Several known_hosts files as one, the user's first."""

    def __init__(self, paths: tuple[str, ...], files: tuple[HostFile, ...]) -> None:
        self.paths = paths
        self._files = files
        self._asked: dict[tuple[str, int], HostKeys] = {}

    @classmethod
    def load(cls, paths: Iterable[str | os.PathLike[str]]) -> KnownHosts:
        """Return the files' contents; those that have not changed are not read again."""
        names = tuple(expand_home(os.fspath(path)) for path in paths)
        return cls(names, tuple(load_file(name) for name in names))

    def lookup(self, host: str, port: int = DEFAULT_PORT) -> HostKeys:
        """Return what the files say of ``host`` (for a HostKeyAlias: of the alias, port 22)."""
        if (host, port) not in self._asked:
            self._asked[host, port] = self._lookup(host, port)
        return self._asked[host, port]

    def _lookup(self, host: str, port: int) -> HostKeys:
        name = _encoded_name(host, port).decode("latin-1")
        lines = tuple(
            line for file in self._files for line in file.lookup(name) if line.key is not None
        )
        return HostKeys(
            keys=tuple(line.key for line in lines if line.key and not line.marker),
            revoked=frozenset(
                line.key[1] for line in lines if line.key and line.marker == "@revoked"
            ),
            has_cert_authority=any(line.marker == "@cert-authority" for line in lines),
            lines=lines,
        )

    def preferred_types(self, host: str, port: int = DEFAULT_PORT) -> tuple[str, ...]:
        """Return the types of the keys known of the host, to ask for those first."""
        keys = self.lookup(host, port).keys or self.lookup(host).keys
        return tuple(dict.fromkeys(key_type for key_type, _ in keys))

    def check(self, host: str, port: int, key_type: str, key_blob: bytes) -> None:
        """Return if the key is the host's; ``host_key_…`` says what is wrong with it otherwise.

        As in OpenSSH a revocation beats all, a host known by other keys only has changed (whatever
        their type), and a host known by its bare name is also known on another port. Raises
        Unreachable (``host_key_unknown``, ``host_key_changed``, ``host_key_revoked``).
        """
        known = self.lookup(host, port)
        bare = known if port == DEFAULT_PORT else self.lookup(host)
        for keys in (known, bare):
            if key_blob in keys.revoked:
                raise self._revoked(host, port, key_type, key_blob, keys)
        if any(blob == key_blob for _, blob in known.keys):
            return
        if known.keys:
            raise self._changed(host, port, key_type, key_blob, known)
        if any(blob == key_blob for _, blob in bare.keys):
            return
        raise self._unknown(host, port, key_type, key_blob, known)

    def _trust_command(self, host: str, port: int, key_type: str, blob: bytes) -> str:
        line = f"{host_name(host, port)} {key_type} {base64.b64encode(blob).decode('ascii')}"
        file = self.paths[0] if self.paths else expand_home("~/.ssh/known_hosts")
        return f"echo {shlex.quote(line)} >> {shlex.quote(file)}"

    def _unknown(
        self, host: str, port: int, key_type: str, blob: bytes, known: HostKeys
    ) -> Unreachable:
        name, trust = host_name(host, port), self._trust_command(host, port, key_type, blob)
        authority = known.place("@cert-authority")
        if authority:
            remedy = (
                f"{authority.place} trusts it by certificate (@cert-authority), which only the"
                " openssh transport can check: set transport: openssh for this host"
            )
        else:
            remedy = f"if that is the host's own fingerprint, trust the key with: {trust}"
        return Unreachable(
            "host_key_unknown",
            f"the host key of {name} is not in known_hosts:"
            f" {key_type} {fingerprint(blob)}; {remedy}",
            **_data(host, port, key_type, blob, authority),
            known_hosts=list(self.paths),
            trust_command=trust,
        )

    def _changed(
        self, host: str, port: int, key_type: str, blob: bytes, known: HostKeys
    ) -> Unreachable:
        name, trust = host_name(host, port), self._trust_command(host, port, key_type, blob)
        line = known.place()
        assert line is not None
        assert line.key is not None
        forget = f"ssh-keygen -f {shlex.quote(line.file)} -R {shlex.quote(name)}"
        return Unreachable(
            "host_key_changed",
            f"the host key of {name} is not the one that is known: it offers"
            f" {key_type} {fingerprint(blob)}, {line.place} has"
            f" {line.key[0]} {fingerprint(line.key[1])}; somebody may be listening in. If the host"
            " was set up anew and the first fingerprint is its own, run:"
            f" {forget} && {trust}",
            **_data(host, port, key_type, blob, line),
            known_fingerprint=fingerprint(line.key[1]),
            trust_command=f"{forget} && {trust}",
        )

    def _revoked(
        self, host: str, port: int, key_type: str, blob: bytes, known: HostKeys
    ) -> Unreachable:
        line = known.place("@revoked", blob)
        assert line is not None
        return Unreachable(
            "host_key_revoked",
            f"the host key of {host_name(host, port)}, {key_type} {fingerprint(blob)}, is marked"
            f" @revoked in {line.place}: do not connect",
            **_data(host, port, key_type, blob, line),
        )


def _data(host: str, port: int, key_type: str, blob: bytes, line: Line | None) -> dict[str, Any]:
    data: dict[str, Any] = {
        "host": host,
        "port": port,
        "key_type": key_type,
        "key_fingerprint": fingerprint(blob),
    }
    return data | ({"file": line.file, "line": line.number} if line else {})


def add(
    path: str | os.PathLike[str],
    host: str,
    port: int,
    key_type: str,
    blob: bytes,
    *,
    hash_names: bool = False,
    cancelled: threading.Event | None = None,
) -> None:
    """Add a host's key to a known_hosts file, for ``accept-new``; one already there stays.

    Safe among threads and processes: the file is judged again under a lock, so that of two
    different keys that come at once only the first is accepted. Raises Unreachable
    (``host_key_changed``, ``host_key_revoked``; ``local_io_error`` where it cannot be written, or
    locked within 10 s or until ``cancelled``).
    """
    name = expand_home(os.fspath(path))
    try:
        make_private(os.path.dirname(name))
        descriptor = filelock.open_locked(name, cancelled=cancelled)
        try:
            _append(name, descriptor, (host, port, key_type, blob), hash_names)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise Unreachable(
            "local_io_error",
            f"cannot remember the host key of {host_name(host, port)} in {name}: {error.strerror}",
            file=name,
        ) from None


def _append(
    path: str, descriptor: int, entry: tuple[str, int, str, bytes], hash_names: bool
) -> None:
    known = KnownHosts.load([path])
    try:
        known.check(*entry)
        return
    except Unreachable as error:
        if error.reason != "host_key_unknown":
            raise
    host, port, key_type, blob = entry
    name = _encoded_name(host, port)
    if hash_names:
        salt = secrets.token_bytes(SALT_BYTES)
        name = b"|1|%s|%s" % (
            base64.b64encode(salt),
            base64.b64encode(hmac.digest(salt, name, "sha1")),
        )
    line = b"%s %s %s" % (name, key_type.encode("ascii"), base64.b64encode(blob))
    before = os.fstat(descriptor)
    torn = before.st_size > 0 and os.pread(descriptor, 1, before.st_size - 1) != b"\n"
    text = b"\n" * torn + line + b"\n"
    filelock.append(descriptor, text)
    after = os.fstat(descriptor)
    if after.st_size == before.st_size + len(text):  # ssh itself writes without the lock
        note_added(path, before, after, line)
