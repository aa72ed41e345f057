"""Measures how fast a host's processors compute: one thread alone, then all at once."""

import hashlib
import os
import shutil
import ssl
import statistics
import subprocess
import threading
import time

from compiled import build, processor
from quiet import busy, disturbances, look
from rune import Failure, left, metric, param, progress, run, tidy_on_term

BLOCK = bytes(16384)  # hashlib lets other threads run while it works on more than 2 KiB
GRACE_S = 5.0  # kept of the deadline for what comes after the measurement

# Each thread works off chains that do not depend on each other, so that the units are kept full;
# how well is the compiler's doing. Prints one rate for each round, over all threads, in 1e9/s.
SOURCE = r"""
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { CHAINS = 64, STEPS = 4096 };
static double seconds;
static int threads, rounds, floating;
static double *rates;
static pthread_barrier_t barrier;
static volatile uint64_t kept_int;
static volatile double kept_float;

static double now(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec + at.tv_nsec * 1e-9;
}

static void integers(uint64_t *chain) { /* a multiplication and an addition */
    for (int step = 0; step < STEPS; step++)
        for (int i = 0; i < CHAINS / 8; i++)
            chain[i] = chain[i] * 6364136223846793005u + 1442695040888963407u;
}

static void floats(double *chain) { /* the same, fused where the processor can */
    for (int step = 0; step < STEPS; step++)
        for (int i = 0; i < CHAINS; i++) chain[i] = chain[i] * 0.9999999 + 0.0000001;
}

static void *work(void *number) {
    uint64_t ints[CHAINS];
    double reals[CHAINS];
    for (int i = 0; i < CHAINS; i++) ints[i] = i + 1, reals[i] = i * 0.5;
    for (int round = 0; round < rounds; round++) {
        pthread_barrier_wait(&barrier);
        double start = now(), took;
        long blocks = 0;
        do {
            if (floating) floats(reals);
            else integers(ints);
            blocks++;
        } while ((took = now() - start) < seconds);
        double each = 2.0 * STEPS * (floating ? CHAINS : CHAINS / 8);
        rates[(long)number * rounds + round] = each * blocks / took / 1e9;
    }
    for (int i = 0; i < CHAINS; i++) kept_int += ints[i], kept_float += reals[i];
    return NULL;
}

int main(int count, char **words) {
    if (count < 5) return 0; /* only whether it runs at all */
    floating = !strcmp(words[1], "fp64");
    threads = atoi(words[2]);
    rounds = atoi(words[3]);
    seconds = atof(words[4]);
    rates = calloc((size_t)threads * rounds, sizeof *rates);
    pthread_t *all = calloc(threads, sizeof *all);
    pthread_barrier_init(&barrier, NULL, threads);
    for (long i = 0; i < threads; i++)
        if (pthread_create(&all[i], NULL, work, (void *)i)) return 1;
    for (int i = 0; i < threads; i++) pthread_join(all[i], NULL);
    for (int round = 0; round < rounds; round++) {
        double sum = 0;
        for (int i = 0; i < threads; i++) sum += rates[i * rounds + round];
        printf("%.6f\n", sum);
    }
    return 0;
}
"""


def hashed(threads, rounds, seconds):
    """Return the rates of SHA-256 over all threads, one for each round, in GB/s."""
    rates = []
    for _ in range(rounds):
        counts = [0] * threads
        start = time.monotonic()

        def work(number, counts=counts, start=start):
            while time.monotonic() - start < seconds:
                for _ in range(16):
                    hashlib.sha256(BLOCK).digest()
                counts[number] += 16

        workers = [threading.Thread(target=work, args=(one,)) for one in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        rates.append(sum(counts) * len(BLOCK) / (time.monotonic() - start) / 1e9)
    return rates


def compiled_rates(program, kind, threads, rounds, seconds):
    """Return the rates that the C program prints."""
    argv = [program, kind, str(threads), str(rounds), str(seconds)]
    try:
        output = subprocess.check_output(argv, stdin=subprocess.DEVNULL)
    except subprocess.CalledProcessError as error:
        raise Failure(3, "the measuring program ended with {}".format(error.returncode)) from None
    return [float(line) for line in output.split()]


def measure(program, threads, rounds, seconds):
    """Add the metrics of all kinds of work, for one thread and for all."""
    kinds = ["int64", "fp64"] if program else ["sha256"]
    units = {"int64": "Gop/s", "fp64": "GFLOP/s", "sha256": "GB/s"}
    plan = [(kind, count) for kind in kinds for count in sorted({1, threads})]
    for done, (kind, count) in enumerate(plan):
        progress(100.0 * done / len(plan), "{} with {} threads".format(kind, count))
        if program:
            rates = compiled_rates(program, kind, count, rounds, seconds)
        else:
            rates = hashed(count, rounds, seconds)
        name = kind + ("_single" if count == 1 else "_all")
        labels = {"threads": str(count)}
        metric(name, statistics.median(rates), units[kind], "higher", labels, rates)


def main():
    """Compile, measure, and say whether the host was quiet."""
    threads = int(param("threads", default=0)) or len(os.sched_getaffinity(0))
    rounds, seconds = int(param("rounds")), param("seconds")
    program, compiler, flags = build(SOURCE)
    try:
        spans = (2 if program else 1) * (1 if threads == 1 else 2)
        remaining = left()
        needed = spans * rounds * seconds + GRACE_S
        if remaining is not None and needed > remaining:
            raise Failure(
                1,
                "rounds * seconds is too much: {} tests of {} s do not end within the {:.0f} s"
                " that are left".format(spans, rounds * seconds, remaining),
            )
        reasons = busy()
        if not reasons or param("disturb"):
            before = look()
            measure(program, threads, rounds, seconds)
            reasons += [one for one in disturbances(before, look()) if one not in reasons]
    finally:
        if program:
            shutil.rmtree(os.path.dirname(program), ignore_errors=True)
    facts = processor()
    facts["threads"] = threads
    facts["compiler"] = compiler or "none: CPython with {}".format(ssl.OPENSSL_VERSION)
    facts["flags"] = flags
    return {"valid": not reasons, "invalid_reasons": reasons, "facts": facts, "metrics": []}


if __name__ == "__main__":
    tidy_on_term()
    run(main)
