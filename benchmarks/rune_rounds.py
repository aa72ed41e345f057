"""RUNE as a library: one process, several rounds over kept connections.

Usage: rune_rounds.py INVENTORY TRANSPORT ROUNDS; prints what libssh2_loop.py prints.
"""

from __future__ import annotations

import json
import sys
import time

from lom import Orchestrator

inventory, transport, rounds = sys.argv[1:]
seconds, answers = [], 0
with Orchestrator(inventory) as rune:
    for _ in range(int(rounds)):
        began = time.perf_counter()
        answers = sum(result.ok for result in rune.run("noop", "all", transport=transport))
        seconds.append(time.perf_counter() - began)
print(json.dumps({"rounds": seconds, "answers": answers}))
