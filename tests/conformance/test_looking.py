"""What processes look like misleads nobody who looks for those of a plugin."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from lmm.model import Limits, Outcome
from lmm.testing import Sshd, processes

# A process that calls itself something, and says when it does.
CALLED = """\
$0 = $ARGV[0]; open C, "/proc/self/comm"; local $/; print <C>; close STDOUT; sleep 600
"""
NAMES = [
    ") R 1/0\n",
    ") R a[\n",
    ") R a]\n",
    ") Z 1 1\n",
    "a) R 2 9\n",
    ") R x=\n",
    ") S 1 1 1",
    "\n",
]


@pytest.mark.needs_root
def test_no_name_of_a_process_is_evaluated(streaming: Any, request: Any) -> None:
    """Any account of a host may call its processes what it likes."""
    program = next(path for c in "xqzwvk" if not (path := Path("/tmp", c)).exists())
    request.addfinalizer(lambda: program.unlink(missing_ok=True))
    program.write_text("#!/bin/sh\necho >/tmp/$(basename $0)-ran\n")
    program.chmod(0o755)
    ran = Path(f"{program}-ran")
    name = f") R a[`/t*/{program.name}`]\n"
    argv = ["perl", "-e", CALLED, name]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, user="nobody", cwd="/") as other:
        assert other.stdout
        assert other.stdout.read() == f"{name}\n".encode()
        result = streaming.run("sleep 600", limits=Limits(1.0))
        other.kill()
    assert result.outcome is Outcome.TIMED_OUT
    has_run = ran.exists()
    ran.unlink(missing_ok=True)
    assert not has_run


def test_no_name_hides_a_process_of_the_plugin(streaming: Any, scratch: Path) -> None:
    (scratch / "called.pl").write_text('$| = 1; print "$$\\n"; $0 = $ARGV[0]; sleep 600')
    names = "\n".join(name.replace("\n", "^") for name in NAMES)
    script = (
        f"while IFS= read -r name; do setsid perl {scratch}/called.pl"
        f" \"${{name//^/$'\\n'}}\" >>{scratch}/up & done <<'END'\n{names}\nEND\n"
        f"until (($(wc -l <{scratch}/up) >= {len(NAMES)})); do sleep 0.1; done; sleep 600"
    )
    assert streaming.run(script, limits=Limits(5.0)).outcome is Outcome.TIMED_OUT
    pids = {int(word) for word in (scratch / "up").read_text().split()}
    assert len(pids) == len(NAMES)
    assert processes.wait_gone(pids, 5.0) == set()


# Says of itself that it was started with an environment of 256 MiB (PR_SET_MM, PR_SET_MM_MAP).
LARGE = """\
import ctypes, mmap, time
size = 256 << 20
memory = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)  # shared ones are not read
memory.write(b"A" * size)
at = ctypes.addressof(ctypes.c_char.from_buffer(memory))
stat = open("/proc/self/stat").read().rpartition(")")[2].split()
field = lambda number: int(stat[number - 3])
brk = ctypes.CDLL(None).sbrk
brk.restype = ctypes.c_void_p
fields = [26, 27, 45, 46, 47]
words = [*map(field, fields), brk(0), field(28), field(48), field(49), at, at + size, 0]
numbers = (ctypes.c_uint64 * 13)(*words, 0xFFFFFFFF << 32)
assert ctypes.CDLL(None).prctl(35, 14, ctypes.byref(numbers), ctypes.c_ulong(104), 0) == 0
print(flush=True)
time.sleep(600)"""


@pytest.mark.needs_root
def test_no_environment_of_another_costs_memory(host_factory: Any) -> None:
    """It would take five times as much of the shell that looks for the plugin's processes."""
    argv = ["env", "-i", "PATH=/usr/bin:/bin", "python3", "-c", LARGE]
    limited = """bash -c 'ulimit -v 500000; exec bash -c "$SSH_ORIGINAL_COMMAND"'"""
    with (
        Sshd(config=[f"ForceCommand {limited}"]) as server,
        subprocess.Popen(argv, stdout=subprocess.PIPE, user="nobody", cwd="/") as other,
    ):
        assert other.stdout
        try:
            assert other.stdout.readline() == b"\n"
            host = host_factory(server.target("x"))
            result = host.run("sleep 600", limits=Limits(1.0))
        finally:
            other.kill()
    assert result.outcome is Outcome.TIMED_OUT, result.error
