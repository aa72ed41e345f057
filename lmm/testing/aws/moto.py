"""moto's server in a process of its own: S3, EC2 and STS, and a few seconds to start.

It prints its port and serves until its stdin ends, so that it never outlives the one who started
it.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from typing import Self

from lmm.errors import RequestError

SERVICES = ("S3", "EC2", "STS")
PROGRAM = """\
import logging, sys
from moto.server import ThreadedMotoServer
logging.getLogger("werkzeug").setLevel(logging.ERROR)
server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
"""


class Moto:
    """A moto server on 127.0.0.1; a context manager.

    Raises RequestError (``local_dependency_missing``, ``local_io_error``).
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self.endpoint_url = ""

    @property
    def environment(self) -> Mapping[str, str]:
        """The variables by which AWS's SDKs find its services."""
        return {f"AWS_ENDPOINT_URL_{service}": self.endpoint_url for service in SERVICES}

    def __enter__(self) -> Self:
        if importlib.util.find_spec("moto") is None or importlib.util.find_spec("flask") is None:
            raise RequestError(
                "local_dependency_missing",
                "moto's server is not installed here; install it with"
                " pip install 'rune-orchestrator[test]', or do without S3, EC2 and tags"
                " (moto=False, --no-moto)",
                program="moto",
            )
        environment = {name: value for name, value in os.environ.items() if name[:4] != "AWS_"}
        with tempfile.TemporaryFile() as log:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-W", "ignore", "-c", PROGRAM],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                # The images of a real region take long to parse, and any id is taken for one.
                env={**environment, "MOTO_EC2_LOAD_DEFAULT_AMIS": "false"},
            )
            assert self._process.stdout is not None
            port = self._process.stdout.readline().decode().strip()
            if not port:
                self.stop()
                log.seek(0)
                words = log.read().decode("utf-8", "replace")[-800:]
                raise RequestError("local_io_error", f"moto's server did not start:\n{words}")
        self.endpoint_url = f"http://127.0.0.1:{port}"
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None
