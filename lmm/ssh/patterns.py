"""Patterns as OpenSSH matches them (PATTERNS in ssh_config(5)), for known_hosts and ssh_config.

Not fnmatch: there are no brackets, and a comma list may hold negations.
"""

from __future__ import annotations

# match.c keeps a pattern of a list in a buffer of this size; a longer one matches nothing.
MAX_PATTERN = 1023


def match_pattern(text: str, pattern: str) -> bool:
    """Whether ``*`` (any characters) and ``?`` (one character) of ``pattern`` fit ``text``."""
    if "*" not in pattern and "?" not in pattern:
        return text == pattern
    # One star back is enough: a later star makes every choice of an earlier one moot.
    at = back_text = 0
    here, back = 0, -1
    while at < len(text):
        if here < len(pattern) and pattern[here] == "*":
            back, back_text = here, at
            here += 1
        elif here < len(pattern) and pattern[here] in ("?", text[at]):
            at += 1
            here += 1
        elif back >= 0:
            back_text += 1
            at, here = back_text, back + 1
        else:
            return False
    return not pattern[here:].strip("*")


def match_list(text: str, patterns: str) -> bool:
    """Whether a comma list of patterns fits: one must, and none that is negated by ``!`` may."""
    found = False
    for pattern in patterns.split(","):
        negated = pattern.startswith("!")
        pattern = pattern[negated:]
        if len(pattern) >= MAX_PATTERN:
            return False
        if match_pattern(text, pattern):
            if negated:
                return False
            found = True
    return found
