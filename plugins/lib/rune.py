"""What a Python plugin needs to talk to RUNE, with the standard library of Python 3.6 or newer.

Put ``"lib": ["rune.py"]`` into plugin.json and write::

    import rune

    def main():
        rune.progress(50, "half way")
        return {"path": rune.param("path", default="/")}

    rune.run(main)
"""

import contextlib
import json
import os
import re
import signal
import sys
import time
import traceback

MISSING = object()
_SURROGATE = re.compile("[\ud800-\udfff]")
_started = time.monotonic()
_request = None
_metrics = []


class Failure(Exception):
    """Ends the plugin with an error; ``code`` (1 to 255) is its exit status."""

    def __init__(self, code, message, details=None, retryable=None):
        super().__init__(message)
        self.error = {"code": code, "message": clean(str(message)) or "no message"}
        if details is not None:
            self.error["details"] = details
        if retryable is not None:
            self.error["retryable"] = retryable


def request():
    """Return the whole request, read from stdin once."""
    global _request
    if _request is None:
        try:
            _request = json.loads(sys.stdin.buffer.read().decode("utf-8"))
            _request["payload"]["input_parameters"].keys()
        except (ValueError, KeyError, TypeError, AttributeError):
            _request = None
            raise Failure(1, "stdin has no object payload.input_parameters") from None
    return _request


def param(*path, default=MISSING):
    """Return the parameter that keys and indices lead to: ``param("disks", 0, "name")``.

    null is None. A missing one is ``default``; without that the plugin fails with code 1.
    """
    value = request()["payload"]["input_parameters"]
    for step in path:
        if isinstance(value, dict):
            inside = step in value
        else:
            inside = isinstance(value, list) and step in range(len(value))
        if inside:
            value = value[step]
        elif default is MISSING:
            raise Failure(1, "there is no parameter " + ".".join(map(str, path)))
        else:
            return default
    return value


def context(name, default=None):
    """Return ``target``, ``action``, ``run_id``, ``attempt``, ``deadline`` or ``timeout_s``."""
    return request()["payload"].get("context", {}).get(name, default)


def left():
    """Return the seconds until the host ends the plugin, None if nobody said.

    Counted from the start, so that a wrong clock of the host does no harm.
    """
    timeout = context("timeout_s")
    return None if timeout is None else max(0.0, timeout - (time.monotonic() - _started))


def metric(name, value, unit, better, labels=None, samples=None):
    """Add a number to ``output_data.metrics`` and tell RUNE at once; return it.

    ``better`` is "higher" or "lower", ``labels`` a dict of strings, ``samples`` a list of numbers.
    """
    one = {"name": name, "value": value, "unit": unit, "better": better}
    if labels:
        one["labels"] = labels
    _event("metric", **one)
    if samples is not None:
        one["samples"] = list(samples)
    _metrics.append(one)
    return one


def progress(percent=None, message=None):
    """Tell how far the plugin is, 0 to 100."""
    given = {"percent": percent, "message": message}
    _event("progress", **{name: value for name, value in given.items() if value is not None})


def log(level, message):
    """Write a line of log text; ``level`` is debug, info, warning or error."""
    _event("log", level=level, message=str(message))


def run(function):
    """Answer with the dict that ``function`` returns, or with the error it raised, and exit.

    Metrics that were added are put into the answer. What is raised beside Failure has code 100,
    and its traceback goes to stderr.
    """
    try:
        output_data = dict(function() or {})
        if _metrics:
            output_data["metrics"] = output_data.get("metrics") or _metrics
        answer, status = {"payload": {"result": "success", "output_data": output_data}}, 0
        text = _dumps(answer)
    except Failure as failure:
        answer, status = {"error": failure.error}, failure.error["code"]
        text = _dumps(answer)
    except Exception as error:
        traceback.print_exc()
        message = "{}: {}".format(type(error).__name__, clean(str(error)))
        text, status = _dumps({"error": {"code": 100, "message": message}}), 100
    sys.stdout.buffer.write((text + "\n").encode("ascii"))
    sys.stdout.flush()
    sys.exit(status)


def tidy_on_term():
    """Let TERM end the plugin as an exception does, so that ``finally`` is reached.

    What it has started is killed first: nothing else knows a program of which Python has just made
    the process when TERM comes. A second TERM does not break off what the first one began.
    """
    signal.signal(signal.SIGTERM, _end)


def _end(*_):
    signal.signal(signal.SIGTERM, lambda *_: None)
    for child in _children():
        with contextlib.suppress(OSError):
            os.kill(child, signal.SIGKILL)
    sys.exit(143)


def _children():
    own = str(os.getpid())
    for pid in filter(str.isdigit, os.listdir("/proc") if os.path.isdir("/proc") else []):
        with contextlib.suppress(OSError, IndexError):
            with open("/proc/{}/stat".format(pid), "rb") as stream:
                parent = stream.read().rpartition(b") ")[2].split()[1]
            if parent.decode() == own:
                yield int(pid)


def clean(value):
    """Return bytes or text as text that JSON can carry: what is no character is U+FFFD."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return _SURROGATE.sub("\ufffd", value)


def _dumps(value):
    return json.dumps(_cleaned(value), allow_nan=False)


def _cleaned(value):
    if isinstance(value, (str, bytes)):
        return clean(value)
    if isinstance(value, dict):
        return {clean(str(key)): _cleaned(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_cleaned(one) for one in value]
    return value


def _event(kind, **fields):
    sys.stderr.write("##rune {}\n".format(_dumps(dict(fields, kind=kind))))
    sys.stderr.flush()
