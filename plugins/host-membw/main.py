"""Measures memory bandwidth with the four kernels of STREAM, on all CPUs at once."""

import ctypes
import os
import re
import shutil
import subprocess
import threading
import time

from compiled import build, last_level_cache_bytes, processor
from quiet import busy, disturbances, look
from rune import Failure, left, metric, param, progress, run, tidy_on_term

MIB = 1 << 20
CACHES = 4  # STREAM's run rules: each array at least four times all last-level caches
SHARE = 0.5  # of the available memory, at most, for the three arrays
GRACE_S = 5.0  # kept of the deadline for what comes after the measurement

# Each thread stays on a CPU and first touches what it works on later, so that this lies in the
# memory next to it. Prints KERNEL SECONDS lines, and checks the arrays at the end as STREAM does.
SOURCE = r"""
#define _GNU_SOURCE
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double *a, *b, *c;
static long size;
static int threads, rounds;
static pthread_barrier_t barrier;

static double now(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec + at.tv_nsec * 1e-9;
}

static void pin(long number) { /* to that one, in turn, of the CPUs that we may use */
    cpu_set_t all, one;
    int at = -1;
    if (sched_getaffinity(0, sizeof all, &all)) return;
    for (number %= CPU_COUNT(&all); number >= 0; number--)
        do at++;
        while (!CPU_ISSET(at, &all));
    CPU_ZERO(&one);
    CPU_SET(at, &one);
    pthread_setaffinity_np(pthread_self(), sizeof one, &one);
}

static void *work(void *number) {
    long mine = (long)number, from = size / threads * mine;
    long to = mine == threads - 1 ? size : from + size / threads;
    double start = 0;
    pin(mine);
    for (long i = from; i < to; i++) a[i] = 1, b[i] = 2, c[i] = 0;
    for (int round = 0; round < rounds; round++)
        for (int kernel = 0; kernel < 4; kernel++) {
            pthread_barrier_wait(&barrier);
            if (mine == 0) start = now();
            switch (kernel) {
            case 0: for (long i = from; i < to; i++) c[i] = a[i]; break;
            case 1: for (long i = from; i < to; i++) b[i] = 3 * c[i]; break;
            case 2: for (long i = from; i < to; i++) c[i] = a[i] + b[i]; break;
            case 3: for (long i = from; i < to; i++) a[i] = b[i] + 3 * c[i]; break;
            }
            pthread_barrier_wait(&barrier);
            if (mine == 0) printf("%d %.9f\n", kernel, now() - start), fflush(stdout);
        }
    return NULL;
}

int main(int count, char **words) {
    if (count < 4) return 0; /* only whether it runs at all */
    size = atol(words[1]);
    threads = atoi(words[2]);
    rounds = atoi(words[3]);
    if (posix_memalign((void **)&a, 4096, size * 8) ||
        posix_memalign((void **)&b, 4096, size * 8) ||
        posix_memalign((void **)&c, 4096, size * 8))
        return 2;
    pthread_t *all = calloc(threads, sizeof *all);
    pthread_barrier_init(&barrier, NULL, threads);
    for (long i = 0; i < threads; i++)
        if (pthread_create(&all[i], NULL, work, (void *)i)) return 2;
    for (int i = 0; i < threads; i++) pthread_join(all[i], NULL);
    double x = 1, y = 2, z = 0, wrong = 0;
    for (int round = 0; round < rounds; round++) z = x, y = 3 * z, z = x + y, x = y + 3 * z;
    for (long i = 0; i < size; i++)
        wrong += fabs(a[i] / x - 1) + fabs(b[i] / y - 1) + fabs(c[i] / z - 1);
    return wrong / size < 1e-10 ? 0 : 3;
}
"""
KERNELS = (("copy", 16), ("scale", 16), ("add", 24), ("triad", 24))  # bytes for each element


def available_bytes():
    """Return what the kernel would give without swapping."""
    with open("/proc/meminfo") as stream:
        found = re.search(r"^MemAvailable:\s+(\d+) kB", stream.read(), re.MULTILINE)
    return int(found.group(1)) << 10


def stream(program, array_bytes, threads, rounds):
    """Yield the kernel's name and its rate in GB/s as they are measured."""
    argv = [program, str(array_bytes // 8), str(threads), str(rounds)]
    process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    try:
        for line in process.stdout:
            number, seconds = line.split()
            name, each = KERNELS[int(number)]
            yield name, array_bytes / 8 * each / float(seconds) / 1e9
        status = process.wait()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    if status == 3:
        raise Failure(3, "the arrays hold wrong numbers afterwards: memory or processor is faulty")
    if status:
        raise Failure(3, "the measuring program ended with {}".format(status))


def memmove(array_bytes, threads, rounds):
    """Yield the rate of the C library's memmove, which lets other Python threads run."""
    each = array_bytes // threads
    block = ctypes.c_char * each
    arrays = [(block(), block()) for _ in range(threads)]
    for _ in range(rounds):
        workers = [
            threading.Thread(target=ctypes.memmove, args=(into, source, each))
            for into, source in arrays
        ]
        start = time.monotonic()
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        yield "memmove", 2 * each * threads / (time.monotonic() - start) / 1e9


def measure(rates, steps, until):
    """Collect the rates and add a metric for each kernel: the best one, as STREAM tells it."""
    samples = {}
    for done, (name, rate) in enumerate(rates):
        samples.setdefault(name, []).append(rate)
        if done % max(1, steps // 10) == 0:
            progress(100.0 * done / steps, name)
        if until is not None and time.monotonic() > until and len(samples[name]) > 1:
            rates.close()
            break
    for name, found in samples.items():
        kept = found[1:] or found  # the first round fills page tables and caches
        metric(name, max(kept), "GB/s", "higher", None, kept)


def main():
    """Choose the size, compile, measure, and say whether the host was quiet."""
    cache, room = last_level_cache_bytes(), int(available_bytes() * SHARE / 3)
    wanted = int(param("array_mib", default=0)) * MIB or max(64 * MIB, CACHES * cache)
    array_bytes = min(wanted, room) // 4096 * 4096
    threads = int(param("threads", default=0)) or len(os.sched_getaffinity(0))
    rounds, remaining = int(param("rounds")), left()
    until = None if remaining is None else time.monotonic() + remaining / 2 - GRACE_S
    program, compiler, flags = build(SOURCE)
    try:
        reasons = busy()
        if not reasons or param("disturb"):
            before = look()
            if program:
                measure(stream(program, array_bytes, threads, rounds), rounds * 4, until)
            else:
                measure(memmove(array_bytes, threads, rounds), rounds, until)
            reasons += [one for one in disturbances(before, look()) if one not in reasons]
    finally:
        if program:
            shutil.rmtree(os.path.dirname(program), ignore_errors=True)
    if array_bytes < CACHES * cache:
        reasons.append(
            "an array of {} MiB is less than {} times the last-level caches of {} MiB: the numbers"
            " are partly those of the cache".format(array_bytes // MIB, CACHES, cache // MIB)
        )
    facts = processor()
    facts["threads"], facts["array_bytes"], facts["cache_bytes"] = threads, array_bytes, cache
    facts["compiler"] = compiler or "none: memmove of the C library"
    facts["flags"] = flags
    return {"valid": not reasons, "invalid_reasons": reasons, "facts": facts, "metrics": []}


if __name__ == "__main__":
    tidy_on_term()
    run(main)
