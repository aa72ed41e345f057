"""Calls and time that many instances under AWS Systems Manager cost, beside one command for each.

    python benchmarks/ssm.py [--instances 500] [--sleep 5]

The endpoint is ``lmm.testing.aws`` in a process of its own: it runs every script for real, on this
machine. ``rune`` is the ``ssm`` transport; ``each`` sends one command per instance and asks for
each invocation every second until it has ended, as a shell script around the AWS CLI does.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import resource
import time
from collections import Counter
from collections.abc import Iterator
from multiprocessing.connection import Connection
from typing import Any


def serve(pipe: Connection, instances: int) -> None:
    """Run the endpoint; answer every message with the calls since the last one."""
    from lmm.testing.aws import FakeAws

    with FakeAws(instances) as account:
        pipe.send((account.environment, account.instance_ids))
        seen: Counter[str] = Counter()
        while pipe.recv():
            now = Counter(account.calls)
            pipe.send(now - seen)
            seen = now


@contextlib.contextmanager
def endpoint(instances: int) -> Iterator[tuple[Connection, list[str]]]:
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(there, instances))
    process.start()
    environment, ids = here.recv()
    os.environ.update(environment)
    yield here, ids
    here.send(False)
    process.join()


def rune(ids: list[str], sleep_s: int) -> float:
    """Run on all instances; return when the last plugin had finished."""
    from lom import Inventory, Orchestrator, Target

    targets = {id: Target(id, transport="ssm") for id in ids}
    with Orchestrator(Inventory(targets=targets)) as orchestrator:
        params = {"command": f"sleep {sleep_s}; date +%s.%N"}
        results = list(orchestrator.run("host.exec", ids, params))
        bad = [result for result in results if not result.ok]
        if bad:
            raise SystemExit(f"{len(bad)} of {len(ids)} failed: {bad[0].error}")
        return max(float(r.output_data["stdout"]) for r in results if r.output_data)


def each(ids: list[str], sleep_s: int) -> float:
    import boto3

    make: Any = boto3.client
    client = make("ssm")
    sent = {}
    for instance in ids:
        answer = client.send_command(
            InstanceIds=[instance],
            DocumentName="AWS-RunShellScript",
            Parameters={"commands": [f"sleep {sleep_s}; date +%s.%N"]},
        )
        sent[instance] = answer["Command"]["CommandId"]
    finished = []
    while sent:
        time.sleep(1)
        for instance, command in list(sent.items()):
            found = client.get_command_invocation(CommandId=command, InstanceId=instance)
            if found["Status"] == "Success":
                finished.append(float(found["StandardOutputContent"]))
                del sent[instance]
    client.close()
    return max(finished)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--instances", type=int, default=500)
    parser.add_argument("--sleep", type=int, default=5)
    asked = parser.parse_args()
    with endpoint(asked.instances) as (calls, ids):
        for name, way in (("rune", rune), ("each", each)):
            began = time.time()
            cpu = time.process_time()
            last = way(ids, asked.sleep)
            ended = time.time()
            calls.send(True)
            counted: Counter[str] = calls.recv()
            sends = counted.pop("SendCommand")
            print(
                f"{name}: {len(ids)} instances, {sends} SendCommand,"
                f" {sum(counted.values())} further calls {dict(counted)};"
                f" wall {ended - began:.1f} s, {ended - last:.1f} s after the last plugin;"
                f" client CPU {(time.process_time() - cpu) * 1000 / len(ids):.1f} ms per instance,"
                f" at most {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MB"
            )


if __name__ == "__main__":
    main()
