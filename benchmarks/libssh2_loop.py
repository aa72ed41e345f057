"""The yardstick: the same streams to the same hosts by libssh2 in 64 threads, and nothing else.

Usage: libssh2_loop.py USER PORT KEY COMMAND STREAM ROUNDS HOST…
It checks no host key, waits for no shell, validates nothing and knows no deadline. Prints one JSON
object: ``{"rounds": [seconds, …], "answers": N}``; the first round connects.
"""

from __future__ import annotations

import json
import secrets
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ssh2.session import Session

user, port, key, command, stream_file, rounds, *hosts = sys.argv[1:]
stream = Path(stream_file).read_bytes()
sessions: dict[str, tuple[socket.socket, Session]] = {}


def session_to(host: str) -> Session:
    if host not in sessions:
        sock = socket.create_connection((host, int(port)))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        session = Session()
        session.handshake(sock)
        session.userauth_publickey_fromfile(user, key)
        sessions[host] = (sock, session)
    return sessions[host][1]


def ask(host: str) -> bool:
    channel = session_to(host).open_session()
    channel.execute(command)
    channel.write(stream.replace(b"0" * 32, secrets.token_hex(16).encode()))  # its own directory
    answer = b""
    while b" end " not in answer:
        size, data = channel.read()
        if size < 0 or (size == 0 and channel.eof()):
            break
        answer += data
    channel.close()
    return b'"result":"success"' in answer


seconds, answers = [], 0
with ThreadPoolExecutor(64) as pool:
    for _ in range(int(rounds)):
        began = time.perf_counter()
        answers = sum(pool.map(ask, hosts))
        seconds.append(time.perf_counter() - began)
print(json.dumps({"rounds": seconds, "answers": answers}))
