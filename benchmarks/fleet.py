"""Compares `rune run noop` over many loopback hosts with other ways to do the same work.

Every way sends the same bytes to the same shell on the same sshd, in turn, several times; medians
and ratios to the libssh2 loop are printed. Run it with ``make bench``; nothing else should run.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from lmm.bootstrap import build_stream
from lmm.envelope import build_message
from lmm.model import Invocation, Limits, Script, Target
from lmm.opening import shell_argv
from lmm.ssh.masters import directory
from lmm.testing import Account, Sshd, TcpProxy
from lmm.testing.sshd import loopback
from lmm.transports import disconnect

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
ENV = {**os.environ, "PYTHONPATH": str(ROOT)}
ENV.pop("PYTHONDONTWRITEBYTECODE", None)  # what nobody's RUNE has to do at every start
WARM_ROUNDS = 5
SINGLE_ROUNDS = 30


@dataclass
class Sample:
    """One way's measurements: wall seconds, client CPU seconds, peak memory in MiB."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    peak: list[float] = field(default_factory=list)


def measure(sample: Sample, argv: list[str]) -> bytes:
    """Run a command, note what it took, return its stdout."""
    with tempfile.TemporaryFile() as out:
        began = time.perf_counter()
        process = subprocess.Popen(argv, stdout=out, stdin=subprocess.DEVNULL, env=ENV, cwd=ROOT)
        _, status, usage = os.wait4(process.pid, 0)
        sample.wall.append(time.perf_counter() - began)
        process.returncode = os.waitstatus_to_exitcode(status)
        sample.cpu.append(usage.ru_utime + usage.ru_stime)
        sample.peak.append(usage.ru_maxrss / 1024)
        out.seek(0)
        answer = out.read()
    if process.returncode:
        raise SystemExit(f"{argv[:4]} ended with {process.returncode}: {answer[-500:]!r}")
    return answer


def noop_stream(guarded: bool) -> bytes:
    """Return what RUNE sends for noop; unguarded: only a script that prints the answer."""
    if not guarded:
        text = '{"payload":{"result":"success","output_data":{}}}'
        return f"echo '{text}'; echo ' end '; exit\n".encode()
    message = build_message(
        action="noop",
        target="node001",
        run_id="20260101T000000Z-00000000",
        input_parameters={},
        timeout_s=30,
        trace_id="1" * 32,
    )
    script = Script("noop.sh", next((ROOT / "plugins/noop").glob("*.sh")).read_bytes())
    job = Invocation("r", Target("x"), "noop", "noop", script, message, limits=Limits(30))
    return build_stream(job, "0" * 32).whole()


class Field:
    """The server, its hosts and the files that every way needs."""

    def __init__(self, server: Sshd, user: str, count: int, folder: Path) -> None:
        self.server, self.user, self.folder = server, user, folder
        self.hosts = loopback(count)
        self.inventory = folder / "inventory.yaml"
        self.inventory.write_text(server.inventory(count, user=user))
        self.single = folder / "one.yaml"
        self.single.write_text(server.inventory(1, user=user))
        self.streams = {}
        for guarded in (True, False):
            path = folder / f"stream-{guarded}"
            path.write_bytes(noop_stream(guarded))
            self.streams[guarded] = path

    def rune(self, transport: str, sample: Sample, inventory: Path | None = None) -> None:
        argv = [sys.executable, "-m", "lom.cli", "run", "noop", "-t", "all", "-o", "json"]
        argv += ["-i", str(inventory or self.inventory), "--transport", transport]
        document = json.loads(measure(sample, argv))
        count = 1 if inventory else len(self.hosts)
        assert document["summary"]["ok"] == count, document["summary"]

    def libssh2(self, sample: Sample, guarded: bool = True, rounds: int = 1) -> list[float]:
        argv = [sys.executable, str(HERE / "libssh2_loop.py"), self.user, str(self.server.port)]
        command = shlex.join(shell_argv(None)) if guarded else "bash -s"
        argv += [str(self.server.identity_file), command, str(self.streams[guarded]), str(rounds)]
        answer = json.loads(measure(sample, [*argv, *self.hosts]))
        assert not guarded or answer["answers"] == len(self.hosts), answer
        return list(answer["rounds"])

    def ssh_argv(self, host: str, mux: str = "", socket: str = "") -> list[str]:
        argv = ["ssh", "-F", "none", "-T", "-o", "BatchMode=yes", "-o", "LogLevel=ERROR"]
        argv += ["-o", f"UserKnownHostsFile={self.server.known_hosts}"]
        argv += ["-i", str(self.server.identity_file), "-p", str(self.server.port)]
        if mux:
            argv += ["-o", "ControlMaster=auto", "-o", f"ControlPath={mux}/%C"]
            argv += ["-o", "ControlPersist=60"]
        if socket:
            argv += ["-S", socket]
        return [*argv, f"{self.user}@{host}", "bash", "-s"]

    def spawned(self, sample: Sample, mux: str = "") -> None:
        """OpenSSH, 64 at a time, by xargs: the shell user's way, without any guard on the host."""
        names = self.folder / "hosts"
        names.write_text("\n".join(self.hosts))
        ssh = " ".join(self.ssh_argv("{}", mux))
        one = f"{ssh} <{self.streams[False]} >/dev/null"
        measure(sample, ["xargs", "-a", str(names), "-P", "64", "-I", "{}", "sh", "-c", one])


@contextlib.contextmanager
def accounts() -> Iterator[str]:
    """An account with an empty profile where one can be made, else this one."""
    if os.getuid() == 0:
        with Account() as made:
            yield made.name
    else:
        yield os.environ.get("USER", "")


def table(title: str, samples: dict[str, Sample], base: str, hosts: int) -> None:
    reference = statistics.median(samples[base].wall)
    print(f"\n{title}\n{'way':34}{'wall s':>8}{'ratio':>8}{'CPU ms/host':>13}{'peak MiB':>10}")
    for name, sample in samples.items():
        wall = statistics.median(sample.wall)
        line = f"{name:34}{wall:8.2f}{wall / reference:8.2f}"
        if sample.cpu:
            line += f"{statistics.median(sample.cpu) / hosts * 1000:13.2f}{max(sample.peak):10.0f}"
        print(line, flush=True)


def cold(ground: Field, repeat: int) -> None:
    samples = {
        name: Sample()
        for name in (
            "libssh2 loop",
            "rune, ssh",
            "rune, openssh",
            "ssh spawned, bare echo",
            "ssh ControlMaster, bare echo",
            "libssh2 loop, bare echo",
        )
    }
    for _ in range(repeat):
        ground.libssh2(samples["libssh2 loop"])
        ground.rune("ssh", samples["rune, ssh"])
        ground.rune("openssh", samples["rune, openssh"])
        disconnect()
        ground.spawned(samples["ssh spawned, bare echo"])
        with tempfile.TemporaryDirectory(prefix="rb-") as mux:
            ground.spawned(samples["ssh ControlMaster, bare echo"], mux)
            subprocess.run(["pkill", "-f", mux], check=False)
        ground.libssh2(samples["libssh2 loop, bare echo"], guarded=False)
    title = f"{len(ground.hosts)} cold hosts, whole processes (medians of {repeat})"
    table(title, samples, "libssh2 loop", len(ground.hosts))


def warm(ground: Field, repeat: int) -> None:
    samples = {n: Sample() for n in ("libssh2 loop", "rune, ssh", "rune, openssh")}
    for _ in range(repeat):
        rounds = ground.libssh2(Sample(), rounds=WARM_ROUNDS + 1)
        samples["libssh2 loop"].wall += rounds[1:]
        for transport in ("ssh", "openssh"):
            argv = [sys.executable, str(HERE / "rune_rounds.py"), str(ground.inventory)]
            found = json.loads(measure(Sample(), [*argv, transport, str(WARM_ROUNDS + 1)]))
            assert found["answers"] == len(ground.hosts), found
            samples[f"rune, {transport}"].wall += found["rounds"][1:]
    disconnect()
    table(f"{len(ground.hosts)} warm hosts, one process", samples, "libssh2 loop", 1)


def second(ground: Field, repeat: int) -> None:
    """What a command leaves to the next one: the same command in processes of their own."""
    samples = {"rune, openssh, first": Sample(), "rune, openssh, second": Sample()}
    single = Sample()
    for _ in range(repeat):
        for sample in samples.values():
            ground.rune("openssh", sample)
        ground.rune("openssh", single, ground.single)
        disconnect()
    count = len(ground.hosts)
    table(f"{count} hosts, two commands", samples, "rune, openssh, first", count)
    beyond = statistics.median(samples["rune, openssh, second"].cpu) - statistics.median(single.cpu)
    each = beyond / (count - 1) * 1000
    print(f"client CPU of the second beyond one host's: {each:.2f} ms for each further host")


def single(ground: Field, repeat: int) -> None:
    """One kept connection: a script over it by RUNE in one process, and by ssh's own client."""
    samples = {"ssh -S, bare echo": Sample(), "rune, openssh, in process": Sample()}
    for _ in range(repeat):
        ground.rune("openssh", Sample(), ground.single)
        socket = next(path for path in directory().iterdir() if path.is_socket())
        ssh = " ".join([*ground.ssh_argv(ground.hosts[0], socket=str(socket))])
        line = f"exec {ssh} <{ground.streams[False]}"
        for _ in range(SINGLE_ROUNDS):
            measure(samples["ssh -S, bare echo"], ["sh", "-c", line])
        argv = [sys.executable, str(HERE / "rune_rounds.py"), str(ground.single)]
        found = json.loads(measure(Sample(), [*argv, "openssh", str(SINGLE_ROUNDS + 1)]))
        samples["rune, openssh, in process"].wall += found["rounds"][1:]
        disconnect()
    samples["ssh -S, bare echo"].cpu.clear()
    table("one warm host", samples, "ssh -S, bare echo", 1)


def one(ground: Field, repeat: int) -> None:
    samples = {"ssh host bash -s": Sample(), "rune, ssh": Sample()}
    argv = [sys.executable, "-m", "lom.cli", "run", "noop", "-t", "all", "-o", "json"]
    ssh = " ".join(ground.ssh_argv(ground.hosts[0]))
    for _ in range(repeat):
        measure(samples["ssh host bash -s"], ["bash", "-c", f"{ssh} <{ground.streams[False]}"])
        measure(samples["rune, ssh"], [*argv, "-i", str(ground.single)])
    table("one host, cold", samples, "ssh host bash -s", 1)


def black_hole(ground: Field) -> None:
    """One host that accepts and never answers, first in line; the others must not wait."""
    with TcpProxy("127.0.0.1", ground.server.port, black_hole=True) as proxy:
        hole = f"targets:\n  hole: {{host: 127.0.0.1, port: {proxy.port}}}\n"
        path = ground.folder / "hole.yaml"
        path.write_text(hole)
        argv = [sys.executable, "-m", "lom.cli", "run", "noop", "-t", "hole", "-t", "nodes"]
        argv += ["-o", "ndjson", "-i", str(path), "-i", str(ground.inventory)]
        process = subprocess.Popen(argv, stdout=subprocess.PIPE, env=ENV, cwd=ROOT)
        began, last = time.perf_counter(), {"ok": 0.0, "unreachable": 0.0}
        assert process.stdout
        for line in process.stdout:
            event = json.loads(line)
            if event["kind"] == "target.finished":
                last[event["data"]["outcome"]] = time.perf_counter() - began
        process.wait()
    print(
        f"\na black hole among {len(ground.hosts)}: the last good answer after {last['ok']:.2f} s,"
    )
    print(f"the black hole's own result after {last['unreachable']:.2f} s")


def main() -> None:
    parts: dict[str, Callable[[Field, int], None]] = {
        "cold": cold,
        "warm": warm,
        "second": second,
        "single": single,
        "one": one,
    }
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hosts", type=int, default=200)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument(
        "parts", nargs="*", metavar="cold|warm|second|single|one|hole", default=[*parts, "hole"]
    )
    given = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rb-")))
        user = stack.enter_context(accounts())
        server = stack.enter_context(Sshd(addresses=loopback(given.hosts)))
        os.environ["XDG_RUNTIME_DIR"] = ENV["XDG_RUNTIME_DIR"] = str(folder)
        stack.callback(disconnect)
        ground = Field(server, user, given.hosts, folder)
        for name in given.parts:
            if name == "hole":
                black_hole(ground)
            else:
                parts[name](ground, given.repeat)


if __name__ == "__main__":
    main()
