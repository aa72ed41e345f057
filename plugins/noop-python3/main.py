"""Echoes input_parameters as output_data, byte for byte: numbers keep all their digits."""

import json
import re
import sys

SPACE = re.compile(r"[ \t\n\r]*")
DECODER = json.JSONDecoder(parse_int=len, parse_float=len)  # numbers are skipped, never converted


def member(text, at, name):
    """Return where the value of a member of the object at ``text[at]`` starts and ends."""
    at = SPACE.match(text, at).end()
    if text[at : at + 1] != "{":
        raise ValueError("not an object")
    while text[at] != "}":
        key, at = DECODER.raw_decode(text, SPACE.match(text, at + 1).end())
        start = SPACE.match(text, SPACE.match(text, at).end() + 1).end()
        _, end = DECODER.raw_decode(text, start)
        if key == name:
            return start, end
        at = SPACE.match(text, end).end()
    raise ValueError("no such member")


def main():
    text = sys.stdin.buffer.read().decode()
    try:
        payload, _ = member(text, 0, "payload")
        start, end = member(text, payload, "input_parameters")
        if text[start] != "{":
            raise ValueError("not an object")
    except (ValueError, IndexError):
        message = "the input has no object payload.input_parameters"
        print(json.dumps({"error": {"code": 1, "message": message}}))
        return 1
    answer = '{"payload":{"result":"success","output_data":%s}}\n' % text[start:end]
    sys.stdout.buffer.write(answer.encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
