"""Counts the names in a directory."""

import json
import os
import sys


def fail(code, message):
    print(json.dumps({"error": {"code": code, "message": message}}))
    return code


def main():
    message = json.load(sys.stdin)
    path = message["payload"]["input_parameters"]["path"]
    try:
        names = os.listdir(path)
    except OSError as error:
        return fail(3, "cannot read the directory: %s" % error.strerror)
    print(json.dumps({"payload": {"result": "success", "output_data": {"entries": len(names)}}}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
