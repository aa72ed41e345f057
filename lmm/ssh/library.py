"""paramiko, imported without invoke.

Its parser of ssh_config, which RUNE does not use, imports invoke for ``Match exec``: an eighth of
the CPU that a command for one host costs. Who uses invoke still gets it, at the first use.
"""

from __future__ import annotations

import importlib.util
import sys
import threading
from typing import Any


def _postpone(name: str) -> None:
    """Have ``import name`` load the module only when something of it is asked for.

    importlib's LazyLoader would load it at once: the import statement itself asks for its
    ``__spec__``.
    """
    spec = None if name in sys.modules else importlib.util.find_spec(name)
    if spec is None or spec.loader is None:
        return
    load = spec.loader.exec_module
    module = importlib.util.module_from_spec(spec)
    lock = threading.RLock()
    is_asked = False

    def ask(attribute: str) -> Any:
        nonlocal is_asked
        with lock:
            if not is_asked:
                is_asked = True
                load(module)
        try:
            return vars(module)[attribute]
        except KeyError:
            raise AttributeError(f"module {name!r} has no attribute {attribute!r}") from None

    vars(module)["__getattr__"] = ask  # PEP 562
    sys.modules[name] = module


_postpone("invoke")

import paramiko  # noqa: E402 - what was postponed has to be so before
import paramiko.agent  # noqa: E402
from paramiko import common  # noqa: E402
from paramiko.auth_handler import AuthOnlyHandler  # noqa: E402
from paramiko.message import Message  # noqa: E402
from paramiko.packet import Packetizer  # noqa: E402
from paramiko.ssh_exception import MessageOrderError  # noqa: E402
from paramiko.transport import ServiceRequestingTransport  # noqa: E402

__all__ = [
    "AuthOnlyHandler",
    "Message",
    "MessageOrderError",
    "Packetizer",
    "ServiceRequestingTransport",
    "common",
    "paramiko",
]
