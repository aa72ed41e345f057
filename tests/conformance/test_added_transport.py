"""A package adds a transport by an entry point, and RUNE treats it as one of its own."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from lmm import register
from lmm.errors import RequestError
from lmm.model import Outcome
from lmm.opening import shell_argv
from lmm.register import is_choice, names
from lmm.transports import Job
from lom import Orchestrator
from lom.settings.values import Settings


class Container:
    """Stands for what starts a shell in a container: here a bash beside us."""

    name: ClassVar[str] = "container"
    batch_size: ClassVar[int] = 1

    def run(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
            with subprocess.Popen(shell_argv(None), **pipes) as shell:  # type: ignore[call-overload]
                job.on_cancel(shell.kill)
                shell.stdin.write(job.stream)
                shell.stdin.flush()
                job.stream_sent()
                beside = threading.Thread(target=_pump, args=(shell.stderr, job.feed_stderr))
                beside.start()
                _pump(shell.stdout, job.feed_stdout)
                beside.join()
                job.hung_up(shell.wait())

    def close(self) -> None: ...


def _pump(stream: Any, feed: Callable[[bytes], None]) -> None:
    while data := stream.read1():
        feed(data)


@pytest.fixture
def container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An installed package that adds the transport ``container``."""
    info = tmp_path / "added-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: added\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[rune.transports]\ncontainer = added:KIND\n")
    (tmp_path / "added.py").write_text(
        f"from lmm.register import Kind\nKIND = Kind({__name__!r}, 'Container', is_here=False)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    register._added.cache_clear()
    yield
    register._added.cache_clear()


@pytest.mark.usefixtures("container")
def test_an_added_transport_carries_a_run(tmp_path: Path) -> None:
    assert is_choice("container")
    assert names()[-1] == "container"
    inventory = tmp_path / "inventory.yaml"
    inventory.write_text("targets: {box: {transport: container}}\n")
    with Orchestrator(inventory=str(inventory), settings=Settings(ledger=False)) as rune:
        run = rune.run("noop", "box", {"n": 1})
        run.wait()
        (result,) = run.results
    assert (result.outcome, result.output_data) == (Outcome.OK, {"n": 1}), result
    with pytest.raises(RequestError, match="known are local, ssh, openssh, ssm, container"):
        register.kind_of("carrier")
