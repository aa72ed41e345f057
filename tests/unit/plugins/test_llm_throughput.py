"""llm.throughput against real HTTP servers that stream as OpenAI's API and Ollama do."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

FIRST_S, GAP_S, WORDS = 0.06, 0.01, 8
Talk = Callable[[Any, dict[str, Any]], None]


class Handler(BaseHTTPRequestHandler):
    """Serves what its server's ``lists`` hold and streams as its ``talk`` does."""

    server: Any

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        listed = self.server.lists.get(self.path)
        body = json.dumps(listed).encode() if listed is not None else b"not here"
        self.send_response(200 if listed is not None else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append((self.path, body, self.headers.get("Authorization")))
        with self.server.counting:
            self.server.now += 1
            self.server.most = max(self.server.most, self.server.now)
        try:
            self.server.talk(self, body)
        finally:
            with self.server.counting:
                self.server.now -= 1

    def begin(self, kind: str, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.end_headers()

    def say(self, event: Any, *, prefix: bytes = b"data: ", after: bytes = b"\n\n") -> None:
        text = event if isinstance(event, bytes) else json.dumps(event).encode()
        self.wfile.write(prefix + text + after)
        self.wfile.flush()


def openai(
    handler: Handler, body: dict[str, Any], *, usage: int | None = 40, done: bool = True
) -> None:
    handler.begin("text/event-stream")
    handler.say(b": a comment", prefix=b"")
    handler.say({"choices": [{"delta": {"role": "assistant", "content": ""}}], "usage": None})
    time.sleep(FIRST_S)
    for word in range(WORDS):
        handler.say({"choices": [{"delta": {"content": f"wörd{word} "}}]})
        time.sleep(GAP_S)
    if usage is not None:
        counts = {"completion_tokens": usage, "prompt_tokens": 13}
        handler.say({"choices": [], "usage": counts})
    if done:
        handler.say(b"[DONE]")


def ollama(handler: Handler, body: dict[str, Any]) -> None:
    handler.begin("application/x-ndjson")
    time.sleep(FIRST_S)
    for word in range(WORDS):
        handler.say({"response": f"w{word} ", "done": False}, prefix=b"", after=b"\n")
        time.sleep(GAP_S)
    last = {"response": "", "done": True, "eval_count": 24, "prompt_eval_count": 9}
    handler.say(last, prefix=b"", after=b"\n")


OPENAI = {"/v1/models": {"object": "list", "data": [{"id": "m-1"}, {"id": "m-2"}]}}
OLLAMA = {"/api/tags": {"models": [{"name": "llama:1b"}]}}


@contextmanager
def endpoint(lists: Mapping[str, Any], talk: Talk) -> Iterator[Any]:
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.lists, server.talk, server.asked = lists, talk, []
    server.now = server.most = 0
    server.counting = threading.Lock()
    server.daemon_threads = False
    server.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def values(answer: Any) -> dict[str, float]:
    return {metric["name"]: metric["value"] for metric in answer.output_data["metrics"]}


SMALL = {"requests": 6, "concurrency": 3, "warmup": 1, "max_tokens": 40}


def test_an_openai_endpoint(bench: Any, tmp_path: Path) -> None:
    with endpoint(OPENAI, openai) as server:
        asked = {"url": server.url + "/v1", "api_key": "s3cret", "prompt": "hé", **SMALL}
        answer = bench.run("llm-throughput", asked, tmp_path)
    output = answer.output_data
    assert (output["valid"], output["invalid_reasons"]) == (True, [])
    assert output["facts"] == {
        "model": "m-1",
        "api": "openai",
        "concurrency": 3,
        "requests": 6,
        "max_tokens": 40,
        "prompt_tokens": 13,
        "token_count": "usage",
    }
    assert output["output_tokens"] == {"min": 40, "max": 40, "sum": 240}
    assert len(server.asked) == 7
    assert server.most <= 4  # a handler may end a moment after its client has all
    path, body, authorization = server.asked[0]
    assert (path, authorization) == ("/v1/chat/completions", "Bearer s3cret")
    assert body["messages"] == [{"role": "user", "content": "hé"}]
    assert (body["stream"], body["max_tokens"]) == (True, 40)
    assert "s3cret" not in answer.stderr + answer.stdout.decode()
    found = values(answer)
    assert set(found) == {
        *("output_throughput", "request_throughput", "ttft_p50", "ttft_p99"),
        *("tpot_p50", "tpot_p99", "latency_p50", "latency_p99"),
    }
    # The server cannot be faster than its sleeps; how much slower is the machine's affair.
    assert 1e3 * FIRST_S <= found["ttft_p50"] <= found["ttft_p99"] < 30_000
    stream_ms = 1e3 * GAP_S * (WORDS - 1)
    assert stream_ms / 39 <= found["tpot_p50"] < 3_000
    assert 1e3 * FIRST_S + stream_ms <= found["latency_p50"] <= found["latency_p99"] < 30_000
    slowest_ms = 1e3 * FIRST_S + stream_ms
    assert 0 < found["output_throughput"] <= 240 / (2 * slowest_ms / 1e3)
    assert '"kind": "progress"' in answer.stderr


def test_an_ollama_endpoint(bench: Any, tmp_path: Path) -> None:
    with endpoint(OLLAMA, ollama) as server:
        answer = bench.run("llm-throughput", {"url": server.url, **SMALL}, tmp_path)
    output = answer.output_data
    assert output["facts"]["api"] == "ollama"
    assert output["facts"]["model"] == "llama:1b"
    assert output["facts"]["prompt_tokens"] == 9
    assert output["output_tokens"]["sum"] == 6 * 24
    assert server.asked[0][0] == "/api/generate"
    assert server.asked[0][1]["options"]["num_predict"] == 40
    assert values(answer)["ttft_p50"] >= 1e3 * FIRST_S


def test_an_endpoint_that_does_not_count(bench: Any, tmp_path: Path) -> None:
    """Then its events are counted, and the facts say so."""
    with endpoint(OPENAI, lambda *given: openai(*given, usage=None)) as server:
        asked = {"url": server.url + "/v1/", "model": "m-2", **SMALL}
        answer = bench.run("llm-throughput", asked, tmp_path)
    assert answer.output_data["facts"]["token_count"] == "chunks"
    assert answer.output_data["facts"]["model"] == "m-2"
    assert answer.output_data["output_tokens"]["min"] == WORDS
    assert server.asked[0][1]["model"] == "m-2"


def test_some_requests_fail(bench: Any, tmp_path: Path) -> None:
    """The numbers are those of the others, and not valid."""
    calls = iter(range(100))

    def talk(handler: Handler, body: dict[str, Any]) -> None:
        if next(calls) == 3:
            handler.begin("text/plain", 503)
            handler.wfile.write(b"overloaded")
        else:
            openai(handler, body)

    with endpoint(OPENAI, talk) as server:
        answer = bench.run("llm-throughput", {"url": server.url + "/v1", **SMALL}, tmp_path)
    assert answer.output_data["valid"] is False
    words = ["only 5 of 6 requests succeeded: HTTP 503: overloaded"]
    assert answer.output_data["invalid_reasons"] == words
    assert len(values(answer)) == 8


def _refuses(handler: Handler, body: dict[str, Any]) -> None:
    handler.begin("text/event-stream")
    handler.say({"error": {"message": "out of memory", "code": 500}})


def _silent(handler: Handler, body: dict[str, Any]) -> None:
    handler.begin("text/event-stream")
    handler.say(b"[DONE]")


def _garbage(handler: Handler, body: dict[str, Any]) -> None:
    handler.begin("text/event-stream")
    handler.say(b"<html>")


def _unauthorised(handler: Handler, body: dict[str, Any]) -> None:
    handler.begin("application/json", 401)
    handler.wfile.write(b'{"error": "bad key"}')


@pytest.mark.parametrize(
    ("talk", "message"),
    [
        (_refuses, "m-1: out of memory"),
        (_silent, "m-1: the answer held no text"),
        (_garbage, "m-1: Expecting value: line 1 column 1 (char 0)"),
        (_unauthorised, 'm-1: HTTP 401: {"error": "bad key"}'),
        (lambda *given: openai(*given, done=False), "m-1: the stream broke off"),
    ],
    ids=["refuses", "silent", "garbage", "unauthorised", "breaks-off"],
)
def test_no_request_succeeds(bench: Any, tmp_path: Path, talk: Talk, message: str) -> None:
    with endpoint(OPENAI, talk) as server:
        answer = bench.run("llm-throughput", {"url": server.url + "/v1", **SMALL}, tmp_path)
    assert answer.exit_code == 3
    assert answer.error["message"] == message


def test_an_endpoint_that_says_nothing_is_given_up(bench: Any, tmp_path: Path) -> None:
    over = threading.Event()

    def talk(handler: Handler, body: dict[str, Any]) -> None:
        over.wait(30)

    with endpoint(OPENAI, talk) as server:
        asked = {"url": server.url + "/v1", "request_s": 0.3, **SMALL}
        answer = bench.run("llm-throughput", asked, tmp_path)
        over.set()
    assert answer.exit_code == 3
    assert answer.error["message"] == "m-1: timed out"


def test_an_endpoint_without_a_model(bench: Any, tmp_path: Path) -> None:
    with endpoint({"/v1/models": {"data": []}}, openai) as server:
        answer = bench.run("llm-throughput", {"url": server.url + "/v1", **SMALL}, tmp_path)
    assert answer.exit_code == 4
    assert "no model" in answer.error["message"]
