"""The command line of ``ssh`` and the meaning of its messages; nothing here starts a process."""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Iterable, Sequence

from lmm.errors import GREETING, RequestError, Unreachable
from lmm.model import SshSettings, Target
from lmm.ssh.config import HostConfig

ALIVE_COUNT = 3
OUTPUT_CHARS = 2000  # what is kept of ssh's own words in an error

# Settings that RUNE depends on, and what to set instead.
_FIXED = {
    "batchmode": "ssh.password or ssh.passphrase",
    "clearallforwardings": "",
    "controlmaster": "",
    "controlpath": "",
    "controlpersist": "",
    "forkafterauthentication": "",
    "numberofpasswordprompts": "",
    "permitlocalcommand": "",
    "remotecommand": "",
    "requesttty": "",
    "sessiontype": "",
    "stdinnull": "",
    "stricthostkeychecking": "ssh.host_key_policy",
    "updatehostkeys": "",
    "userknownhostsfile": "ssh.known_hosts",
}


def ssh_argv(
    target: Target,
    config: HostConfig,
    *,
    shell_command: str,
    control_path: str | None = None,
    proxy_log: str | None = None,
) -> list[str]:
    """Return the command that logs in and runs ``shell_command`` on the target.

    ``config`` is what ``lmm.ssh.config.resolve`` says of the target: ssh reads its own
    configuration, so only what the inventory sets, or what RUNE must know, is handed over. With a
    ``control_path`` the connection is kept there by a master, for ``ssh.persist_s`` after its
    last session. What the jump hosts' ssh says goes to the file ``proxy_log``, because ssh
    throws away what a master's proxy says. Raises RequestError (``inventory_invalid``) for an
    option that RUNE cannot leave to others.
    """
    ssh = target.ssh
    words = ["ssh", "-T"]
    words += _options(
        BatchMode="no" if ssh.password or ssh.passphrase else "yes",
        NumberOfPasswordPrompts="1",
        StrictHostKeyChecking=_strictness(config),
        UpdateHostKeys="no",
        ClearAllForwardings="yes",
        PermitLocalCommand="no",
        RemoteCommand="none",
        ControlMaster="yes" if control_path else "no",  # who shares one asks its master himself
        ControlPath=_quoted(control_path) if control_path else "none",
        ControlPersist=str(max(1, round(ssh.persist_s))) if control_path else "no",
    )
    if ssh.passphrase and not ssh.password:
        words += _options(PasswordAuthentication="no", KbdInteractiveAuthentication="no")
    words += _extra(ssh)
    words += _common(ssh, config, known_hosts=config.user_known_hosts if ssh.known_hosts else ())
    words += _options(LogLevel="INFO", ForwardAgent="no", ForwardX11="no")
    if ssh.proxy_jump is not None or config.jumps:
        words += _options(ProxyCommand=_proxy_command(ssh, config, proxy_log) or "none")
    if target.port is not None:
        words += ["-p", str(target.port)]
    if target.user is not None:
        words += ["-l", target.user]
    return [*words, "--", target.address, shell_command]


def _options(**options: str) -> list[str]:
    return [f"-o{name}={value}" for name, value in options.items()]


def _strictness(config: HostConfig) -> str:
    return "accept-new" if config.host_key_policy == "accept-new" else "yes"


def _quoted(path: str) -> str:
    """Return a file name as ssh_config reads it back: one word, no tokens."""
    escaped = path.replace("%", "%%").replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"' if re.search(r"[\s'\"#\\]", escaped) else escaped


def _extra(ssh: SshSettings) -> list[str]:
    for name, value in ssh.options.items():
        field = f"ssh.options.{name}"
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9]*", name) or re.search(r"[\n\r\0]", value):
            raise RequestError(
                "inventory_invalid",
                f"{name!r} is no option of ssh with a one-line value",
                field=field,
            )
        if name.lower() in _FIXED:
            instead = _FIXED[name.lower()]
            raise RequestError(
                "inventory_invalid",
                f"{name} is set by RUNE itself" + (f": use {instead}" if instead else ""),
                field=field,
            )
    return _options(**ssh.options)


def _common(ssh: SshSettings, config: HostConfig, known_hosts: Iterable[str]) -> list[str]:
    """Return what the inventory says of the target and of the jump hosts that it names."""
    words = [] if ssh.config_file is None else ["-F", ssh.config_file]
    words += _options(
        ConnectTimeout=str(max(1, round(config.connect_timeout_s))),
        ServerAliveInterval=str(max(1, round(config.keepalive_s)) if config.keepalive_s else 0),
        ServerAliveCountMax=str(ALIVE_COUNT),
    )
    known = " ".join(_quoted(path) for path in known_hosts)
    words += _options(UserKnownHostsFile=known) if known else []
    for path in ssh.identity_files:
        words += _options(IdentityFile=_quoted(path))
    if ssh.identity_files:
        words += _options(IdentitiesOnly="yes")
    if ssh.certificate_file:
        words += _options(CertificateFile=_quoted(ssh.certificate_file))
    if not ssh.use_agent:
        words += _options(IdentityAgent="none")
    return words


def _proxy_command(ssh: SshSettings, config: HostConfig, proxy_log: str | None) -> str:
    """Return the command that leads through the jump hosts ("" for none).

    Not ``-J``: that hands on none of the options, so that hosts which only the inventory names
    would be asked without its keys and known_hosts, and it may stop to ask for a password.
    """
    hops = {hop.name: hop for hop in config.proxy_jump}
    given = ssh if ssh.proxy_jump is not None else SshSettings(config_file=ssh.config_file)
    argv: list[str] = []
    for jump in config.jumps:
        hop = hops[jump.host]
        words = ["ssh", "-T"]
        words += _options(
            BatchMode="yes", StrictHostKeyChecking=_strictness(hop), UpdateHostKeys="no"
        )
        words += _options(ClearAllForwardings="yes", ControlMaster="no", ControlPath="none")
        words += _common(given, hop, hop.user_known_hosts if given.known_hosts else ())
        if argv:
            words += _options(ProxyCommand=shlex.join(argv))
        words += ["-p", str(jump.port)] if jump.port else []
        words += ["-l", jump.user] if jump.user else []
        # ssh expands the tokens of a ProxyCommand: only the address may hold some
        argv = [word.replace("%", "%%") for word in words]
        argv += ["-W", "[%h]:%p", "--", jump.host.replace("%", "%%")]
    if argv and proxy_log:
        log = proxy_log.replace("%", "%%")
        argv = ["/bin/sh", "-c", 'exec "$@" 2>"$0"', log, *argv]
    return shlex.join(argv)


# -- what ssh says -----------------------------------------------------------------------------

# reason and words of OpenSSH 8 to 10, the more telling ones first (sshconnect.c, packet.c, misc.c,
# clientloop.c, mux.c, kex.c, sshconnect2.c). tests/unit/mediation/test_openssh_messages.py has an
# example of each, most of them seen from a real ssh.
_ROWS: Sequence[tuple[str, str]] = (
    ("host_key_revoked", r"is marked as revoked|[Hh]ost key .* revoked"),
    ("host_key_changed", r"[Hh]ost key for .* has changed and you"),
    ("host_key_changed", r"REMOTE HOST IDENTIFICATION HAS CHANGED|POSSIBLE DNS SPOOFING"),
    (
        "host_key_unknown",
        r"No .* host key is known for|authenticity of host .* can't be established"
        r"|Host key verification failed|Certificate invalid:",
    ),
    (
        "key_exchange_failed",
        r"Unable to negotiate|no matching .* found|Protocol major versions differ"
        r"|banner line (contains invalid|too long)|: could not read protocol version"
        r"|Couldn't agree|[Ii]nvalid key length|[Bb]ad packet length|Corrupted MAC"
        r"|ssh_dispatch_run_fatal:.*(signature|invalid|libcrypto|unexpected|incorrect|format)",
    ),
    ("connect_timeout", r"connect to .*(Connection|Operation) timed out"),
    ("banner_timeout", r"during banner exchange|Connection to .* timed out"),
    ("connection_refused", r"connect to .*Connection refused"),
    (
        "no_route",
        r"connect to .*(No route to host|[Uu]nreachable|Host is down|Permission denied"
        r"|Operation not permitted|Cannot assign requested|Can't assign requested"
        r"|Address family not supported)",
    ),
    (
        "temporary_dns_failure",
        r"Could not resolve hostname .*(Temporary failure|Try again|temporar)",
    ),
    ("dns_failure", r"Could not resolve hostname"),
    (
        "key_unusable",
        r"(UNPROTECTED PRIVATE KEY FILE|Load key \".*)(?=(?s:.*)Permission denied \()",
    ),
    (
        "authentication_failed",
        r"Permission denied \(|Permission denied, please try|Too many authentication failures"
        r"|No more authentication methods|Authentication failed|Password change required"
        r"|[Pp]assword has expired|account .*(expired|not available)",
    ),
    (
        "channel_denied",
        r"open failed: |Session open refused|session request failed|request failed on channel",
    ),
    (
        "connection_reset",
        r"_exchange_identification: |Connection (closed|reset)|Connection to .* closed"
        r"|Broken pipe|Received disconnect|Disconnected from|Timeout, server ",
    ),
)
_THROUGH_PROXY = re.compile(r"UNKNOWN port 65535|stdio forwarding failed")
_OUTER = re.compile(
    r"UNKNOWN port 65535|stdio forwarding failed"
    r"|kex_exchange_identification: Connection closed by remote host"
)
# How a login ends that the host refuses after it has taken the key; what ssh itself may have said.
_CLOSED = re.compile(r"Connection closed by \S+ port \d+$")
_OWN = re.compile(r"[Ww]arning: |[a-z_]+: |Connection |Load key |Authenticat|Permanently|\*\* ")
_NO_KEY = re.compile(r"Permission denied \((?!.*publickey)")
_NO_GREETING = re.compile(r"_exchange_identification: ")
# What a failure on the way is called by its own name: a matter of trust, or worth another try.
_SAME_ON_THE_WAY = frozenset(
    {
        "host_key_revoked",
        "host_key_changed",
        "host_key_unknown",
        "key_unusable",
        "authentication_failed",
        "connection_reset",
        "temporary_dns_failure",
    }
)
_REMEDIES = {
    "host_key_unknown": "to trust it, log in once with ssh and compare the fingerprint,"
    " or set ssh.host_key_policy: accept-new",
    "host_key_changed": "somebody may be listening in; if the host was set up anew, remove the old"
    " key with ssh-keygen -R and add the new one",
}
_DETAILS = re.compile(
    r"^(Offending .*|The fingerprint .*|SHA256:\S+|Certificate invalid:.*)$", re.M
)
_LOST = re.compile(
    r"client_loop: |Connection to .* closed|Timeout, server |Read from remote host"
    r"|Connection (closed|reset) by|Received disconnect|Disconnected from"
    r"|mux_client_|[Mm]aster|Broken pipe|packet_write"
)


def classify(stderr: str, exit_status: int | None) -> Unreachable:
    """Return what an ``ssh`` that ended before the script was sent has to say for itself."""
    text = _printable(stderr)
    lines = text.splitlines()
    through_proxy = bool(_THROUGH_PROXY.search(text))
    if through_proxy:
        lines = [line for line in lines if not _OUTER.search(line)]
    reason, message = _reason("\n".join(lines))
    if through_proxy and reason not in _SAME_ON_THE_WAY:
        reason = "proxy_failed"
        message = message or "the jump host or proxy command hung up"
    elif not message:
        how = "" if exit_status is None else f" with status {exit_status}"
        message = f"ssh ended{how} without a message"
    if reason == "host_key_changed":
        message = "; ".join([message, *_DETAILS.findall(text)])
    if reason == "connection_reset" and (said := _said_before(lines)):
        # a host that says something in the login and hangs up refuses it
        reason, message = "authentication_failed", said
    if reason == "authentication_failed" and _NO_KEY.search(message):
        message = f"{message.rstrip('.')}; a key alone does not do there: check ssh.password"
    if reason in _REMEDIES:
        message = f"{message.rstrip('.')}; {_REMEDIES[reason]}"
    data = GREETING if reason == "connection_reset" and _NO_GREETING.search(message) else {}
    return Unreachable(
        reason, message, ssh_output=text[-OUTPUT_CHARS:], exit_status=exit_status, **data
    )


def _said_before(lines: Sequence[str]) -> str:
    """Return the host's last line before the one that ends the login, "" if there is none."""
    for before, line in itertools.pairwise(lines):
        if _CLOSED.match(line) and re.search(r"\w", before) and not _OWN.match(before):
            return before
    return ""


def _reason(text: str) -> tuple[str, str]:
    """Return the reason and the line that tells it."""
    for reason, pattern in _ROWS:  # compiled at the first failure, then kept by re
        found = re.search(pattern, text)
        if found:
            return reason, _line_at(text, found.start()).strip("@ ")
    lines = text.splitlines()
    return "ssh_client_failed", lines[-1] if lines else ""


def _line_at(text: str, at: int) -> str:
    begin = text.rfind("\n", 0, at) + 1
    end = text.find("\n", at)
    return text[begin : end if end >= 0 else len(text)]


def lost_reason(stderr: str) -> str:
    """Return ssh's last words about a connection that went away ("" if there are none).

    The plugin's own lines stand among them, so only what ssh itself says is taken.
    """
    lines = [line for line in _printable(stderr).splitlines() if _LOST.match(line)]
    return lines[-1][:200] if lines else ""


def _printable(text: str) -> str:
    lines = (re.sub(r"[^\t\x20-\x7e\x80-\U0010ffff]", "", line) for line in text.splitlines())
    return "\n".join(line.rstrip() for line in lines if line.strip())
