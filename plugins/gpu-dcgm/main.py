#!/usr/bin/env python3
"""Runs NVIDIA's own diagnosis, dcgmi diag, and tells what it found."""

import json
import re
import shutil

import gpu
import gpu_measure
import rune

# dcgm_errors.h: an error of severity 5 (CONFIG) is about how the host is set up, not about a GPU.
CONFIG_SEVERITY = 5
VERDICTS = ("pass", "warn", "fail")


def diagnose(level, wanted):
    """Return the document that ``dcgmi diag -j`` prints; fail with what it says instead."""
    argv = ["dcgmi", "diag", "-r", str(level), "-j"]
    if wanted:
        argv += ["-i", ",".join(map(str, wanted))]
    try:
        status, output = gpu.ask(argv, rune.left())
    except gpu.Hung as hung:
        raise rune.Failure(3, str(hung)) from None
    for at in (found.start() for found in re.finditer(r"^\s*\{", output, re.MULTILINE)):
        try:
            return json.JSONDecoder().raw_decode(output[at:].lstrip())[0]
        except ValueError:
            continue
    said = " ".join(output.split()) or "nothing"
    details = {"exit_status": status, "output": output[:4096]}
    if "host engine" in said or "establish a connection" in said:
        message = "nv-hostengine does not run: start the service nvidia-dcgm ({})".format(said)
        raise rune.Failure(2, message, details)
    raise rune.Failure(3, "dcgmi (exit status {}) says: {}".format(status, said[:500]), details)


def read(document):
    """Return version, driver's version, test results and errors of the whole run.

    DCGM 4 names the tested thing by entity, DCGM 2 and 3 by gpu_id, gpu_ids or not at all; null
    takes the place of tests that were left out.
    """
    root = next(
        (
            document[key]
            for key in ("DCGM Diagnostic", "DCGM GPU Diagnostic")
            if isinstance(document.get(key), dict)
        ),
        document,
    )
    known = dict(document.get("metadata") or {})
    known.update({key: value for key, value in root.items() if isinstance(value, str)})
    tests = []
    for category in filter(None, root.get("test_categories") or []):
        for test in filter(None, category.get("tests") or []):
            for result in filter(None, test.get("results") or []):
                tests.append(
                    {
                        "category": category.get("category"),
                        "test": test.get("name"),
                        "on": _entity(result),
                        "status": str(result.get("status", "")).lower() or "unknown",
                        "messages": _messages(result),
                        "configuration": _configuration(result),
                    }
                )
    errors = [known[key] for key in ("runtime_error", "Runtime Error") if known.get(key)]
    return known.get("version"), known.get("Driver Version Detected"), tests, errors


def _entity(result):
    if "entity_id" in result:
        return "{} {}".format(result.get("entity_group", "GPU"), result["entity_id"])
    one = result.get("gpu_ids", result.get("gpu_id"))
    return None if one is None else "GPU {}".format(one)


def _messages(result):
    messages = []
    for one in result.get("warnings") or []:
        messages.append(str(one.get("warning", one)) if isinstance(one, dict) else str(one))
    return messages


def _configuration(result):
    """Whether all that a result warns of is how the host is set up."""
    warnings = result.get("warnings") or []
    return bool(warnings) and all(
        isinstance(one, dict) and one.get("error_severity") == CONFIG_SEVERITY for one in warnings
    )


def judge(tests, errors):
    """Return the verdict and its reasons."""
    reasons = [{"verdict": "fail", "test": None, "on": None, "text": text} for text in errors]
    for test in tests:
        if test["status"] in ("pass", "skip", "not run"):
            continue
        lenient = test["status"] == "warn" or test["configuration"]
        text = "; ".join(test["messages"]) or "dcgmi says {}".format(test["status"])
        reasons.append(
            {
                "verdict": "warn" if lenient else "fail",
                "test": test["test"],
                "on": test["on"],
                "text": text,
            }
        )
    verdict = max((one["verdict"] for one in reasons), key=VERDICTS.index, default="pass")
    return verdict, reasons


def main():
    """Check that the GPUs are free if the level puts them under load, then diagnose."""
    if not shutil.which("dcgmi"):
        raise gpu.missing("dcgmi", "DCGM (package datacenter-gpu-manager-4-core)")
    level, wanted = rune.param("level"), rune.param("gpus", default=[])
    _, found = gpu.inventory()
    chosen = gpu.units(found, wanted) or []
    reasons = gpu_measure.busy(chosen) if level > 1 else []
    if reasons and not rune.param("disturb"):
        return _answer(False, reasons, None, [], [], None, None)
    rune.progress(message="dcgmi diag -r {}".format(level))
    indices = sorted({unit.gpu.index for unit in chosen}) if wanted else []
    version, driver, tests, errors = read(diagnose(level, indices))
    if not tests and not errors:
        raise rune.Failure(3, "dcgmi diag named no test")
    verdict, why = judge(tests, errors)
    return _answer(not reasons, reasons, verdict, why, tests, version, driver)


def _answer(valid, invalid_reasons, verdict, reasons, tests, version, driver):
    return {
        "valid": valid,
        "invalid_reasons": invalid_reasons,
        "verdict": verdict,
        "reasons": reasons,
        "tests": tests,
        "dcgm_version": version,
        "driver_version": driver,
    }


if __name__ == "__main__":
    rune.tidy_on_term()
    rune.run(main)
