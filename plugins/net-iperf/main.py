"""One end of an iperf3 measurement: the server for one client, or that client."""

import json
import re
import shutil
import subprocess
import time

from quiet import busy, disturbances, look
from rune import Failure, clean, left, metric, param, progress, run, tidy_on_term

GRACE_S = 3.0  # kept of the deadline for what comes after the measurement
RETRY_S = 0.25
FOREVER_S = 3600.0  # where nobody set a deadline
# What iperf3 says while the server is not there yet, or still serves another; a connection made
# only to look whether it listens would be taken for the one client that it serves.
NOT_YET = re.compile(r"refused|unable to connect|server is busy|timed out", re.IGNORECASE)


def iperf3(argv, limit_s):
    """Return what iperf3 answers as JSON; raises Failure if it is too slow or answers no JSON."""
    process = subprocess.Popen(
        ["iperf3", "-J", *argv],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        output, complaint = process.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired:
        return {"error": "no end after {:.0f} s".format(limit_s), "late": True}
    finally:
        process.kill()
        process.wait()
    text = clean(output)
    try:  # some versions write a second object after an error
        answer, _ = json.JSONDecoder().raw_decode(text.lstrip())
        answer["error"] = answer.get("error")
    except (ValueError, TypeError, AttributeError):
        said = clean(complaint).strip() or text.strip() or "nothing"
        raise Failure(
            3,
            "iperf3 ended with {} and gave no JSON: {}".format(process.returncode, said[:300]),
            {"exit_status": process.returncode},
        ) from None
    return answer


def serve(until):
    """Wait for the one client and return what iperf3 tells of it."""
    port = int(param("port"))
    argv = ["-s", "-1", "-p", str(port)]
    argv += ["-B", param("bind")] if param("bind", default=None) else []
    progress(0, "listening on port {}".format(port))
    answer = iperf3(argv, until - time.monotonic())
    if answer.get("late"):
        raise Failure(3, "no client was served on port {} in time".format(port))
    if answer["error"]:
        raise Failure(3, "iperf3 says: {}".format(answer["error"]), {"port": port})
    return answer


def call(until):
    """Reach the server, which may come up later than we do, and return what iperf3 tells."""
    peer, port, seconds = param("peer"), int(param("port")), int(param("seconds"))
    argv = ["-c", peer, "-p", str(port), "-t", str(seconds), "-P", str(int(param("streams")))]
    argv += ["-R"] if param("reverse") else []
    argv += ["-B", param("bind")] if param("bind", default=None) else []
    patience = time.monotonic() + param("connect_s")
    progress(0, "calling {} port {}".format(peer, port))
    while True:
        answer = iperf3(argv, until - time.monotonic())
        if not answer["error"]:
            return answer
        late = time.monotonic() + RETRY_S > min(patience, until - seconds)
        if answer.get("late") or late or not NOT_YET.search(answer["error"]):
            raise Failure(
                3,
                "{} port {}: iperf3 says: {}".format(peer, port, answer["error"]),
                {"peer": peer, "port": port},
            )
        time.sleep(RETRY_S)


def read(answer, role):
    """Add the metrics of an answer and return its facts.

    What was received counts; a server that sends knows only that. iperf 3.1 knows no round-trip
    time and no congestion control.
    """
    end = answer.get("end", {})
    sent, received = end.get("sum_sent") or {}, end.get("sum_received") or {}
    counted = "received" if received.get("bits_per_second") else "sent"
    rate = received.get("bits_per_second") or sent.get("bits_per_second")
    if not rate:
        raise Failure(3, "iperf3 told of no bytes that arrived", {"end": sorted(end)})
    labels = {"role": role}
    samples = [one["sum"]["bits_per_second"] / 1e9 for one in answer.get("intervals", [])]
    metric(
        *("throughput", rate / 1e9, "Gbit/s", "higher"),
        dict(labels, counted=counted),
        samples or None,
    )
    if "retransmits" in sent:
        metric("retransmits", sent["retransmits"], "1", "lower", labels)
    trips = [one.get("sender", {}).get("mean_rtt") for one in end.get("streams", [])]
    trips = [one for one in trips if one]
    if trips:
        metric("rtt", sum(trips) / len(trips), "us", "lower", labels)
    test = answer.get("start", {}).get("test_start", {})
    return {
        "streams": test.get("num_streams"),
        "reverse": bool(test.get("reverse")),
        "seconds": test.get("duration"),
        "tool": answer.get("start", {}).get("version"),
        "congestion": end.get("sender_tcp_congestion") or end.get("receiver_tcp_congestion"),
    }


def main():
    """Play the role, and say whether the host was quiet meanwhile."""
    if shutil.which("iperf3") is None:
        words = "this host has no iperf3: install the package iperf3"
        raise Failure(2, words, {"missing": "iperf3", "package": "iperf3"})
    role, seconds, remaining = param("role"), param("seconds"), left()
    if role == "client" and not param("peer", default=None):
        raise Failure(1, "peer: a client needs the address of its server")
    until = time.monotonic() + (FOREVER_S if remaining is None else remaining - GRACE_S)
    if time.monotonic() + seconds > until:
        words = "seconds: {} s do not end within the {:.0f} s that are left"
        raise Failure(1, words.format(seconds, remaining))
    # A server that looks around first would keep its client waiting.
    reasons = busy() if role == "client" else []
    facts = {"streams": None, "reverse": None, "seconds": None, "tool": None, "congestion": None}
    if not reasons or param("disturb"):
        before = look()
        facts = read(serve(until) if role == "server" else call(until), role)
        reasons += [one for one in disturbances(before, look()) if one not in reasons]
    return {
        "valid": not reasons,
        "invalid_reasons": reasons,
        "facts": dict(facts, role=role),
        "metrics": [],
        "peer": param("peer", default=None),
    }


if __name__ == "__main__":
    tidy_on_term()
    run(main)
