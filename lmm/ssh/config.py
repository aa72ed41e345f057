"""What holds for one host over SSH: the inventory's settings, then ssh_config, then defaults.

Reading ssh_config files is done in ``configfile``; nothing here connects.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from lmm.errors import RequestError
from lmm.model import SecretRef, SshSettings, Target
from lmm.regular import read_regular
from lmm.ssh.configfile import Config, load, local_user
from lmm.ssh.home import expand_home
from lmm.ssh.known_hosts import DEFAULT_PORT
from lmm.ssh.settings import (
    GLOBAL_KNOWN_HOSTS,
    USER_KNOWN_HOSTS,
    agent_socket,
    certificates,
    connect_timeout,
    flag,
    host_key_policy,
    hosts_files,
    identities,
    percent,
    port_number,
    port_of,
    tokens_of,
)

# As valid_hostname and valid_ruser of OpenSSH 9.6 (CVE-2023-51385): names end up in the shell
# commands of ProxyCommand and on the command line of ssh.
_BAD_HOST = re.compile(r"^-|['`\"$\\;&<>|(){},@/\s\x00-\x1f\x7f]|^$")
_BAD_USER = re.compile(r"^-|['`\"$;&<>|(){}\x00-\x1f\x7f]|\\$|\s-|^$")
MOST_HOPS = 16  # on the way to one host; a name that grows with each hop would never end
_BRACKETED = re.compile(r"\[(?P<host>[^]]+)\](?::(?P<port>\d+))?")


@dataclass(frozen=True, slots=True)
class Jump:
    """One hop of a ProxyJump: ``[user@]host[:port]``."""

    host: str
    user: str | None = None
    port: int | None = None


@dataclass(frozen=True, slots=True)
class HostConfig:
    """All that is needed to connect to one host; durations in seconds.

    ``identity_files`` may hold a name of which only ``NAME.pub`` exists (its private half is in
    the agent). ``proxy_jump`` is the whole chain, the first hop first; those have none of their
    own. ``jumps`` are the hops that were asked for, before each was looked up. ``identity_agent``
    is a socket, ``None`` for no agent.
    """

    name: str
    hostname: str
    port: int
    user: str
    identity_files: tuple[str, ...]
    identities_are_defaults: bool
    identities_only: bool
    certificate_files: tuple[str, ...]
    identity_agent: str | None
    user_known_hosts: tuple[str, ...]
    global_known_hosts: tuple[str, ...]
    hash_known_hosts: bool
    host_key_policy: str
    host_key_alias: str | None
    proxy_jump: tuple[HostConfig, ...]
    jumps: tuple[Jump, ...]
    proxy_command: str | None
    connect_timeout_s: float
    banner_timeout_s: float
    auth_timeout_s: float
    keepalive_s: float
    password: SecretRef | None
    passphrase: SecretRef | None

    @property
    def use_agent(self) -> bool:
        return self.identity_agent is not None

    @property
    def known_hosts(self) -> tuple[str, ...]:
        return self.user_known_hosts + self.global_known_hosts

    @property
    def key_host(self) -> str:
        """The host's name in known_hosts."""
        return self.host_key_alias or self.hostname

    @property
    def key_port(self) -> int:
        """The port that stands beside it there: an alias has none."""
        return DEFAULT_PORT if self.host_key_alias else self.port


def resolve(target: Target) -> HostConfig:
    """Return what holds for the target; its address is looked up in ssh_config as ssh would.

    Raises RequestError (``config_invalid``, ``inventory_invalid``) for settings that cannot hold.
    """
    ssh = target.ssh
    return _resolve(
        Jump(target.address, target.user, target.port), ssh, load(ssh.config_file), ssh.proxy_jump
    )


def needs_openssh(target: Target) -> str | None:
    """Return why only the ``openssh`` transport does all that ssh_config says, ``None`` if not."""
    found = load(target.ssh.config_file).lookup(target.address, target.user)
    for line in found.unsupported:
        return f"{line.place} has a condition that only ssh can judge: Match {' '.join(line.words)}"
    for keyword, setting in found.settings.items():
        harmless = _ONLY_OPENSSH.get(keyword)
        if harmless is None or setting.value.lower() in harmless:
            continue
        if setting.is_users or keyword not in _SYSTEM_MAY:
            return f"{setting.place} sets {keyword} {setting.value}"
    config = resolve(target)
    for path in config.identity_files:
        if not config.identities_are_defaults and _is_fido(path):
            return f"{path} is a key on a FIDO token"
    return None


# Settings that the ssh transport passes over, and their values for which that does not matter.
_ONLY_OPENSSH: Mapping[str, tuple[str, ...]] = {
    "addressfamily": ("any",),
    "bindaddress": (),
    "bindinterface": (),
    "canonicalizehostname": ("no",),
    "casignaturealgorithms": (),
    "ciphers": (),
    "gssapiauthentication": ("no",),
    "hostbasedauthentication": ("no",),
    "hostkeyalgorithms": (),
    "kexalgorithms": (),
    "knownhostscommand": ("none", ""),
    "macs": (),
    "pkcs11provider": ("none",),
    "proxyusefdpass": ("no",),
    "pubkeyacceptedalgorithms": (),
    "revokedhostkeys": ("none",),
    "securitykeyprovider": ("internal",),
    "verifyhostkeydns": ("no",),
}
# What distributions set for everybody is no wish of this user.
_SYSTEM_MAY = frozenset(
    {
        "casignaturealgorithms",
        "ciphers",
        "gssapiauthentication",
        "hostkeyalgorithms",
        "kexalgorithms",
        "macs",
        "pubkeyacceptedalgorithms",
    }
)


def _is_fido(path: str) -> bool:
    try:
        return read_regular(f"{path}.pub").startswith(b"sk-")
    except OSError:
        return False


# -- one host ----------------------------------------------------------------------------------


def _resolve(
    jump: Jump,
    ssh: SshSettings,
    config: Config,
    proxy_jump: str | None,
    way: tuple[Jump, ...] = (),
) -> HostConfig:
    """Resolve a host; ``way`` are the hosts that are to be reached through it."""
    found = config.lookup(jump.host, jump.user)
    user = jump.user or found.value("user") or local_user()
    port = jump.port or port_of(found) or DEFAULT_PORT
    hostname = percent(found.settings.get("hostname"), lambda: {"h": jump.host}) or jump.host
    hostname = hostname.lower()
    _check_words(jump.host, hostname, user)
    alias = (found.value("hostkeyalias") or "").lower() or None
    tokens = functools.partial(tokens_of, jump.host, hostname, user, port, alias)
    here = Jump(hostname, user, port)
    if here in way:
        raise RequestError(
            "config_invalid",
            f"the way to {way[0].host} goes round in circles: {hostname}:{port} is a jump host"
            " for itself; set `ProxyJump none` for it",
            field="ssh.proxy_jump",
        )
    if len(way) > MOST_HOPS:
        line = found.settings.get("proxyjump")
        raise RequestError(
            "config_invalid",
            f"{f'{line.place}: ' if line else ''}the way to {way[0].host} has more than {MOST_HOPS}"
            f" jump hosts, the last of them {hostname[:80]}; set `ProxyJump none` for the first",
            field="ssh.proxy_jump",
        )
    jumps: tuple[Jump, ...] = ()
    proxy_command = None
    for_hops = ssh
    if proxy_jump is not None:
        jumps = parse_jumps(proxy_jump)
    elif jumps := parse_jumps(percent(found.settings.get("proxyjump"), tokens) or "none"):
        for_hops = SshSettings(  # the inventory speaks of the target, not of these hosts
            config_file=ssh.config_file,
            connect_timeout_s=ssh.connect_timeout_s,
            banner_timeout_s=ssh.banner_timeout_s,
            auth_timeout_s=ssh.auth_timeout_s,
            keepalive_s=ssh.keepalive_s,
        )
    else:
        proxy_command = percent(found.settings.get("proxycommand"), tokens)
        proxy_command = None if (proxy_command or "none").lower() == "none" else proxy_command
    keys, are_defaults = identities(ssh, found, tokens)
    users_hosts = hosts_files(found, "userknownhostsfile", USER_KNOWN_HOSTS, tokens)
    if ssh.known_hosts:
        given = tuple(expand_home(path) for path in ssh.known_hosts)
        users_hosts = given + users_hosts if way else given
    return HostConfig(
        name=jump.host,
        hostname=hostname,
        port=port,
        user=user,
        identity_files=keys,
        identities_are_defaults=are_defaults,
        identities_only=bool(ssh.identity_files) or flag(found, "identitiesonly"),
        certificate_files=certificates(ssh, found, tokens),
        identity_agent=agent_socket(found, tokens) if ssh.use_agent else None,
        user_known_hosts=users_hosts,
        global_known_hosts=hosts_files(found, "globalknownhostsfile", GLOBAL_KNOWN_HOSTS, tokens),
        hash_known_hosts=flag(found, "hashknownhosts"),
        host_key_policy=host_key_policy(ssh, found),
        host_key_alias=alias,
        proxy_jump=_hops(jumps, for_hops, config, (*way, here)) if jumps else (),
        jumps=jumps,
        proxy_command=proxy_command,
        connect_timeout_s=ssh.connect_timeout_s or connect_timeout(found),
        banner_timeout_s=ssh.banner_timeout_s,
        auth_timeout_s=ssh.auth_timeout_s,
        keepalive_s=ssh.keepalive_s,
        password=None if way else ssh.password,  # no host on the way may see it
        passphrase=ssh.passphrase,
    )


def _hops(
    jumps: tuple[Jump, ...], ssh: SshSettings, config: Config, way: tuple[Jump, ...]
) -> tuple[HostConfig, ...]:
    """Resolve a ProxyJump list. What leads to its first hop is that hop's own affair."""
    hops: tuple[HostConfig, ...] = ()
    for number, jump in enumerate(jumps):
        hop = _resolve(jump, ssh, config, None if number == 0 else "none", way)
        alone = replace(hop, proxy_jump=(), jumps=()) if hop.proxy_jump else hop
        hops = (*hops, *hop.proxy_jump, alone)
    return hops


def parse_jumps(spec: str) -> tuple[Jump, ...]:
    """Parse ``[user@]host[:port]`` or ``ssh://…``, comma separated; ``none`` is no hop.

    Raises RequestError (``config_invalid``).
    """
    words = () if spec.lower() == "none" else spec.split(",")
    if len(words) > MOST_HOPS:
        raise RequestError(
            "config_invalid",
            f"{len(words)} jump hosts are too many: name at most {MOST_HOPS}",
            field="ssh.proxy_jump",
        )
    return tuple(_parse_jump(word) for word in words)


def _parse_jump(word: str) -> Jump:
    text = word.strip()
    user, at, rest = text.removeprefix("ssh://").rstrip("/").rpartition("@")
    bracketed = _BRACKETED.fullmatch(rest)
    if bracketed:
        host, port = bracketed["host"], bracketed["port"]
    elif rest.count(":") == 1:
        host, _, port = rest.partition(":")
    else:
        host, port = rest, None
    number = None if port is None else port_number(port)
    if not host or "[" in host or (at and not user) or (port is not None and number is None):
        raise RequestError(
            "config_invalid",
            f"{word!r} is no jump host: write [user@]host[:port]",
            field="ssh.proxy_jump",
        )
    return Jump(host, user or None, number)


def _check_words(*words: str) -> None:
    *hosts, user = words
    for kind, pattern, values in (("host", _BAD_HOST, hosts), ("user", _BAD_USER, [user])):
        for value in values:
            if pattern.search(value):
                raise RequestError(
                    "inventory_invalid",
                    f"{value!r} cannot be the name of a {kind}: it holds signs that a shell or"
                    " ssh would take for something else",
                    field=kind,
                )
