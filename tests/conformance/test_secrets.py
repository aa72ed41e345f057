"""Nothing of a secret leaves a run, whatever a plugin does with it and wherever a text is cut."""

from __future__ import annotations

import json
import os
import secrets
import string
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from lmm.model import Become, Limits, Outcome, SecretRef, Target
from lmm.redact import MASK
from lmm.testing import Account, Sshd

PIN = 987654321
ANSWER = {"payload": {"result": "success", "output_data": {"n": 1}}}
# The child has written half of what it will when the parent ends.
FORK = """\
r, w = os.pipe()
if not os.fork():
    pass
    sys.stderr.write("so far " + s[:77])
    sys.stderr.flush()
    os.write(w, b"x")
    time.sleep(2)
    os._exit(0)
os.read(r, 1)
"""
# Each is a plugin's script after ``s`` and ``pin`` were set to the secrets.
MODES = {
    "schema": "print(json.dumps({'payload': {'result': 'success', 'output_data': {'n': s}}}))",
    "name": "print(json.dumps({'payload': {'result': 'success', 'output_data': {'A'*60 + s: 1}}}))",
    "first bytes": "sys.stdout.write('x' * 470 + s)",
    "repeated key": "k = json.dumps('A' * 50 + s); print('{%s: 1, %s: 2}' % (k, k))",
    "envelope": "print(json.dumps({'payload': s}))",
    "own error": "print(json.dumps({'error': {'code': 3, 'message': s, 'details': {s: [pin]}}}))\n"
    "sys.exit(3)",
    "exit code": "print(json.dumps({'error': {'code': 3, 'message': s, 'details': {}}}))",
    "too much": "sys.stdout.write('x' * 400 + s[:90]); sys.stdout.flush(); time.sleep(0.2)\n"
    "sys.stdout.write(s[90:] + 'x' * 9000)",
    "killed": "sys.stderr.write('so far ' + s[:77]); sys.stderr.flush(); time.sleep(60)",
    "killed by others": "sys.stderr.write('so far ' + s[:77]); sys.stderr.flush()\n"
    "os.kill(os.getpid(), 9)",
    "answer killed": "sys.stdout.write('so far ' + s[:77]); sys.stdout.flush()\n"
    "os.kill(os.getpid(), 9)",
    "its child killed": "subprocess.run([sys.executable, '-c', 'import os, sys; os.write(1,"
    " sys.stdin.buffer.read()[:77]); os.kill(os.getpid(), 9)'], input=s.encode())",
    "left": f"{FORK}print(json.dumps(answer))",
    "detached": f"{FORK.replace('pass', 'os.setsid()')}print(json.dumps(answer))",
    "too loud": "sys.stderr.write('so far ' + s[:77]); sys.stderr.flush(); time.sleep(0.2)\n"
    "sys.stderr.write(s[77:] + 'x' * 9000)",
    "repr": "print(repr(s))",
    "number": "print(json.dumps({'payload': {'result': 'success',"
    " 'output_data': {'n': pin, 'text': 'the pin is %d' % pin, 'list': [float(pin), -pin, 1]}}}))",
    "number refused": "print(json.dumps({'payload': {'result': 'success',"
    " 'output_data': {'n': -pin}}}))",
    "number told": "sys.stderr.write('##rune ' + json.dumps({'kind': 'metric', 'name': 'a',"
    " 'value': pin, 'unit': 'ms', 'better': 'lower'}) + '\\n'); print(json.dumps(answer))",
    "wrapped": "sys.stderr.write(base64.encodebytes(b'user:' + s.encode()).decode())\n"
    "sys.stderr.write(s.encode().hex() + '\\n'); print(json.dumps(answer))",
    "escaped": "sys.stderr.write('\\n'.join([json.dumps(s).replace('/', '\\\\/'), repr(s),"
    " ''.join('\\\\u%04X' % ord(c) for c in s), ''.join('%%%02x' % b for b in s.encode()),"
    " json.dumps(json.dumps(s))]) + '\\n'); print(json.dumps(answer))",
    "lines": "sys.stderr.write('begin\\n' + pem + '\\nend\\n'); sys.stderr.flush()\n"
    "for line in pem.splitlines(): sys.stderr.write(line + '\\n'); sys.stderr.flush()\n"
    "print(json.dumps(answer))",
}
SCRIPT = f"""\
import base64, json, os, subprocess, sys, time
given = json.load(sys.stdin)["payload"]["input_parameters"]
s, pin, pem, answer = given["s"], given["pin"]["it"], given["pem"], {ANSWER!r}
"""
SCHEMA = {
    "type": "object",
    "properties": {"n": {"type": "integer", "minimum": 0}},
    "propertyNames": {"maxLength": 20},
}
OUTCOMES = {
    **dict.fromkeys(MODES, Outcome.INVALID_OUTPUT),
    **dict.fromkeys(("number", "number told", "wrapped", "escaped", "lines"), Outcome.OK),
    **dict.fromkeys(("left", "detached"), Outcome.OK),
    "killed by others": Outcome.FAILED,
    "own error": Outcome.FAILED,
    "killed": Outcome.TIMED_OUT,
}


def random_secret() -> str:
    letters = "".join(secrets.choice(string.ascii_letters) for _ in range(116))
    return f"{letters[:20]}/\"'<é\\\x01{letters[20:]}"


def leaks(secret: str, told: str) -> Iterator[str]:
    """Yield pieces of six letters of the secret that stand in what was told."""
    pieces = (secret[at : at + 6] for at in range(len(secret) - 5))
    return (piece for piece in pieces if piece.isascii() and piece.isalpha() and piece in told)


def test_nothing_of_a_secret_is_told(host: Any) -> None:
    secret = random_secret()
    pem = "\n".join([random_secret()[40:80], "ab", random_secret()[40:80], "c"])
    params = {"s": secret, "pin": {"it": PIN}, "pem": pem}
    results = host.carry(
        *(
            host.invocation(
                SCRIPT + script,
                params,
                interpreter=("python3",),
                target=replace(host.target, name=mode.replace(" ", "-")),
                output_schema=SCHEMA,
                write_only=frozenset({"/s", "/pin", "/pem"}),
                limits=Limits(
                    timeout_s=3 if mode == "killed" else 30,
                    stdout_bytes=500 if mode == "too much" else 10_000,
                    stderr_bytes=500 if mode == "too loud" else 10_000,
                ),
            )
            for mode, script in MODES.items()
        )
    )
    by_mode = {result.target.replace("-", " "): result for result in results}
    assert {mode: one.outcome for mode, one in by_mode.items()} == OUTCOMES, results
    told = json.dumps([[str(one) for one in results], [str(one) for one in host.events]])
    assert not list(leaks(secret, told))
    assert not list(leaks(pem, told))
    assert str(PIN)[:4] not in told.replace(secret, "")
    assert by_mode["number"].output_data == {
        "n": MASK,
        "text": f"the pin is {MASK}",
        "list": [MASK, MASK, 1],
    }
    assert by_mode["lines"].stderr == "\n".join(["begin", *[MASK] * 4, "end", *[MASK] * 4, ""])
    logs = [data["message"] for kind, data in host.events if kind == "log"]
    assert sum(line == MASK for line in logs) >= 8
    assert any("metric" in line and MASK in line for line in logs)


@pytest.mark.needs_root
@pytest.mark.parametrize("transport", ["ssh", "openssh"])
def test_a_host_that_repeats_the_sudo_password_is_not_repeated(
    host_factory: Callable[[Target], Any], sshd: Sshd, transport: str
) -> None:
    password = os.environ["RUNE_TEST_SUDO"] = 2 * f"Sudo'{random_secret()[:10]}"
    shell = """#!/bin/bash
prompt=$(sed "s/.*-p \\(rune-[0-9a-f]*-password:\\).*/\\1/" <<<"$2")
printf %s "$prompt" >&2; IFS= read -r typed
printf 'sudo: wrong password: %s\\e[0m%s' "${typed:0:15}" "${typed:15}" >&2; exit 1
"""
    with Account(password="x", sudo="password") as made:
        place = made.home / "shell"
        place.write_text(shell, "ascii")
        place.chmod(0o755)
        subprocess.run(["usermod", "-s", place, made.name], check=True)
        become = Become("root", SecretRef("env:RUNE_TEST_SUDO"))
        target = sshd.target("x", user=made.name, transport=transport, become=become)
        host = host_factory(target)
        result = host.run("echo", {})
    assert result.outcome is Outcome.UNREACHABLE
    assert "wrong password" in str(result)
    assert not list(leaks(password, str(result) + str(host.events)))
