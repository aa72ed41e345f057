"""No artefact of a run holds a secret: output of any format, ledger, audit log, tracebacks."""

from __future__ import annotations

import json
import os
import secrets
import string
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

STATE = ".local/state/rune"
PIN = 987654321
ECHO = """\
import base64, json, sys
given = json.load(sys.stdin)["payload"]["input_parameters"]
s, pin = given["token"], given["pin"]
spelt = [s, repr(s), json.dumps(s), json.dumps(s).replace("/", "\\\\/"), s.encode().hex(),
         "".join("%%%02x" % b for b in s.encode()), base64.encodebytes(s.encode()).decode(),
         "".join("\\\\u%04X" % ord(c) for c in s), str(pin), "%e" % pin]
for one in spelt:
    print(one, file=sys.stderr)
print("##rune " + json.dumps({"kind": "log", "level": "info", "message": s}), file=sys.stderr)
print("##rune " + json.dumps({"kind": "metric", "name": "pin", "value": pin, "unit": "ms",
                              "better": "lower"}), file=sys.stderr)
if given["how"] == "ok":
    answer = {"spelt": spelt, "pin": pin, s: [pin, s]}
    print(json.dumps({"payload": {"result": "success", "output_data": answer}}))
elif given["how"] == "schema":
    print(json.dumps({"payload": {"result": "success", "output_data": {"flag": s}}}))
else:
    sys.stdout.write("x" * 480 + s)
"""
INPUT = {
    "type": "object",
    "properties": {
        "token": {"type": "string"},
        "pin": {"type": "integer", "writeOnly": True},
        "how": {"type": "string"},
    },
}


def pieces(secret: str) -> Iterator[bytes]:
    return (secret[at : at + 6].encode() for at in range(len(secret) - 5))


def leaked(secret: str, places: dict[str, bytes]) -> list[str]:
    """Return where pieces of six characters of the secret stand."""
    found = [name for name, data in places.items() if any(p in data for p in pieces(secret))]
    return found + [name for name, data in places.items() if str(PIN)[:6].encode() in data]


@pytest.mark.parametrize("transport", ["local", "ssh"])
def test_no_artefact_of_a_run_has_the_secret(rune: Any, sshd: Any, transport: str) -> None:
    letters = "".join(secrets.choice(string.ascii_letters) for _ in range(120))
    secret = f"{letters[:60]}/'\"<{letters[60:]}"
    inventory = (
        sshd.inventory(1) if transport == "ssh" else "targets: {node001: {transport: local}}"
    )
    rune.write("inventory.yaml", inventory)
    rune.write("pin", f"{PIN}\n\n")
    folder = rune.plugin("t.echo", ECHO, input_schema=INPUT)
    manifest = json.loads((folder / "plugin.json").read_text())
    manifest["runtime"] = "python3"
    manifest["capabilities"][0]["output_schema"] = {"properties": {"flag": {"type": "boolean"}}}
    (folder / "plugin.json").write_text(json.dumps(manifest))
    made = {}
    given = ["-t", "node001", "--secret", "token=env:TOKEN", "--secret", "pin=file:pin"]
    for how, output, code in (
        ("ok", "json", 0),
        ("ok", "table", 0),
        ("ok", "ndjson", 0),
        ("schema", "ndjson", 5),
        ("schema", "yaml", 5),
        ("first bytes", "json", 5),
        ("first bytes", "csv", 5),
    ):
        command = ["run", "t.echo", *given, "-p", f"how={how}", "-o", output, "--debug"]
        done = rune(*command, env={"TOKEN": secret})
        assert done.code == code, done.stderr
        made[f"{how} {output} stdout"] = done.stdout
        made[f"{how} {output} stderr"] = done.stderr.encode()
        if (how, output) == ("ok", "json"):
            assert done.document["results"][0]["output_data"]["pin"] == "********"
    wrong = ["run", "t.echo", "-t", "node001", "--secret", "pin=env:TOKEN", "--debug"]
    refused = rune(*wrong, "-o", "json", env={"TOKEN": secret})
    assert refused.code == 2
    made["refused"] = refused.stdout + refused.stderr.encode()
    state = Path(os.environ["HOME"]) / STATE
    files = {str(path): path.read_bytes() for path in state.rglob("*") if path.is_file()}
    assert any(name.endswith("ledger.sqlite") for name in files)
    assert not leaked(secret, {**made, **files})


MARK = {"type": "string", "writeOnly": True}
OPEN = {"additionalProperties": True}
MARKED: dict[str, dict[str, Any]] = {
    "unevaluated": {"unevaluatedProperties": MARK},
    "dependent": {**OPEN, "dependentSchemas": {"user": {"properties": {"token": MARK}}}},
    **{
        name: {**OPEN, "properties": {"token": to}, "$defs": {"s": {**MARK, **named}}}
        for name, to, named in (
            ("anchor", {"$ref": "#s"}, {"$anchor": "s"}),
            ("id", {"$ref": "urn:x:s"}, {"$id": "urn:x:s"}),
            ("dynamic", {"$dynamicRef": "#s"}, {"$dynamicAnchor": "s"}),
        )
    },
}


@pytest.mark.parametrize("how", MARKED)
def test_whatever_leads_to_a_mark_no_artefact_has_the_secret(rune: Any, how: str) -> None:
    secret = "".join(secrets.choice(string.ascii_letters) for _ in range(40))
    answer = '{"payload":{"result":"success","output_data":{"done":true}}}'
    script = f"""IFS= read -r all
env | grep -c RUNE_PARAM_TOKEN >&2
echo "$all" >&2
echo '{answer}'"""
    rune.plugin("t.marked", script, input_schema=MARKED[how])
    given = json.dumps({"user": "bob", "token": secret})
    done = rune(
        "run", "t.marked", "-t", "local", "-o", "json", "--params", "-", stdin=given.encode()
    )
    assert done.code == 0, done.stderr
    assert done.document["results"][0]["stderr"].startswith("0\n")
    state = Path(os.environ["HOME"]) / STATE
    files = {str(path): path.read_bytes() for path in state.rglob("*") if path.is_file()}
    told = {**files, "stdout": done.stdout, "stderr": done.stderr.encode()}
    assert not [name for name, data in told.items() if any(p in data for p in pieces(secret))]
