"""A real OpenSSH server on the loopback addresses of this machine, with keys and files of its own.

What belongs here: starting, configuring and removing that server. Nothing here reads the user's
keys, configuration or known_hosts.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import random
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from lmm.errors import RequestError
from lmm.model import SshSettings, Target
from lmm.testing import processes

MARK = "RUNE_TESTING_SSHD"
# OpenSSH listens on at most MAX_LISTEN_SOCKS sockets (sshd.c).
MAX_LISTEN_SOCKS = 16
# Below the range from which Linux takes ports for outgoing connections (32768 and up).
PORTS = range(20000, 32000)
PLACES = "/usr/sbin:/usr/local/sbin"  # where sshd is, and an ordinary user's PATH may not go


def loopback(count: int) -> tuple[str, ...]:
    """Return ``count`` different loopback addresses from 127.0.1.1 on."""
    return tuple(f"127.0.{1 + i // 250}.{1 + i % 250}" for i in range(count))


class Sshd:
    """A private sshd; use it as a context manager.

    It listens on ``addresses``. sshd has room for 16 listening sockets, so for more addresses it
    listens on all of this machine's; in every case only clients from 127.0.0.0/8 may log in, with
    the key made for this server. As root any account can log in (with that key or its own
    ``~/.ssh/authorized_keys``), as another user only that user. ``max_startups`` and
    ``max_sessions`` ``None`` are OpenSSH's own defaults. ``environment`` is set in every session.
    ``config`` holds further sshd_config lines; they win over ours, ``Match`` blocks come last.

    Every process of every session carries the variable RUNE_TESTING_SSHD with ``mark`` in its
    environment, and is killed on exit. Raises RequestError (``local_dependency_missing``,
    ``local_io_error``) where sshd is missing or does not start.
    """

    def __init__(
        self,
        *,
        addresses: Sequence[str] = ("127.0.0.1",),
        max_startups: str | None = "1000",
        max_sessions: int | None = None,
        environment: Mapping[str, str] | None = None,
        config: Sequence[str] = (),
    ) -> None:
        self.addresses = tuple(addresses)
        self.mark = secrets.token_hex(8)
        self.user = pwd.getpwuid(os.getuid()).pw_name
        self.port = 0
        self._max_startups = max_startups
        self._max_sessions = max_sessions
        self._environment = {MARK: self.mark, **(environment or {})}
        self._config = tuple(config)
        self._process: subprocess.Popen[bytes] | None = None
        self._directory: Path | None = None

    @property
    def directory(self) -> Path:
        """The private directory that holds everything of this server."""
        if self._directory is None:
            raise RequestError("local_io_error", "the sshd is not running: use it with `with`")
        return self._directory

    @property
    def pid(self) -> int:
        """The process id of the listening sshd."""
        assert self._process is not None
        return self._process.pid

    @property
    def identity_file(self) -> Path:
        """The private key that may log in."""
        return self.directory / "user_key"

    @property
    def public_key(self) -> str:
        """The public key line of ``identity_file``."""
        return (self.directory / "user_key.pub").read_text(encoding="ascii").strip()

    @property
    def host_key(self) -> str:
        """The server's public key, as ``ssh-ed25519 AAAA…``."""
        text = (self.directory / "host_key.pub").read_text(encoding="ascii")
        return " ".join(text.split()[:2])

    @property
    def known_hosts(self) -> Path:
        """A known_hosts file with the host key, for every loopback address and ``localhost``."""
        return self.directory / "known_hosts"

    @property
    def home(self) -> Path:
        """The home, at first empty, of who logs in as ``user``: nobody's own profile is run."""
        return self.directory / "home"

    @property
    def ssh_config(self) -> Path:
        """An empty ssh_config, so that no client reads the user's."""
        return self.directory / "ssh_config"

    @property
    def log(self) -> str:
        """What sshd has logged so far."""
        return (self.directory / "log").read_text(encoding="utf-8", errors="replace")

    def __enter__(self) -> Self:
        try:
            self._prepare()
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def session_pids(self) -> set[int]:
        """Return every process of every session, also those that left the server's tree."""
        found = processes.marked({MARK: self.mark})
        return found | processes.descendants(self.pid) if self._process else found

    def stop(self) -> None:
        """End the server and every process of its sessions and remove its files."""
        if self._process is not None:
            self._process.send_signal(signal.SIGSTOP)  # no connection may start meanwhile
            processes.end(self.session_pids())
            self._process.kill()
            self._process.wait()
            self._process = None
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)
            self._directory = None

    def target(
        self,
        name: str,
        address: str | None = None,
        *,
        settings: Mapping[str, Any] | None = None,
        **fields: Any,
    ) -> Target:
        """Return a Target for this server, trusted and with a key that logs in.

        ``address`` defaults to the first address; ``settings`` replace fields of its SshSettings,
        ``fields`` those of the Target (``user``, ``become``, ``vars``, ``transport``, …).
        """
        ssh = SshSettings(
            identity_files=(str(self.identity_file),),
            known_hosts=(str(self.known_hosts),),
            config_file=str(self.ssh_config),
            use_agent=False,
        )
        wired: dict[str, Any] = {
            "host": address or self.addresses[0],
            "port": self.port,
            "user": self.user,
            "ssh": replace(ssh, **(settings or {})),
        }
        return Target(name=name, **(wired | fields))

    def targets(self, count: int, prefix: str = "node") -> list[Target]:
        """Return ``count`` targets ``node001``, …, over this server's addresses in turn."""
        return [
            self.target(f"{prefix}{i + 1:03}", self.addresses[i % len(self.addresses)])
            for i in range(count)
        ]

    def inventory(self, count: int, *, user: str | None = None, prefix: str = "node") -> str:
        """Return an inventory (YAML) with the targets of ``targets(count)`` in group ``nodes``."""
        lines = [
            "defaults:",
            "  transport: ssh",
            f"  user: {user or self.user}",
            f"  port: {self.port}",
            "  ssh:",
            f"    identity_files: [{self.identity_file}]",
            f"    known_hosts: [{self.known_hosts}]",
            f"    config_file: {self.ssh_config}",
            "    use_agent: false",
            "targets:",
        ]
        targets = self.targets(count, prefix)
        lines += [f"  {target.name}: {{host: {target.host}}}" for target in targets]
        lines += ["groups:", "  nodes:", "    targets:"]
        lines += [f"      - {target.name}" for target in targets]
        return "\n".join(lines) + "\n"

    def _prepare(self) -> None:
        programs = {"sshd": _program("sshd"), "ssh-keygen": _program("ssh-keygen")}
        self._directory = directory = Path(tempfile.mkdtemp(prefix="rune-sshd-"))
        if os.getuid() == 0:
            # sshd reads authorized_keys as the account that logs in.
            directory.chmod(0o711)
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # its privilege separation
        for name in ("host_key", "user_key"):
            keygen = [programs["ssh-keygen"], "-q", "-t", "ed25519", "-N", "", "-C", "rune-testing"]
            _check([*keygen, "-f", str(directory / name)])
        (directory / "authorized_keys").write_text(self.public_key + "\n", encoding="ascii")
        self.ssh_config.write_text("", encoding="ascii")
        self.home.mkdir(mode=0o700)
        self._sshd = programs["sshd"]

    def _sshd_config(self) -> str:
        directory = self.directory
        many = len(self.addresses) > MAX_LISTEN_SOCKS
        words = [line.split()[0].lower() if line.split() else "" for line in self._config]
        match = words.index("match") if "match" in words else len(words)
        lines = [
            *self._config[:match],
            f"Port {self.port}",
            *(f"ListenAddress {address}" for address in (("0.0.0.0",) if many else self.addresses)),
            f"HostKey {directory}/host_key",
            f"PidFile {directory}/pid",
            f"AuthorizedKeysFile {directory}/authorized_keys .ssh/authorized_keys",
            "AllowUsers *@127.0.0.0/8",
            "PermitRootLogin prohibit-password",
            "UsePAM no",
            "StrictModes no",
            "UseDNS no",
            "PrintMotd no",
            "PrintLastLog no",
            "X11Forwarding no",
            "LogLevel VERBOSE",
            "Subsystem sftp internal-sftp",
            _set_env(self._environment),
        ]
        if self._max_startups is not None:
            lines.append(f"MaxStartups {self._max_startups}")
        if self._max_sessions is not None:
            lines.append(f"MaxSessions {self._max_sessions}")
        lines += self._config[match:]
        lines += [f"Match User {self.user}", _set_env({**self._environment, "HOME": self.home})]
        return "\n".join(lines) + "\n"

    def _start(self) -> None:
        for _ in range(5):
            self.port = _free_port(self.addresses)
            if self._listen():
                pattern = (
                    "localhost,127.*"
                    if self.port == 22
                    else (f"[localhost]:{self.port},[127.*]:{self.port}")
                )
                self.known_hosts.write_text(f"{pattern} {self.host_key}\n", encoding="ascii")
                return
        raise RequestError(
            "local_io_error", f"sshd found no free port; its log:\n{self.log[-800:]}"
        )

    def _listen(self) -> bool:
        config, log = self.directory / "sshd_config", self.directory / "log"
        config.write_text(self._sshd_config(), encoding="utf-8")
        with log.open("wb") as stream:
            self._process = subprocess.Popen(
                [self._sshd, "-D", "-e", "-f", str(config)],
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                start_new_session=True,
            )
        sockets = 1 if len(self.addresses) > MAX_LISTEN_SOCKS else len(self.addresses)
        until = time.monotonic() + 15
        while time.monotonic() < until:
            text = self.log
            if text.count("Server listening on ") >= sockets:
                return True
            if "Address already in use" in text:
                self._process.kill()
                self._process.wait()
                return False
            if self._process.poll() is not None:
                break
            time.sleep(0.005)
        raise RequestError("local_io_error", f"sshd did not start; its log:\n{self.log[-800:]}")


def _set_env(variables: Mapping[str, object]) -> str:
    return "SetEnv " + " ".join(f'"{name}={value}"' for name, value in variables.items())


def _program(name: str) -> str:
    path = shutil.which(name, path=os.environ.get("PATH", os.defpath) + ":" + PLACES)
    if path is None:
        raise RequestError(
            "local_dependency_missing",
            f"{name} is not installed here; install OpenSSH's server and client"
            " (Debian: apt-get install openssh-server openssh-client)",
            program=name,
        )
    return path


def _check(argv: Sequence[str]) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        words = (done.stderr or done.stdout).strip()
        raise RequestError("local_io_error", f"{argv[0]} failed ({done.returncode}): {words}")


def _free_port(addresses: Sequence[str]) -> int:
    many = len(addresses) > MAX_LISTEN_SOCKS
    wanted = ("0.0.0.0",) if many else tuple(addresses)
    for port in random.sample(PORTS, 50):
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            for address in wanted:
                probe = stack.enter_context(socket.socket())
                probe.bind((address, port))
            return port
    raise RequestError("local_io_error", f"no free port for sshd on {', '.join(wanted[:3])}")
