"""Measures a language model's endpoint: how soon it answers and how fast it writes."""

import http.client
import json
import math
import queue
import ssl
import threading
import time
import urllib.parse

from rune import Failure, left, metric, param, progress, run, tidy_on_term

GRACE_S = 3.0  # kept of the deadline for what comes after the measurement
LINE_BYTES = 1 << 20  # of a streamed event
LISTS = {"openai": "/models", "ollama": "/api/tags"}


class Reply:
    """What one request came to; times are those of time.monotonic, in seconds."""

    def __init__(self):
        self.start = self.first = self.end = None
        self.chunks, self.tokens, self.prompt_tokens, self.error = 0, None, None, None

    def count(self):
        """Return the tokens written: as the endpoint counts them, else the chunks that came."""
        return self.chunks if self.tokens is None else self.tokens


# -- the wire ------------------------------------------------------------------------------------


class Endpoint:
    """Where the model is, and what every request to it shares."""

    def __init__(self, url, secret, wait_s):
        self.parts, self.wait_s = urllib.parse.urlsplit(url), wait_s
        if self.parts.scheme not in ("http", "https") or not self.parts.hostname:
            raise Failure(1, "url: {} is no http or https address".format(url))
        self.headers = {"Content-Type": "application/json", "Accept": "*/*"}
        if secret:
            self.headers["Authorization"] = "Bearer " + secret

    def ask(self, method, path, body=None):
        """Return an open connection and its response; raises OSError or HTTPException."""
        host, port = self.parts.hostname, self.parts.port
        if self.parts.scheme == "https":
            context = ssl.create_default_context()
            wire = http.client.HTTPSConnection(host, port, timeout=self.wait_s, context=context)
        else:
            wire = http.client.HTTPConnection(host, port, timeout=self.wait_s)
        try:
            data = None if body is None else json.dumps(body).encode()
            wire.request(method, self.parts.path.rstrip("/") + path, data, self.headers)
            return wire, wire.getresponse()
        except BaseException:
            wire.close()
            raise

    def get(self, path):
        """Return the JSON at a path, None if there is none."""
        try:
            wire, response = self.ask("GET", path)
            try:
                return json.loads(response.read(LINE_BYTES)) if response.status == 200 else None
            finally:
                wire.close()
        except (OSError, http.client.HTTPException, ValueError):
            return None


def find(endpoint, api, model):
    """Return which API the endpoint speaks and a model it has."""
    for name in ("openai", "ollama") if api == "auto" else (api,):
        listed = endpoint.get(LISTS[name])
        rows = listed.get({"openai": "data", "ollama": "models"}[name]) if listed else None
        if isinstance(rows, list):
            names = [row.get("id") or row.get("name") for row in rows if isinstance(row, dict)]
            if model or names:
                return name, model or names[0]
            raise Failure(4, "the endpoint has no model; load one or name it with model")
    if api != "auto" and model:
        return api, model
    raise Failure(
        2,
        "nothing at {} answers as an OpenAI-compatible or Ollama endpoint".format(
            endpoint.parts.geturl()
        ),
    )


def body_of(api, model, prompt, max_tokens):
    """Return the path and the body of a request for a streamed answer."""
    if api == "ollama":
        options = {"num_predict": max_tokens, "temperature": 0}
        return "/api/generate", {"model": model, "prompt": prompt, "options": options}
    return "/chat/completions", {
        "model": model,
        "messages": [{"role": "user", "content": prompt}],
        "max_tokens": max_tokens,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def understand(api, line):
    """Return the text, the usage and whether it is the last, of one line of a stream.

    Raises ValueError with the endpoint's own words if it tells of an error.
    """
    if api == "openai":
        if not line.startswith(b"data:"):
            return "", None, False
        line = line[len(b"data:") :].strip()
        if line == b"[DONE]":
            return "", None, True
    event = json.loads(line)
    if event.get("error"):
        error = event["error"]
        raise ValueError(error.get("message") if isinstance(error, dict) else str(error))
    if api == "ollama":
        usage = (event.get("eval_count"), event.get("prompt_eval_count"))
        text = (event.get("response") or "") + (event.get("thinking") or "")
        return text, usage if event.get("done") else None, bool(event.get("done"))
    text = ""
    for choice in event.get("choices") or []:
        delta = choice.get("delta") or {}
        text += "".join(delta.get(one) or "" for one in ("content", "reasoning_content"))
    usage = event.get("usage")
    counts = (usage.get("completion_tokens"), usage.get("prompt_tokens")) if usage else None
    return text, counts, False


def converse(endpoint, api, path, body):
    """Do one request and return its Reply; what went wrong is in its ``error``."""
    reply, done = Reply(), False
    reply.start = time.monotonic()
    try:
        wire, response = endpoint.ask("POST", path, body)
        try:
            if response.status != 200:
                said = response.read(500).decode("utf-8", "replace").strip()
                raise ValueError("HTTP {}: {}".format(response.status, said[:200]))
            while not done:
                line = response.readline(LINE_BYTES)
                if not line:
                    break
                if not line.strip():
                    continue
                text, usage, done = understand(api, line.strip())
                if text:
                    reply.end = time.monotonic()
                    reply.first = reply.first or reply.end
                    reply.chunks += 1
                if usage:
                    reply.tokens, reply.prompt_tokens = usage
        finally:
            wire.close()
        if reply.first is None:
            reply.error = "the answer held no text"
        elif not done:
            reply.error = "the stream broke off"
    except (OSError, http.client.HTTPException, ValueError, AttributeError, TypeError) as error:
        reply.error = str(error) or type(error).__name__
    return reply


# -- measuring -----------------------------------------------------------------------------------


def load(one, requests, concurrency, until):
    """Return the replies of so many requests, ``concurrency`` of them at a time."""
    tickets, replies = queue.Queue(), []
    for _ in range(requests):
        tickets.put(None)

    def work():
        while time.monotonic() < until:
            try:
                tickets.get_nowait()
            except queue.Empty:
                return
            replies.append(one())
            if len(replies) % max(1, requests // 10) == 0:
                progress(100.0 * len(replies) / requests, "{} answers".format(len(replies)))

    workers = [threading.Thread(target=work, daemon=True) for _ in range(concurrency)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return replies


def percentile(values, share):
    """Return the nearest-rank percentile: one of the values, and of few values the largest."""
    return sorted(values)[max(0, math.ceil(share / 100 * len(values)) - 1)]


def tell(good):
    """Add the metrics of the replies that came to a good end."""
    firsts = [1e3 * (one.first - one.start) for one in good]
    wholes = [1e3 * (one.end - one.start) for one in good]
    gaps = [1e3 * (one.end - one.first) / (one.count() - 1) for one in good if one.count() > 1]
    wall = max(one.end for one in good) - min(one.start for one in good)
    metric("output_throughput", sum(one.count() for one in good) / wall, "{token}/s", "higher")
    metric("request_throughput", len(good) / wall, "{request}/s", "higher")
    for name, values in (("ttft", firsts), ("tpot", gaps), ("latency", wholes)):
        for share in (50, 99) if values else ():
            value = percentile(values, share)
            samples = values if share == 50 else None
            metric("{}_p{}".format(name, share), value, "ms", "lower", None, samples)


def main():
    """Find the model, warm it up, put it under load and tell what it did."""
    remaining = left()
    until = time.monotonic() + (math.inf if remaining is None else remaining - GRACE_S)
    wait_s = min(param("request_s"), max(1.0, until - time.monotonic()))
    endpoint = Endpoint(param("url"), param("api_key", default=None), wait_s)
    api, model = find(endpoint, param("api"), param("model", default=None))
    requests, concurrency = int(param("requests")), int(param("concurrency"))
    max_tokens = int(param("max_tokens"))
    path, body = body_of(api, model, param("prompt"), max_tokens)

    def one():
        return converse(endpoint, api, path, body)

    progress(0, "warming up {}".format(model))
    for reply in load(one, int(param("warmup")), 1, until):
        if reply.error:
            raise Failure(3, "{}: {}".format(model, reply.error), {"api": api, "model": model})
    replies = load(one, requests, concurrency, until)
    good = [one for one in replies if not one.error]
    errors = sorted({one.error for one in replies if one.error})
    if not good:
        words = errors[0] if errors else "no time was left after the warm-up"
        raise Failure(3, "no request succeeded: {}".format(words), {"errors": errors[:5]})
    tell(good)
    reasons = []
    if len(good) < requests:
        words = "only {} of {} requests succeeded{}"
        told = ": " + "; ".join(errors[:3]) if errors else ", the time was over"
        reasons.append(words.format(len(good), requests, told))
    counted = all(one.tokens is not None for one in good)
    lengths = [one.count() for one in good]
    facts = {
        "model": model,
        "api": api,
        "concurrency": concurrency,
        "requests": requests,
        "max_tokens": max_tokens,
        "prompt_tokens": good[0].prompt_tokens,
        "token_count": "usage" if counted else "chunks",
    }
    return {
        "valid": not reasons,
        "invalid_reasons": reasons,
        "facts": facts,
        "metrics": [],
        "output_tokens": {"min": min(lengths), "max": max(lengths), "sum": sum(lengths)},
    }


if __name__ == "__main__":
    tidy_on_term()
    run(main)
