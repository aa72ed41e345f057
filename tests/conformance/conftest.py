"""The conformance suite's hosts: the same tests run over every transport, on real processes."""

from __future__ import annotations

import contextlib
import os
import pickle
import secrets
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from lmm.model import (
    Inquiry,
    Invocation,
    OnDisconnect,
    Result,
    Script,
    SsmSettings,
    Target,
)
from lmm.receipts import receipt_key
from lmm.scope import Scope
from lmm.testing import Sshd, TcpProxy, carry, processes
from lmm.testing.aws import FakeAws
from lmm.transports import TransportPool, disconnect
from tests.support.invocations import invocation

REPOSITORY = Path(__file__).resolve().parents[2]
SUCCESS = '{"payload":{"result":"success","output_data":%s}}'

# Sets guard to the main shell's only other child; kill_guard kills it as soon as it has a second.
GUARD = """\
kill_guard() {
  local i next
  for ((i = 0; i < 100; i++)); do
    read -r next _ </proc/$guard/task/$guard/children
    [[ $next ]] && break
    sleep 0.05
  done
  kill -KILL $guard
  guard=$next
}
for proc in /proc/[0-9]*; do
  IFS= read -r stat <$proc/stat || continue
  set -- ${stat##*) }
  [[ $2 == "$PPID" && ${proc#/proc/} != "$$" ]] && guard=${proc#/proc/}
done 2>/dev/null
"""


@dataclass
class Host:
    """One target over one transport; ``run`` is a whole mediation of one script on it."""

    target: Target
    pool: TransportPool
    events: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)
    scope: Scope = field(default_factory=Scope)
    dies_within_s: float = 0.5  # what was killed is gone so soon after the result that says so

    def invocation(
        self,
        script: str | bytes,
        params: Mapping[str, Any] | None = None,
        *,
        interpreter: tuple[str, ...] = ("bash",),
        filename: str = "plugin",
        requires: tuple[str, ...] = (),
        target: Target | None = None,
        **fields: Any,
    ) -> Invocation:
        content = script.encode() if isinstance(script, str) else script
        plugin = Script(filename, content, interpreter, requires)
        return invocation(target or self.target, plugin, params, **fields)

    def carry(self, *invocations: Invocation) -> list[Result]:
        results = carry(
            invocations,
            self.pool.get,
            scope=self.scope,
            on_event=lambda target, kind, data: self.events.append((kind, data)),
        )
        assert len(results) == len(invocations)
        return results

    def run(
        self, script: str | bytes, params: Mapping[str, Any] | None = None, **kw: Any
    ) -> Result:
        (result,) = self.carry(self.invocation(script, params, **kw))
        return result

    def cancel_when(self, condition: Callable[[], bool]) -> threading.Thread:
        """Cancel the run as soon as ``condition`` holds (at the latest after 20 s)."""

        def watch() -> None:
            for _ in range(1000):
                if condition() or self.scope.wait(0.02):
                    break
            self.scope.cancel()

        thread = threading.Thread(target=watch)
        thread.start()
        return thread


@pytest.fixture(params=["local", "ssh", "openssh", "ssm"])
def host(request: pytest.FixtureRequest, sshd: Sshd, aws: FakeAws) -> Iterator[Host]:
    """A host over each transport. A new transport adds its name here and inherits every test."""
    pool = TransportPool()
    if request.param == "local":
        target = Target("local", transport="local")
    elif request.param == "ssm":
        os.environ.update(aws.environment)
        settings = SsmSettings(s3_bucket="rune")
        target = Target("node1", host=aws.instance_ids[0], transport="ssm", ssm=settings)
    else:
        target = replace(sshd.target("node1"), transport=request.param)
    # Systems Manager kills only the script around the plugin; the host's guard does the rest.
    yield Host(target, pool, dies_within_s=10.0 if request.param == "ssm" else 0.5)
    pool.close()
    disconnect()  # what openssh keeps for other processes


@pytest.fixture(params=["ssh", "openssh"])
def remote(request: pytest.FixtureRequest, sshd: Sshd) -> Iterator[Host]:
    """A host behind a connection that can break."""
    pool = TransportPool()
    yield Host(replace(sshd.target("node1"), transport=request.param), pool)
    pool.close()
    disconnect()  # what openssh keeps for other processes


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    """A directory that scripts on the (loopback) host can write to."""
    return tmp_path


@pytest.fixture
def public() -> Iterator[Path]:
    """A directory that every account of this machine can read and write."""
    with tempfile.TemporaryDirectory(prefix="public-", dir="/tmp") as name:
        Path(name).chmod(0o777)
        yield Path(name)


@pytest.fixture
def host_factory() -> Iterator[Callable[[Target], Host]]:
    """Makes hosts of a test's own targets."""
    pool = TransportPool()
    yield lambda target: Host(target, pool)
    pool.close()
    disconnect()  # what openssh keeps for other processes


@pytest.fixture
def proxy(remote: Host, sshd: Sshd, scratch: Path) -> Iterator[TcpProxy]:
    """What the connection of ``remote`` goes through."""
    with TcpProxy("127.0.0.1", sshd.port) as made:
        known = scratch / "known_hosts"
        known.write_text(f"[127.0.0.1]:{made.port} {sshd.host_key}\n")
        ssh = replace(remote.target.ssh, known_hosts=(str(known),))
        remote.target = replace(remote.target, port=made.port, ssh=ssh)
        yield made


@pytest.fixture(params=["local", "ssh", "openssh"])
def streaming(
    request: pytest.FixtureRequest, host_factory: Callable[[Target], Host], sshd: Sshd
) -> Host:
    """A host whose connection stays open while the plugin runs."""
    if request.param == "local":
        return host_factory(Target("local", transport="local"))
    return host_factory(replace(sshd.target("node1"), transport=request.param))


class Keeper:
    """Makes invocations with a receipt, finds the receipts, and removes them."""

    PLACES = (Path("/var/tmp"), Path("/dev/shm"))
    ENDINGS = ("state", "out", "err", "stop")

    def __init__(self) -> None:
        self._keys: list[str] = []

    def __call__(
        self,
        host: Host,
        script: str,
        mode: OnDisconnect = OnDisconnect.KILL,
        run: str = "",
        **fields: Any,
    ) -> Invocation:
        made = host.invocation(script, **fields)
        key = receipt_key(run or secrets.token_hex(8), made.target.name)
        self._keys.append(key)
        return replace(made, receipt=key, on_disconnect=mode)

    def ask(
        self, host: Host, invocation: Invocation, age_s: float = 1.0, *, kill: bool = False
    ) -> Result:
        """Return what the host says has become of an invocation."""
        (result,) = host.carry(replace(invocation, inquiry=Inquiry(age_s, kill)))
        return result

    def files(self, invocation: Invocation) -> dict[str, Path]:
        return {path.suffix[1:]: path for path in self._found(str(invocation.receipt))}

    def _found(self, key: str) -> list[Path]:
        """Return the files of a receipt; folders of receipts, which may hold thousands, are not
        listed, and accounts of tests beside this one take theirs with them."""
        while True:
            try:
                folders = [f for place in self.PLACES for f in place.glob(".rune-receipts-*/*")]
                break
            except FileNotFoundError:
                continue
        files = (folder / f"{key}.{ending}" for folder in folders for ending in self.ENDINGS)
        return [path for path in files if path.exists()]

    def state(self, invocation: Invocation) -> str:
        path = self.files(invocation).get("state")
        return path.read_text() if path else ""

    def clear(self) -> None:
        """Remove the receipts, when the shells that may still write to them have ended.

        The folders stay until the end of the run: a host may be about to make a receipt in one.
        """
        files = [path for key in self._keys for path in self._found(key)]
        words = [path.read_text().split() for path in files if path.suffix == ".state"]
        shells = {int(found[3]) for found in words if found[:1] == ["started"]}
        processes.wait_gone(shells, 15.0)
        files = [path for key in self._keys for path in self._found(key)]
        for path in files:
            path.unlink(missing_ok=True)


@pytest.fixture
def keep() -> Iterator[Keeper]:
    keeper = Keeper()
    yield keeper
    keeper.clear()


SecondRune = Callable[[Invocation], contextlib.AbstractContextManager["subprocess.Popen[bytes]"]]


@pytest.fixture
def second_rune(scratch: Path) -> SecondRune:
    """Runs an invocation in a process of its own, which prints the outcome; it is killed with -9
    after the block."""

    @contextlib.contextmanager
    def started(invocation: Invocation) -> Iterator[subprocess.Popen[bytes]]:
        (scratch / "job").write_bytes(pickle.dumps(invocation))
        code = (
            "import pickle, sys\n"
            "from lmm.testing import carry\nfrom lmm.transports import TransportPool\n"
            "job = pickle.loads(open(sys.argv[1], 'rb').read())\n"
            "(result,) = carry([job], TransportPool().get)\nprint(result.outcome.value)\n"
        )
        argv = [sys.executable, "-c", code, str(scratch / "job")]
        with subprocess.Popen(argv, cwd=REPOSITORY, stdout=subprocess.PIPE) as rune:
            try:
                yield rune
            finally:
                rune.kill()

    return started
