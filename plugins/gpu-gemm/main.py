#!/usr/bin/env python3
"""Measures how fast each GPU multiplies matrices, for each precision."""

import statistics

import gpu_matmul
import gpu_measure
import gpu_run
import rune


def load(chosen, _samples):
    """Run each precision on one GPU after the other, so that none takes another's power."""
    precisions, size = rune.param("precisions"), rune.param("size")
    spec = {"size": size, "warmup": rune.param("warmup"), "iterations": rune.param("iterations")}
    metrics, skipped, spoilt = [], [], []
    with gpu_run.directory() as place:
        method, argv = gpu_run.find(
            rune.param("backend"),
            rune.param("python"),
            chosen[0].visible,
            gpu_matmul.__file__,
            gpu_matmul.CUDA,
            place,
        )
        steps = [(unit, precision) for unit in chosen for precision in precisions]
        for at, (unit, precision) in enumerate(steps):
            name = gpu_measure.title(unit)
            rune.progress(100.0 * at / len(steps), "{} {}".format(name, precision))
            job = gpu_run.Job(name, argv, unit.visible, dict(spec, precision=precision))
            records = gpu_run.run([job], rune.left())[name]
            rates = [
                2.0 * size**3 * one["products"] / one["seconds"] / 1e12
                for one in records
                if one.get("seconds")
            ]
            wrong = sum(one.get("mismatches", 0) for one in records)
            if wrong:
                spoilt.append("{} computed {} wrong {} products".format(name, wrong, precision))
            if not rates:
                why = next((one["skipped"] for one in records if "skipped" in one), "no result")
                skipped.append(dict(unit.labels, precision=precision, reason=why))
                continue
            rate = statistics.median(rates)
            metrics.append(
                rune.metric(
                    "gemm_" + precision, rate, "TFLOP/s", "higher", unit.labels, samples=rates
                )
            )
    return method, metrics, {"skipped": skipped, "spoilt": spoilt}


if __name__ == "__main__":
    rune.tidy_on_term()
    rune.run(lambda: gpu_measure.measure(load, skipped=[]))
