"""The host's functions that stop a tree of processes, by themselves."""

from __future__ import annotations

import subprocess
from pathlib import Path

import lmm.bootstrap

KILL = Path(lmm.bootstrap.__file__).with_name("kill.sh")
# Each look takes two seconds by its clock, and during the first one a child of a child is born.
SCRIPT = """\
source %s
rune_mark=0123456789abcdefthe-mark
rune_remember
eval "real_$(declare -f rune_scan)"
rune_clock() { rune_tick=$((rune_tick + 200)); }
scans=0 rune_tick=0 rune_since=0
rune_scan() {
  real_rune_scan "$@"
  if ((++scans == 2)); then
    RUNE_INVOCATION=the-mark sleep 600 &
    late=$!
  fi
}
RUNE_INVOCATION=the-mark setsid sleep 600 &
rune_freeze
rune_look_at "$late"
echo "${rune_stat%%%% *}"
kill -KILL "$late" "${rune_found[@]}"
"""


def test_what_is_born_during_a_long_look_is_stopped() -> None:
    """On a host under load a look may take more than the second that stopping has."""
    done = subprocess.run(["bash", "-c", SCRIPT % KILL], capture_output=True, text=True, timeout=60)
    assert done.stdout == "T\n", done.stderr
