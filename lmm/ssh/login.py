"""Logs in over a connection whose host is known, and says what the host made of it."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Sequence

from lmm.errors import RuneError, Unreachable
from lmm.redact import Redactor, resolved
from lmm.shortage import wanting
from lmm.ssh.agent import OnCancel
from lmm.ssh.config import HostConfig
from lmm.ssh.keys import Credentials
from lmm.ssh.library import paramiko

WORDS_CHARS = 200  # of what the host says, in a message
BANNER_CHARS = 4000  # of the same, in an error's data


def fail(reason: str, config: HostConfig, message: str, **data: str) -> Unreachable:
    """Return the error, naming the host."""
    return Unreachable(reason, message, host=config.hostname, port=config.port, **data)


def dropped(config: HostConfig, error: BaseException, **data: str) -> Unreachable:
    """Return the error of a host that hung up."""
    why = str(error) or type(error).__name__
    why = re.sub(r"(?<=protocol banner)(?=\w)", ": ", why)  # paramiko adds the cause as it is
    return fail(
        "connection_reset", config, f"{config.hostname} closed the connection: {why}", **data
    )


def authenticate(
    config: HostConfig,
    transport: paramiko.Transport,
    credentials: Credentials,
    on_cancel: OnCancel,
) -> None:
    """Try keys, then the password, as the server allows. Raises Unreachable, saying what was
    tried, what the host accepted and what it still asks for."""
    user = config.user
    tried: list[str] = []
    accepted: list[str] = []
    wanted: list[str] = []  # after what was accepted
    unusable: RuneError | None = None
    try:
        with contextlib.closing(credentials.offers(config, on_cancel)) as offers:
            try:
                for source, key in offers:
                    tried.append(source)
                    more = _prove(transport, lambda k=key: transport.auth_publickey(user, k))  # type: ignore[misc]
                    if more is None:
                        continue
                    if not more:
                        return
                    accepted.append(source)
                    wanted = more
                    if "publickey" not in more:
                        break
            except Unreachable as error:  # a key that cannot be used; the password may still do
                unusable = error
        if config.password is not None:
            tried.append("password")
            secret = config.password.line()
            more = _prove(transport, lambda: transport.auth_password(user, secret))
            if more is not None:
                if not more:
                    return
                accepted.append("password")
                wanted = more
    except paramiko.BadAuthenticationType as error:
        tried.append(f"the server takes {', '.join(error.allowed_types)}")
    except (OSError, EOFError) as error:
        if wanting(error):
            raise
        raise _hung_up(config, transport, error) from None
    except paramiko.SSHException as error:
        if "imeout" in str(error):
            message = (
                f"{config.hostname} did not finish authentication in {config.auth_timeout_s:g} s"
            )
            raise fail("auth_timeout", config, message) from None
        if not transport.is_active() and "too many" not in str(error).lower():
            raise _hung_up(config, transport, error) from None
        tried.append(str(error))
    if unusable and not accepted:
        raise unusable
    if accepted:
        words = _asks_for_more(config, accepted, wanted)
    else:
        words = (
            f"{config.hostname} accepted no credentials of {user}"
            f" (tried: {', '.join(tried) or 'none: there is no key, agent or password'})"
        )
    said = _banner(config, transport)
    if said:
        words += f"; it said: {_telling(said)}"
    raise fail("authentication_failed", config, words, **({"server_said": said} if said else {}))


def _prove(transport: paramiko.Transport, attempt: Callable[[], list[str]]) -> list[str] | None:
    """Return what the host asks for besides, ``[]`` where it let us in, ``None`` if it refused."""
    try:
        return attempt()
    except paramiko.BadAuthenticationType:
        return None
    except paramiko.AuthenticationException as error:
        if "imeout" in str(error) or not transport.is_active():
            raise
        return None


def _asks_for_more(config: HostConfig, accepted: Sequence[str], wanted: Sequence[str]) -> str:
    """Say which factor is missing, and where to give it."""
    remedy = "only a person can answer that"
    if "password" in accepted:
        pass
    elif {"password", "keyboard-interactive"} & set(wanted):
        is_given = config.password is not None
        remedy = "it refused ssh.password" if is_given else "give ssh.password"
    elif "publickey" in wanted:
        remedy = "give one more key in ssh.identity_files"
    return (
        f"{config.hostname} accepted {' and '.join(accepted)} of {config.user} and asks for"
        f" {' or '.join(wanted)} as well; {remedy}"
    )


def _hung_up(
    config: HostConfig, transport: paramiko.Transport, error: BaseException
) -> Unreachable:
    """A host that says something and hangs up refuses the login, as for an expired account."""
    said = _banner(config, transport)
    if not said:
        return dropped(config, error)
    words = f"{config.hostname} refused the login of {config.user}: {_telling(said)}"
    return fail("authentication_failed", config, words, server_said=said)


def _banner(config: HostConfig, transport: paramiko.Transport) -> str:
    """Return what the host has said during the login, printable and without what it was given,
    "" for nothing."""
    # not get_banner(), which forgets it when the host hangs up
    data = getattr(transport.auth_handler, "banner", None) or b""
    text = data.decode("utf-8", "replace") if isinstance(data, bytes) else data
    given = (config.password, config.passphrase)
    text = Redactor(resolved(one for one in given if one is not None)).text(text)
    return re.sub(r"[^\t\n\x20-\x7e\x80-\U0010ffff]|[\x80-\x9f]", "", text).strip()[-BANNER_CHARS:]


def _telling(text: str) -> str:
    """Return the last line with a word in it."""
    lines = [line.strip() for line in text.splitlines() if re.search(r"\w", line)]
    return (lines or [text])[-1][:WORDS_CHARS]
