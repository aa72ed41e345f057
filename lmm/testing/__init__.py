"""Real servers to test and demonstrate against: an sshd, accounts, a proxy that breaks.

What belongs here: fakes and real doubles that users of RUNE get as the suite itself uses them.
Nothing in ``lmm`` outside this package imports it.
"""

from __future__ import annotations

from lmm.testing.account import Account
from lmm.testing.carrying import carry
from lmm.testing.proxy import TcpProxy, refused_port, silent_port
from lmm.testing.sshd import Sshd, loopback

__all__ = ["Account", "Sshd", "TcpProxy", "carry", "loopback", "refused_port", "silent_port"]
