#!/usr/bin/env python3
"""Measures NCCL's all-reduce over the GPUs of this host."""

import collections
import contextlib
import datetime
import json
import os
import re
import shutil
import socket
import sys
import time

# Counts of wrong elements; before 2.11 the largest error, which for sums of floats is tiny.
WRONG = 1e-3
Row = collections.namedtuple("Row", "bytes seconds busbw wrong")


# -- the worker: one rank of torch.distributed ---------------------------------------------------


def reduce_times(torch, distributed, device, sizes, warmup, iterations):
    """Yield the size in bytes, the seconds of one all-reduce and whether its sum was right.

    The group must exist. ``device`` is this rank's.
    """
    on_gpu = torch.device(device).type == "cuda"
    ranks = distributed.get_world_size()

    def settle():
        if on_gpu:
            torch.cuda.synchronize(device)

    for size in sizes:
        data = torch.ones(size // 4, dtype=torch.float32, device=device)
        distributed.all_reduce(data)
        right = bool((data == ranks).all())
        data.zero_()  # so that repeating it stays within the range of a float
        for _ in range(warmup):
            distributed.all_reduce(data)
        distributed.barrier()
        settle()
        start = time.perf_counter()
        for _ in range(iterations):
            distributed.all_reduce(data)
        settle()
        yield size, (time.perf_counter() - start) / iterations, right


def work():
    """Be one rank: join the group that stdin describes and write a record for each size."""
    spec = json.loads(sys.stdin.readline())
    import torch
    from torch import distributed

    backend, device = spec["backend"], spec["device"]
    if backend == "nccl":
        torch.cuda.set_device(device)
    distributed.init_process_group(
        backend,
        init_method="tcp://127.0.0.1:{}".format(spec["port"]),
        rank=spec["rank"],
        world_size=spec["ranks"],
        timeout=datetime.timedelta(seconds=spec["timeout_s"]),
    )
    steps = reduce_times(
        torch, distributed, device, spec["sizes"], spec["warmup"], spec["iterations"]
    )
    for size, seconds, right in steps:
        print(json.dumps({"bytes": size, "seconds": seconds, "wrong": int(not right)}), flush=True)
    distributed.destroy_process_group()


# -- the plugin ----------------------------------------------------------------------------------


def parse(output):
    """Return the rows of all_reduce_perf, the better of out of place and in place for each size.

    A row has size, count, type, redop, since 2.11 root, then twice time, algbw, busbw, #wrong.
    "N/A" stands where nothing was checked.
    """
    rows, first = [], 5
    for line in output.splitlines():
        words = line.split()
        if "busbw" in words:
            first = 5 if "root" in words else 4
        if len(words) < first + 4 or not (words[0].isdigit() and words[1].isdigit()):
            continue
        halves = [words[at : at + 4] for at in (first, first + 4) if len(words) >= at + 4]
        if not all(re.match(r"^[\d.]+$", word) for half in halves for word in half[:3]):
            continue
        best = max(halves, key=lambda half: float(half[2]))
        wrong = sum(half[3] != "N/A" and float(half[3]) > WRONG for half in halves)
        rows.append(Row(int(words[0]), float(best[0]) / 1e6, float(best[2]), wrong))
    return rows


def by_nccl_tests(program, chosen, sizes, warmup, iterations):
    """Return the method and the rows of nccl-tests, one process for all GPUs."""
    argv = [program, "-b", str(sizes[0]), "-e", str(sizes[-1]), "-f", "2", "-g", str(len(chosen))]
    argv += ["-w", str(warmup), "-n", str(iterations), "-c", "1"]
    seen = ",".join(unit.visible for unit in chosen)
    environ = ["CUDA_DEVICE_ORDER=PCI_BUS_ID", "CUDA_VISIBLE_DEVICES=" + seen]
    try:
        status, output = gpu.ask(["env", *environ, *argv], rune.left())
    except gpu.Hung as hung:
        raise rune.Failure(3, str(hung)) from None
    rows = parse(output)
    if (status and not any(row.wrong for row in rows)) or not rows:
        said = [line for line in output.splitlines() if re.search(r"fail|error|warn", line, re.I)]
        last = (said or output.strip().splitlines() or ["nothing"])[-1]
        message = "all_reduce_perf ended with exit status {}: {}".format(status, last.strip())
        raise rune.Failure(3, message, {"output": output[-4096:]})
    version = re.search(r"nccl-tests version (\S+)", output)
    library = re.search(r"nccl-library=(\d+)", output)
    method = "nccl-tests {}".format(version.group(1) if version else "of unknown version")
    return method + (", NCCL {}".format(library.group(1)) if library else ""), rows


def by_torch(python, chosen, sizes, warmup, iterations):
    """Return the method and the rows of torch.distributed, one process for each GPU."""
    here = os.path.abspath(__file__)
    method, argv = gpu_run.find("torch", python, chosen[0].visible, here)
    with contextlib.closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    left = rune.left() or 600
    visible = ",".join(unit.visible for unit in chosen)
    shared = {
        "backend": "nccl",
        "port": port,
        "ranks": len(chosen),
        "sizes": sizes,
        "warmup": warmup,
        "iterations": iterations,
        "timeout_s": left,
    }
    jobs = [
        gpu_run.Job(
            gpu_measure.title(unit), argv, visible, dict(shared, rank=rank, device="cuda:%d" % rank)
        )
        for rank, unit in enumerate(chosen)
    ]
    ranks = list(gpu_run.run(jobs, left).values())
    share = 2.0 * (len(chosen) - 1) / len(chosen)  # PERFORMANCE.md of nccl-tests
    rows = []
    for at in range(min(map(len, ranks))):
        records = [rank[at] for rank in ranks]
        size, seconds = records[0]["bytes"], max(one["seconds"] for one in records)
        wrong = sum(one["wrong"] for one in records)
        rows.append(Row(size, seconds, size / seconds / 1e9 * share, wrong))
    return method + ".distributed", rows


def load(chosen, _samples):
    """Reduce over all chosen GPUs at once."""
    if len(chosen) < 2:
        raise rune.Failure(2, "an all-reduce takes two GPUs, {} is chosen".format(len(chosen)))
    if any("mig" in unit.labels for unit in chosen):
        raise rune.Failure(4, "NCCL does not work across MIG devices; turn MIG off or leave it out")
    sizes, size = [], rune.param("min_mib") * 1048576
    while size <= rune.param("max_mib") * 1048576:
        sizes.append(size)
        size *= 2
    if not sizes:
        raise rune.Failure(
            1,
            "min_mib {min_mib} is above max_mib {max_mib}".format(
                **rune.request()["payload"]["input_parameters"]
            ),
        )
    backend, path = rune.param("backend"), rune.param("all_reduce_perf")
    program = shutil.which(path)
    if backend == "nccl-tests" and not program:
        raise gpu.missing(path, "nccl-tests (github.com/NVIDIA/nccl-tests)")
    how = (chosen, sizes, rune.param("warmup"), rune.param("iterations"))
    if program and backend != "torch":
        method, rows = by_nccl_tests(program, *how)
    else:
        method, rows = by_torch(rune.param("python"), *how)
    ranks = str(len(chosen))
    metrics = [
        rune.metric(name, value, unit, better, {"ranks": ranks, "bytes": str(row.bytes)})
        for row in rows
        for name, value, unit, better in (
            ("allreduce_busbw", row.busbw, "GB/s", "higher"),
            ("allreduce_time", row.seconds * 1e3, "ms", "lower"),
        )
    ]
    best = max(row.busbw for row in rows)
    metrics.append(rune.metric("allreduce_busbw_max", best, "GB/s", "higher", {"ranks": ranks}))
    wrong = [row for row in rows if row.wrong]
    spoilt = ["the sum of {} bytes was wrong".format(row.bytes) for row in wrong]
    return method, metrics, {"spoilt": spoilt}


def links(chosen):
    """Return how the GPUs reach each other, as ``nvidia-smi topo -m`` tells: ``28x NV18``."""
    try:
        matrix = gpu.ask(["nvidia-smi", "topo", "-m"])[1]
    except gpu.Hung:
        return None
    matrix = re.sub(r"\x1b\[[0-9;]*m", "", matrix)  # it underlines its first line
    rows = dict(re.findall(r"^\s*GPU(\d+)\s+(.*)$", matrix, re.MULTILINE))
    indices = sorted({unit.gpu.index for unit in chosen})
    kinds = collections.Counter()
    for at, one in enumerate(indices):
        cells = rows.get(str(one), "").split()
        kinds.update(cells[other] for other in indices[at + 1 :] if other < len(cells))
    return ", ".join("{}x {}".format(n, kind) for kind, n in sorted(kinds.items())) or None


if __name__ == "__main__":
    if sys.argv[1:]:
        work()
    else:
        import gpu
        import gpu_measure
        import gpu_run
        import rune

        rune.tidy_on_term()
        rune.run(lambda: gpu_measure.measure(load, links))
