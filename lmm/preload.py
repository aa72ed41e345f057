"""Loads what a fault would else load, while there are still descriptors and memory for it.

What only words the message of an invalid answer (jsonschema, 80 ms) is not loaded: where that is
not to be had later, the message is in other words.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module

from lmm.contract import spec_validator
from lmm.errors import code_table
from lmm.files import SHELL_FILES, shell_functions
from lmm.register import kind_of


def preload(transports: Iterable[str], *, retries: bool, has_secrets: bool) -> None:
    """Load what calls of these transports, and attempts after them, need once they have begun."""
    code_table()
    for name in ("bpcs_output_v2", "bpcs_event_v2"):
        spec_validator(name)
    shell_functions(*SHELL_FILES)
    kinds = [kind_of(name) for name in transports]
    modules = ["traceback", *(kind.module for kind in kinds)]
    if retries:
        modules.append("tenacity")
    if not all(kind.is_here for kind in kinds):
        modules.append("encodings.idna")  # of names that are looked up
    if has_secrets:
        modules.append("lmm.spellings")
    for name in modules:
        import_module(name)
