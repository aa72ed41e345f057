"""ssh_config files: parsed once, asked for one host at a time, as ssh_config(5) describes them.

paramiko's own parser knows no Include, reads brackets in patterns, ends no line at a comment and
needs 230 ms to import, so this one is RUNE's. What the settings mean belongs to ``config``.
"""

from __future__ import annotations

import contextlib
import functools
import glob
import os
import pwd
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

from lmm.errors import RequestError
from lmm.regular import read_all
from lmm.shortage import check_descriptors, wanting
from lmm.ssh.configlines import (
    Block,
    Setting,
    block_of,
    invalid,
    match_criteria,
    parse_line,
    text_of,
)
from lmm.ssh.home import expand_home
from lmm.ssh.keywords import KEYWORDS, is_passed_over, nearest
from lmm.ssh.patterns import match_list, match_pattern

USER_FILE = "~/.ssh/config"
SYSTEM_FILE = "/etc/ssh/ssh_config"
MAX_DEPTH = 16  # READCONF_MAX_DEPTH of readconf.c
LISTS = frozenset({"identityfile", "certificatefile"})  # the others: the first one counts


@dataclass(slots=True)
class FoundSettings:
    """What the files say of one host; ``unsupported`` are Match lines that only ssh can judge."""

    settings: dict[str, Setting] = field(default_factory=dict)
    lists: dict[str, list[Setting]] = field(default_factory=dict)
    unsupported: list[Setting] = field(default_factory=list)
    wants_final: bool = False

    def value(self, keyword: str) -> str | None:
        setting = self.settings.get(keyword)
        return setting.value if setting else None


class Config:
    """One set of files, parsed."""

    def __init__(self, files: list[list[Block]]) -> None:
        self._files = files

    def lookup(self, host: str, user: str | None = None) -> FoundSettings:
        """Return what holds for ``host`` as the user named it, logging in as ``user``.

        Raises RequestError (``config_invalid``) for a line whose keyword ssh does not know.
        """
        question = _Question(host, host, user, FoundSettings())
        question.ask(self._files)
        if question.found.wants_final:  # once more, by the name that was found
            name = question.hostname().lower()
            question.host, question.final = name, True
            settled = Setting("hostname", (name.replace("%", "%%"),), "", 0, True)
            question.found.settings["hostname"] = settled
            question.ask(self._files)
        return question.found


@dataclass(slots=True)
class _Question:
    """What is asked of the files and the answer so far, which later Match lines look at."""

    host: str
    original: str
    user: str | None
    found: FoundSettings
    final: bool = False

    def ask(self, files: list[list[Block]]) -> None:
        for blocks in files:
            for block in blocks:
                condition = block.condition
                if condition is None or (
                    self._fits(condition)
                    if condition.keyword == "match"
                    else self.host in block.exact or _host_fits(self.host, block.patterns)
                ):
                    self._take(block)
                elif block.has_unknown:
                    self._check_keywords(block)

    def hostname(self) -> str:
        return (self.found.value("hostname") or "%h").replace("%h", self.original)

    def _take(self, block: Block) -> None:
        found = self.found
        for item in block.body:
            if isinstance(item, list):
                self.ask([item])
            elif item.keyword not in KEYWORDS:
                self._check_keyword(item)
            elif item.keyword in LISTS:
                values = found.lists.setdefault(item.keyword, [])
                if all(item.value != other.value for other in values):
                    values.append(item)
            elif item.keyword not in found.settings and not _is_shadowed(item, found):
                found.settings[item.keyword] = item

    def _check_keywords(self, block: Block) -> None:
        """Refuse unknown keywords also where they are for other hosts, as ssh does."""
        for item in block.body:
            if isinstance(item, list):
                for nested in item:
                    self._check_keywords(nested)
            elif item.keyword not in KEYWORDS:
                self._check_keyword(item)

    def _check_keyword(self, line: Setting) -> None:
        if not is_passed_over(line.keyword, self.found.value("ignoreunknown")):
            meant = nearest(line.keyword)
            hint = f"; did you mean {meant}?" if meant else ""
            raise line.error(
                f"ssh knows no such keyword, and no IgnoreUnknown before it names it{hint}"
            )

    def _fits(self, line: Setting) -> bool:
        for negated, attribute, argument in match_criteria(line):
            if attribute == "all":
                fits = True
            elif attribute in ("canonical", "final"):
                self.found.wants_final |= attribute == "final"
                fits = self.final
            elif attribute == "host":
                fits = match_list(self.hostname().lower(), argument.lower())
            elif attribute == "originalhost":
                fits = match_list(self.original.lower(), argument.lower())
            elif attribute == "user":
                user = self.user or self.found.value("user") or local_user()
                fits = match_list(user, argument)
            elif attribute == "localuser":
                fits = match_list(local_user(), argument)
            else:
                if line not in self.found.unsupported:
                    self.found.unsupported.append(line)
                return False
            if fits == negated:
                return False
        return True


@functools.cache
def local_user() -> str:
    """Return the name of the user who runs this process, as ssh knows it."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return os.environ.get("USER", str(os.getuid()))


def _host_fits(host: str, patterns: tuple[str, ...]) -> bool:
    found = False
    for pattern in patterns:
        if pattern.startswith("!"):
            if match_pattern(host, pattern[1:]):
                return False
        elif not found:
            found = match_pattern(host, pattern)
    return found


def _is_shadowed(item: Setting, found: FoundSettings) -> bool:
    """Of ProxyJump and ProxyCommand the first counts, but ``ProxyJump none`` is no hindrance."""
    if item.keyword == "proxyjump":
        return "proxycommand" in found.settings
    jump = found.value("proxyjump") if item.keyword == "proxycommand" else None
    return jump is not None and jump.lower() != "none"


# -- parsing -----------------------------------------------------------------------------------


class _ConfigParser:
    """Reads one set of files and notes all that its result depends on."""

    def __init__(self) -> None:
        self.depends: dict[str, tuple[int, ...] | None] = {}

    def read(self, path: str, *, is_users: bool, check: bool, depth: int = 0) -> list[Block]:
        """Return the blocks of a file ([] if it is missing). Raises RequestError."""
        if depth > MAX_DEPTH:
            raise invalid(path, "too many Includes within each other")
        try:
            with open(path, "rb", opener=_at_once) as stream:
                status = os.fstat(stream.fileno())
                self.depends[path] = _stamp(status)
                if check and (status.st_uid not in (0, os.getuid()) or status.st_mode & 0o022):
                    raise invalid(
                        path, "others may change this file: `chmod go-w` it, as ssh demands"
                    )
                text = text_of(path, read_all(stream))
        except (FileNotFoundError, NotADirectoryError):
            self.depends[path] = None
            return []
        except OSError as error:
            if wanting(error):
                raise
            raise invalid(path, f"cannot be read: {error.strerror}") from None
        blocks = [Block(None)]
        for number, raw in enumerate(text.split("\n"), 1):
            setting = parse_line(raw, path, number, is_users)
            if setting is None:
                continue
            if setting.keyword in ("host", "match"):
                blocks.append(block_of(setting))
            elif setting.keyword == "include":
                for name in setting.words:
                    blocks[-1].add(self._include(name, setting, depth))
            else:
                blocks[-1].add(setting)
        return blocks

    def _include(self, name: str, setting: Setting, depth: int) -> list[Block]:
        """Read the files that an Include names; as ssh, check them whoever names them."""
        path = expand_home(name)
        if not path.startswith("/"):
            path = f"{expand_home('~/.ssh') if setting.is_users else '/etc/ssh'}/{path}"
        directory = os.path.dirname(path)
        if not glob.has_magic(directory):
            self.depends[directory] = _stamp_of(directory)
        return [
            block
            for file in _matching(path)
            for block in self.read(file, is_users=setting.is_users, check=True, depth=depth + 1)
        ]


def _at_once(path: str, flags: int) -> int:
    """Open a file without waiting: what others made there may be a FIFO."""
    return os.open(path, flags | os.O_NONBLOCK)


def _matching(path: str) -> list[str]:
    """Return the files that an Include names. Raises OSError where glob would see none of them."""
    check_descriptors()
    return sorted(glob.glob(path))


def _stamp(status: os.stat_result) -> tuple[int, ...]:
    return (status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size)


def _stamp_of(path: str) -> tuple[int, ...] | None:
    try:
        return _stamp(os.stat(path))
    except OSError:
        return None


_lock = threading.Lock()
_cache: dict[str | None, tuple[dict[str, tuple[int, ...] | None], Config]] = {}


def _current(config_file: str | None) -> Config | None:
    """Return what was parsed before, None if one of the files has changed since."""
    cached = _cache.get(config_file)
    if cached and all(_stamp_of(path) == stamp for path, stamp in cached[0].items()):
        return cached[1]
    return None


def load(config_file: str | None = None) -> Config:
    """Return the parsed files, read again only when one of them has changed.

    ``None`` means the user's file and the system's, ``none`` no file, a path that file alone, as
    ``ssh -F``. Raises RequestError (``config_invalid``) for a file that ssh would refuse too.
    """
    # First without the lock, so that the threads of a fleet do not queue up behind each other.
    if (cached := _current(config_file)) is not None:
        return cached
    with _lock:
        if (cached := _current(config_file)) is not None:
            return cached
        parser = _ConfigParser()
        if config_file is None:
            user_file = expand_home(USER_FILE)
            files = [
                parser.read(user_file, is_users=True, check=True),
                parser.read(SYSTEM_FILE, is_users=False, check=False),
            ]
        elif config_file == "none":
            files = []
        else:
            path = expand_home(config_file)
            if not os.path.exists(path):
                raise invalid(path, "there is no such file (ssh.config_file)")
            files = [parser.read(path, is_users=True, check=False)]
        config = Config(files)
        _cache[config_file] = (parser.depends, config)
        return config


def stamps(config_file: str | None = None) -> Mapping[str, tuple[int, ...] | None]:
    """Return what changes with the files that ``load`` reads: device, inode, time, size of each,
    ``None`` for one that is missing. Raises RequestError as ``load`` does."""
    load(config_file)
    with _lock:
        return _cache[config_file][0]


def files_of(config_file: str) -> list[str]:
    """Return what decides what a named file says: itself, what it includes, the folders of these.

    Where something in it is invalid, so much of that as comes before.
    """
    parser = _ConfigParser()
    with contextlib.suppress(RequestError):  # whoever connects by it is told
        parser.read(expand_home(config_file), is_users=True, check=False)
    return list(parser.depends)
