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

_MODULES = ("tenacity", "encodings.idna", "traceback")


def preload(transports: Iterable[str]) -> None:
    """Load what calls of these transports may need once they have begun."""
    code_table()
    for name in ("bpcs_output_v2", "bpcs_event_v2"):
        spec_validator(name)
    shell_functions(*SHELL_FILES)
    modules = [kind_of(name).module for name in transports]
    for name in (*_MODULES, *modules):
        import_module(name)
