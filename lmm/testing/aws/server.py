"""The wire: HTTP/1.1 with JSON in its bodies, and the faults on the way.

SSM speaks AWS JSON 1.1: POST / with ``X-Amz-Target: AmazonSSM.OPERATION``. Resource Groups has a
path for each operation. An error is ``{"__type", "message"}`` with ``x-amzn-ErrorType``. The
signature must be there and is not verified; its credential scope says who calls and for which
region.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import io
import json
import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from lmm.testing.aws.errors import ServiceError
from lmm.testing.aws.faults import Faults
from lmm.testing.aws.model import check_input, shape_output

TARGET = "AmazonSSM."
PATHS = {"/list-group-resources": "ListGroupResources"}
SCOPE = re.compile(r"AWS4-HMAC-SHA256 Credential=([^/\s]+)/\d{8}/([^/\s]+)/[^/\s]+/aws4_request\b")


@dataclass(frozen=True)
class SignedCaller:
    """Whom a request is from, by its signature."""

    access_key: str
    region: str


Operation = Callable[[SignedCaller, dict[str, Any]], dict[str, Any]]


class Endpoint:
    """Answers requests on 127.0.0.1; all of it runs in one event loop."""

    def __init__(self, operations: Mapping[str, Operation], faults: Faults) -> None:
        self._operations = operations
        self._faults = faults
        self._connections: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def open(self, port: int) -> int:
        """Listen, and return the port."""
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", port)
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Stop listening and drop every connection."""
        if self._server is not None:
            self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                while await self._exchange(reader, writer):
                    pass
        except asyncio.CancelledError:
            pass  # the endpoint closes; asyncio would report a handler that ends as cancelled
        finally:
            self._connections.discard(task)
            writer.transport.abort()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; return whether the connection stays open."""
        head = await reader.readuntil(b"\r\n\r\n")
        request_line, _, fields = head.partition(b"\r\n")
        headers = http.client.parse_headers(io.BytesIO(fields))
        body = await reader.readexactly(int(headers.get("Content-Length", "0")))
        path = request_line.decode("latin-1").partition(" ")[2].partition(" ")[0]
        operation = PATHS.get(path) or headers.get("X-Amz-Target", "").removeprefix(TARGET)
        try:
            caller = _caller(headers.get("Authorization", ""))
            if operation not in self._operations:
                raise ServiceError("UnknownOperationException")
        except ServiceError as error:
            writer.write(_error(error))
            return True
        fault = self._faults.meet(operation, caller.access_key)
        answer = self._answer(operation, caller, body) if fault.carried_out else b""
        if fault.answer is not None:
            answer = _error(fault.answer)
        await asyncio.sleep(fault.delay_s)
        if not fault.hang_up:
            writer.write(answer)
            await writer.drain()
        return not fault.hang_up

    def _answer(self, operation: str, caller: SignedCaller, body: bytes) -> bytes:
        try:
            try:
                given = json.loads(body)
            except ValueError as error:
                raise ServiceError("SerializationException", str(error)) from None
            check_input(operation, given)
            result = self._operations[operation](caller, given)
        except ServiceError as error:
            return _error(error)
        return _response(200, shape_output(operation, result))


def _caller(authorization: str) -> SignedCaller:
    match = SCOPE.match(authorization)
    if match is None:
        raise ServiceError("MissingAuthenticationToken", "Missing Authentication Token", 403)
    return SignedCaller(*match.groups())


def _error(error: ServiceError) -> bytes:
    document = {"__type": error.code, "message": error.message}
    return _response(error.status, document, {"x-amzn-ErrorType": error.code})


def _response(status: int, document: Any, further: dict[str, str] | None = None) -> bytes:
    body = json.dumps(document).encode()
    headers = {
        "x-amzn-RequestId": str(uuid.uuid4()),
        "Content-Type": "application/x-amz-json-1.1",
        "Content-Length": str(len(body)),
        **(further or {}),
    }
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body
