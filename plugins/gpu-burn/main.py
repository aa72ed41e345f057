#!/usr/bin/env python3
"""Keeps GPUs under full load and tells how power, clocks and temperature went."""

import statistics

import gpu_matmul
import gpu_measure
import gpu_run
import rune

POINTS = 120  # of a series in the answer: a point for each second of the shortest useful burn


def load(chosen, samples):
    """Multiply matrices on all units at once for as long as was asked for."""
    seconds, size, precision = (rune.param(one) for one in ("duration_s", "size", "precision"))
    spec = {"precision": precision, "size": size, "warmup": 3, "seconds": seconds}
    with gpu_run.directory() as place:
        method, argv = gpu_run.find(
            rune.param("backend"),
            rune.param("python"),
            chosen[0].visible,
            gpu_matmul.__file__,
            gpu_matmul.CUDA,
            place,
        )
        done = {unit.visible: 0.0 for unit in chosen}
        bus_ids = {unit.visible: unit.gpu.bus_id for unit in chosen}
        begun = {}  # how many samples there were of a GPU when its load was known to run

        def progress(key, record):
            begun.setdefault(bus_ids[key], len(samples.get(bus_ids[key], ())))
            done[key] += record.get("seconds", 0.0)
            least = min(seconds, min(done.values()))
            rune.progress(100.0 * least / seconds, "{:.0f} of {} s".format(least, seconds))

        jobs = [gpu_run.Job(unit.visible, argv, unit.visible, spec) for unit in chosen]
        records = gpu_run.run(jobs, seconds + 120, progress)
    metrics, spoilt, skipped, series = [], [], [], []
    for unit in chosen:
        told = [one for one in records[unit.visible] if one.get("seconds")]
        wrong = sum(one.get("mismatches", 0) for one in told)
        if wrong:
            spoilt.append(
                "{}: {} of {} checks found a wrong product".format(
                    gpu_measure.title(unit), wrong, len(told)
                )
            )
        if not told:
            why = next((o["skipped"] for o in records[unit.visible] if "skipped" in o), "no result")
            skipped.append(dict(unit.labels, reason=why))
            continue
        rates = [2.0 * size**3 * one["products"] / one["seconds"] / 1e12 for one in told]
        metrics.append(
            rune.metric(
                "burn_" + precision,
                statistics.median(rates),
                "TFLOP/s",
                "higher",
                unit.labels,
                _thinned(rates),
            )
        )
    for index, bus_id in {unit.gpu.index: unit.gpu.bus_id for unit in chosen}.items():
        loaded = samples.get(bus_id, [])[begun.get(bus_id, 0) :]
        metrics += _measured({"gpu": str(index)}, loaded)
        points = [_point(one, loaded[0].at_s) for one in _thinned(loaded)]
        series.append({"gpu": str(index), "points": points})
    return method, metrics, {"skipped": skipped, "spoilt": spoilt, "series": series}


def _measured(labels, loaded):
    wanted = (
        ("burn_power", "power_w", "W", "lower", statistics.mean),
        ("burn_sm_clock", "sm_mhz", "MHz", "higher", statistics.mean),
        ("burn_temperature", "celsius", "Cel", "lower", max),
    )
    for name, field, unit, better, summary in wanted:
        values = [getattr(one, field) for one in loaded if getattr(one, field) is not None]
        if values:
            # of a maximum no samples: fleets compare samples as repeated measurements of the value
            samples = None if summary is max else _thinned(values)
            yield rune.metric(name, summary(values), unit, better, labels, samples)


def _point(sample, begin):
    return {
        "at_s": round(sample.at_s - begin, 1),
        "power_w": sample.power_w,
        "sm_clock_mhz": sample.sm_mhz,
        "temperature_celsius": sample.celsius,
        "throttle_reasons": sorted(sample.throttles),
    }


def _thinned(values):
    return values[:: max(1, -(-len(values) // POINTS))]


if __name__ == "__main__":
    rune.tidy_on_term()
    rune.run(lambda: gpu_measure.measure(load, skipped=[], series=[]))
