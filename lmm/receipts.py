"""Names receipts: what a host keeps of an invocation, so that it can be asked what became of it.

What belongs here: values that whoever starts and whoever asks later must agree on. How a receipt
is kept and read is in ``receipt.sh`` and ``follow.sh``.
"""

from __future__ import annotations

import hashlib
import uuid

KEPT_S = 24 * 3600  # how long after its deadline a receipt is kept


def receipt_key(run_id: str, target: str, start: int = 1) -> str:
    """Return the key of the ``start``-th time that a run starts its plugin on a target.

    Under one key a host starts a plugin at most once. 32 hex digits, safe as a file name.
    """
    text = "\0".join((run_id, target, str(start)))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def message_ids(key: str) -> dict[str, str]:
    """Return the ids of a receipt's BPCS message, as ``build_message`` takes them.

    A plugin may repeat them in its answer, which a later process must be able to check.
    """
    digest = hashlib.sha256(key.encode()).digest()
    return {
        "message_id": str(uuid.UUID(bytes=digest[:16], version=4)),
        "span_id": digest[16:24].hex(),
    }
