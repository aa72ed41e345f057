"""What single settings of ssh_config come to for one host, together with the inventory's."""

from __future__ import annotations

import functools
import hashlib
import os
import re
import socket
from collections.abc import Callable, Mapping

from lmm.errors import RequestError
from lmm.model import SshSettings
from lmm.ssh.configfile import FoundSettings, local_user
from lmm.ssh.configlines import Setting
from lmm.ssh.home import expand_home, home

CONNECT_TIMEOUT_S = 10.0
DEFAULT_IDENTITIES = ("~/.ssh/id_ed25519", "~/.ssh/id_ecdsa", "~/.ssh/id_rsa")
USER_KNOWN_HOSTS = ("~/.ssh/known_hosts", "~/.ssh/known_hosts2")
GLOBAL_KNOWN_HOSTS = ("/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2")
HOST_KEY_POLICIES = ("strict", "accept-new")
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}

_TOKEN = re.compile(r"%(.?)")
_TOKEN_OR_VARIABLE = re.compile(r"%(.?)|\$\{([^}]*)\}")

Tokens = Callable[[], Mapping[str, str]]  # made only for values that hold a %


@functools.cache
def _at_home(paths: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(expand_home(path) for path in paths)


def is_port(text: str) -> bool:
    """Whether the text is a port number."""
    return text.isascii() and text.isdigit() and 1 <= int(text) <= 65535


def port_number(text: str) -> int | None:
    """Return the port that a number or the name of a service is, None if it is none."""
    if is_port(text):
        return int(text)
    try:
        return socket.getservbyname(text, "tcp")
    except (OSError, UnicodeError, ValueError):
        return None


def port_of(found: FoundSettings) -> int | None:
    """Return Port, a number or the name of a service. Raises RequestError (``config_invalid``)."""
    setting = found.settings.get("port")
    if setting is None:
        return None
    port = port_number(setting.value)
    if port is None:
        raise setting.error(
            f"{setting.value!r} is no port: write 1 to 65535, or a service of /etc/services"
        )
    return port


def flag(found: FoundSettings, keyword: str) -> bool:
    """Return a setting of yes or no; no where it is missing."""
    return (found.value(keyword) or "no").lower() in ("yes", "true")


def connect_timeout(found: FoundSettings) -> float:
    """Return ConnectTimeout in seconds, else RUNE's default: ssh's own would wait for minutes."""
    setting = found.settings.get("connecttimeout")
    if setting is None or setting.value.lower() == "none":
        return CONNECT_TIMEOUT_S
    parts = re.findall(r"(\d+)([smhdw]?)", setting.value.lower())
    if not parts or "".join(n + unit for n, unit in parts) != setting.value.lower():
        raise setting.error(f"{setting.value!r} is no time: write 10, 90s or 1m30s")
    return float(sum(int(n) * _SECONDS[unit] for n, unit in parts)) or CONNECT_TIMEOUT_S


def host_key_policy(ssh: SshSettings, found: FoundSettings) -> str:
    """``ask`` is strict because nobody can be asked, ``no`` because it would trust anybody."""
    if ssh.host_key_policy is None:
        value = (found.value("stricthostkeychecking") or "ask").lower()
        return "accept-new" if value == "accept-new" else "strict"
    if ssh.host_key_policy not in HOST_KEY_POLICIES:
        raise RequestError(
            "inventory_invalid",
            f"{ssh.host_key_policy!r} is no host key policy: write strict or accept-new",
            field="ssh.host_key_policy",
        )
    return ssh.host_key_policy


def identities(
    ssh: SshSettings, found: FoundSettings, tokens: Tokens
) -> tuple[tuple[str, ...], bool]:
    """Return the key files that exist, and whether they are the default ones."""
    for path in ssh.identity_files:
        if not _key_exists(expand_home(path)):
            raise RequestError(
                "inventory_invalid", f"there is no key file {path}", field="ssh.identity_files"
            )
    lines = found.lists.get("identityfile", [])
    paths = [expand_home(path) for path in ssh.identity_files]
    paths += [_path_of(line, line.value, tokens) for line in lines if line.value.lower() != "none"]
    are_defaults = not ssh.identity_files and not lines
    if are_defaults:
        paths = list(_at_home(DEFAULT_IDENTITIES))
    return tuple(dict.fromkeys(path for path in paths if _key_exists(path))), are_defaults


def _key_exists(path: str) -> bool:
    return os.path.exists(path) or os.path.exists(f"{path}.pub")


def certificates(ssh: SshSettings, found: FoundSettings, tokens: Tokens) -> tuple[str, ...]:
    """Return the certificate files that exist, the inventory's first."""
    paths = [_path_of(line, line.value, tokens) for line in found.lists.get("certificatefile", [])]
    if ssh.certificate_file:
        path = expand_home(ssh.certificate_file)
        if not os.path.exists(path):
            raise RequestError(
                "inventory_invalid",
                f"there is no certificate file {ssh.certificate_file}",
                field="ssh.certificate_file",
            )
        paths.insert(0, path)
    return tuple(dict.fromkeys(path for path in paths if os.path.exists(path)))


def agent_socket(found: FoundSettings, tokens: Tokens) -> str | None:
    """Return the socket of the agent that IdentityAgent or SSH_AUTH_SOCK names."""
    setting = found.settings.get("identityagent")
    if setting is None or setting.value == "SSH_AUTH_SOCK":
        return os.environ.get("SSH_AUTH_SOCK") or None
    if setting.value.lower() == "none":
        return None
    if setting.value.startswith("$") and not setting.value.startswith("${"):
        return os.environ.get(setting.value[1:]) or None
    return _path_of(setting, setting.value, tokens)


def hosts_files(
    found: FoundSettings, keyword: str, default: tuple[str, ...], tokens: Tokens
) -> tuple[str, ...]:
    """Return a list of known_hosts files; they need not exist."""
    setting = found.settings.get(keyword)
    if setting is None:
        return _at_home(default)
    if [word.lower() for word in setting.words] == ["none"]:
        return ()
    return tuple(_path_of(setting, word, tokens) for word in setting.words)


def tokens_of(name: str, hostname: str, user: str, port: int, alias: str | None) -> dict[str, str]:
    """Return what the ``%`` tokens stand for (TOKENS in ssh_config(5))."""
    local = socket.gethostname()
    identity = f"{local}{hostname}{port}{user}".encode()
    return {
        "C": hashlib.sha1(identity, usedforsecurity=False).hexdigest(),
        "d": home(),
        "h": hostname,
        "i": str(os.getuid()),
        "k": alias or hostname,
        "L": local.partition(".")[0],
        "l": local,
        "n": name,
        "p": str(port),
        "r": user,
        "u": local_user(),
    }


def _path_of(setting: Setting, text: str, tokens: Tokens) -> str:
    """Expand ``~``, ``%`` tokens and ``${NAME}`` of a file name."""
    return expand_home(_expand(setting, text, tokens, _TOKEN_OR_VARIABLE))


def percent(setting: Setting | None, tokens: Tokens) -> str | None:
    """Return the value with its ``%`` tokens expanded. Raises RequestError for an unknown one."""
    return _expand(setting, setting.value, tokens, _TOKEN) if setting else None


def _expand(setting: Setting, text: str, tokens: Tokens, what: re.Pattern[str]) -> str:
    if "%" not in text and "$" not in text:
        return text
    known = {"%": "%", **tokens()}

    def meaning(match: re.Match[str]) -> str:
        if match[0].startswith("%"):
            if match[1] not in known:
                raise setting.error(f"unknown token %{match[1]}")
            return known[match[1]]
        value = os.environ.get(match[2])
        if value is None:
            raise setting.error(f"the environment variable {match[2]} is not set")
        return value

    return what.sub(meaning, text)
