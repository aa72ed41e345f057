# mypy: ignore-errors
import rune

KINDS = {dict: "object", list: "array", str: "string", bool: "boolean", type(None): "null"}


def main():
    what = rune.param("do")
    if what == "walk":
        return {"value": rune.param("value")}
    if what == "get":
        missing = object()
        value = rune.param(*rune.param("path"), default=missing)
        if value is missing:
            return {"type": "missing"}
        return {"type": KINDS.get(type(value), "number"), "value": value}
    if what == "fail":
        names = ("code", "message", "details", "retryable")
        raise rune.Failure(*(rune.param(name, default=None) for name in names))
    if what == "events":
        message = rune.param("message")
        rune.progress(12.5, message)
        rune.log("warning", message)
        rune.metric("busbw", 412.5, "GB/s", "higher", {"device": message, "kind": "a"}, [411, 414])
        rune.metric("latency", 7, "us", "lower")
        return {}
    if what == "left":
        return {"left": rune.left(), "target": rune.context("target")}
    if what == "bytes":
        with open("bytes", "rb") as stream:
            return {"text": stream.read()}
    raise RuntimeError(what)


rune.run(main)
