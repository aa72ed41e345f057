#!/usr/bin/env python3
"""Measures how fast each GPU copies: within its memory, from the host and to it."""

import json
import os
import shutil
import statistics
import sys
import time

# How often a byte passes the GPU's memory (a copy within it reads and writes) and what nvbandwidth,
# which counts each byte once, calls it.
COPIES = {
    "device": (2, "device_local_copy"),
    "host_to_device": (1, "host_to_device_memcpy_ce"),
    "device_to_host": (1, "device_to_host_memcpy_ce"),
}


# -- the worker ----------------------------------------------------------------------------------


def torch_copy(torch, device, copy, count):
    """Return a function that copies COUNT bytes once and returns the seconds that took."""
    on_gpu = torch.device(device).type == "cuda"

    def buffer(on_host):
        if on_host:
            return torch.ones(count, dtype=torch.uint8, pin_memory=on_gpu)
        return torch.ones(count, dtype=torch.uint8, device=device)

    source, target = buffer(copy == "host_to_device"), buffer(copy == "device_to_host")

    def once():
        if not on_gpu:
            start = time.perf_counter()
            target.copy_(source)
            return time.perf_counter() - start
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        target.copy_(source, non_blocking=True)
        end.record()
        end.synchronize()
        return start.elapsed_time(end) / 1e3

    return once


def cupy_copy(cupy, copy, count):
    """The same as torch_copy, on the current GPU."""
    runtime = cupy.cuda.runtime
    device = [cupy.cuda.alloc(count) for _ in range(2)]
    host = cupy.cuda.alloc_pinned_memory(count)
    runtime.memset(device[0].ptr, 1, count)
    target, source, kind = {
        "device": (device[1].ptr, device[0].ptr, runtime.memcpyDeviceToDevice),
        "host_to_device": (device[0].ptr, host.ptr, runtime.memcpyHostToDevice),
        "device_to_host": (host.ptr, device[0].ptr, runtime.memcpyDeviceToHost),
    }[copy]
    stream = cupy.cuda.get_current_stream()

    def once():
        start, end = cupy.cuda.Event(), cupy.cuda.Event()
        start.record(stream)
        runtime.memcpyAsync(target, source, count, kind, stream.ptr)
        end.record(stream)
        end.synchronize()
        return cupy.cuda.get_elapsed_time(start, end) / 1e3

    return once


def work(method):
    """Do what the spec on stdin says; write a record of seconds for each copy."""
    spec = json.loads(sys.stdin.readline())
    for copy in spec["copies"]:
        if method == "torch":
            import torch

            once = torch_copy(torch, "cuda:0", copy, spec["bytes"])
        else:
            import cupy

            once = cupy_copy(cupy, copy, spec["bytes"])
        for _ in range(spec["warmup"]):
            once()
        seconds = [once() for _ in range(spec["iterations"])]
        print(json.dumps({"copy": copy, "seconds": seconds}), flush=True)


CUDA = r"""
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <cuda_runtime.h>

#define TRY(call) do { cudaError_t e_ = (call); if (e_ != cudaSuccess) { \
  fprintf(stderr, "%s: %s\n", #call, cudaGetErrorString(e_)); exit(3); } } while (0)

int main() {
  char line[4096] = "";
  if (!fgets(line, sizeof line, stdin)) return 4;
  auto value = [&](const char *key) {
    char quoted[64];
    snprintf(quoted, sizeof quoted, "\"%s\": ", key);
    const char *at = strstr(line, quoted);
    return at ? atoll(at + strlen(quoted)) : 0LL;
  };
  const size_t bytes = value("bytes");
  const long long warmup = value("warmup"), iterations = value("iterations");
  if (!bytes || !iterations) return 4;
  void *device[2], *host;
  TRY(cudaMalloc(&device[0], bytes)); TRY(cudaMalloc(&device[1], bytes));
  TRY(cudaMallocHost(&host, bytes));
  TRY(cudaMemset(device[0], 1, bytes));
  memset(host, 1, bytes);
  struct { const char *name; void *to, *from; cudaMemcpyKind kind; } copies[] = {
    {"device", device[1], device[0], cudaMemcpyDeviceToDevice},
    {"host_to_device", device[0], host, cudaMemcpyHostToDevice},
    {"device_to_host", host, device[0], cudaMemcpyDeviceToHost}};
  cudaEvent_t start, end;
  TRY(cudaEventCreate(&start)); TRY(cudaEventCreate(&end));
  for (auto &copy : copies) {
    char quoted[64];
    snprintf(quoted, sizeof quoted, "\"%s\"", copy.name);
    if (!strstr(line, quoted)) continue;
    printf("{\"copy\": %s, \"seconds\": [", quoted);
    for (long long i = -warmup; i < iterations; i++) {
      TRY(cudaEventRecord(start));
      TRY(cudaMemcpyAsync(copy.to, copy.from, bytes, copy.kind));
      TRY(cudaEventRecord(end)); TRY(cudaEventSynchronize(end));
      float ms = 0;
      TRY(cudaEventElapsedTime(&ms, start, end));
      if (i >= 0) printf("%s%.9f", i ? ", " : "", ms / 1e3);
    }
    printf("]}\n");
    fflush(stdout);
  }
  return 0;
}
"""


# -- the plugin ----------------------------------------------------------------------------------


def nvbandwidth(unit, copies, size, iterations):
    """Return what nvbandwidth says of each copy in GB/s, as a list, and what it did not measure."""
    argv = ["nvbandwidth", "-j", "-b", str(size), "-i", str(iterations)]
    for copy in copies:
        argv += ["-t", COPIES[copy][1]]
    seen = ["CUDA_DEVICE_ORDER=PCI_BUS_ID", "CUDA_VISIBLE_DEVICES=" + unit.visible]
    try:
        status, output = gpu.ask(["env", *seen, *argv], rune.left())
    except gpu.Hung as hung:
        raise rune.Failure(3, str(hung)) from None
    try:
        told = json.loads(output[output.index("{") :])["nvbandwidth"]
    except (ValueError, KeyError, TypeError):
        said = (output.strip().splitlines() or ["nothing"])[-1]
        raise rune.Failure(
            3, "nvbandwidth (exit status {}) says: {}".format(status, said)
        ) from None
    if told.get("error"):
        raise rune.Failure(3, "nvbandwidth says: {}".format(told["error"]))
    cases = {case.get("name"): case for case in told.get("testcases", [])}
    rates, skipped = {}, []
    for copy in copies:
        case = cases.get(COPIES[copy][1], {})
        cells = [cell for row in case.get("bandwidth_matrix", []) for cell in row if cell != "N/A"]
        if case.get("status") == "Passed" and cells:
            rates[copy] = [COPIES[copy][0] * float(cell) for cell in cells]
        else:
            reason = "nvbandwidth: {}".format(case.get("status", "it knows no such test"))
            skipped.append(dict(unit.labels, copy=copy, reason=reason))
    return "nvbandwidth {}".format(told.get("version", "of unknown version")), rates, skipped


def timed(unit, argv, copies, size, iterations):
    """Return the samples of each copy in GB/s, by a worker of ours."""
    count = size * 1048576
    spec = {"copies": copies, "bytes": count, "iterations": iterations, "warmup": 3}
    job = gpu_run.Job(gpu_measure.title(unit), argv, unit.visible, spec)
    records = gpu_run.run([job], rune.left())[job.key]
    return {
        one["copy"]: [COPIES[one["copy"]][0] * count / seconds / 1e9 for seconds in one["seconds"]]
        for one in records
        if one.get("seconds")
    }


def load(chosen, _samples):
    """Copy on one GPU after the other, so that none takes another's lanes."""
    copies, size = rune.param("copies"), rune.param("size_mib")
    iterations, backend = rune.param("iterations"), rune.param("backend")
    installed = bool(shutil.which("nvbandwidth"))
    if backend == "nvbandwidth" and not installed:
        raise gpu.missing("nvbandwidth", "NVIDIA's nvbandwidth (github.com/NVIDIA/nvbandwidth)")
    metrics, skipped, argv = [], [], None
    with gpu_run.directory() as place:
        by_tool = backend == "nvbandwidth" or (backend == "auto" and installed)
        if not by_tool:
            here = os.path.abspath(__file__)
            visible = chosen[0].visible
            method, argv = gpu_run.find(backend, rune.param("python"), visible, here, CUDA, place)
        for at, unit in enumerate(chosen):
            rune.progress(100.0 * at / len(chosen), gpu_measure.title(unit))
            if by_tool:
                method, rates, left_out = nvbandwidth(unit, copies, size, iterations)
                skipped += left_out
            else:
                rates = timed(unit, argv, copies, size, iterations)
            for copy in copies:
                if copy in rates:
                    rate = statistics.median(rates[copy])
                    name = "membw_" + copy
                    metrics.append(
                        rune.metric(name, rate, "GB/s", "higher", unit.labels, rates[copy])
                    )
    return method, metrics, {"skipped": skipped}


def link(chosen):
    """Return the PCIe links of the GPUs; they decide over copies from and to the host."""
    links = set()
    for unit in chosen:
        path = "pci/pci_gpu_link_info/"
        gen = gpu.number(unit.gpu.element, path + "pcie_gen/max_link_gen")
        width = gpu.number(unit.gpu.element, path + "link_widths/current_link_width")
        if gen and width:
            links.add("PCIe {} x{}".format(gen, width))
    return "; ".join(sorted(links)) or None


if __name__ == "__main__":
    if sys.argv[1:]:
        work(sys.argv[1])
    else:
        import gpu
        import gpu_measure
        import gpu_run
        import rune

        rune.tidy_on_term()
        rune.run(lambda: gpu_measure.measure(load, link, skipped=[]))
