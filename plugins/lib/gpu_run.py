"""Programs that use a GPU, run as children: found, compiled, started, read and ended.

A child gets a JSON object on stdin and answers with JSON objects, one a line. One that cannot do
its work at all says ``{"unusable": why}``. For Python 3.6 or newer; needs rune.py beside it.
"""

import collections
import contextlib
import json
import os
import re
import shutil
import subprocess
import tempfile
import threading

import rune

PACKAGES = {
    "torch": "PyTorch (pip install torch)",
    "cupy": "CuPy (pip install cupy-cuda12x or cupy-cuda13x)",
    "nvcc": "the CUDA toolkit (cuda-nvcc, and libcublas for matrix products)",
}
PROBES = {
    "torch": "import torch; torch.cuda.get_device_name(0); print('torch', torch.__version__)",
    "cupy": "import cupy; cupy.cuda.Device(0).use(); print('cupy', cupy.__version__)",
}

Job = collections.namedtuple("Job", "key argv visible spec")


@contextlib.contextmanager
def directory():
    """Yield a private directory that is removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="rune-gpu-") as path:
        yield path


def find(wanted, python, visible, worker, source=None, place=None):
    """Return the name of a method and the argv of its worker.

    ``wanted`` is torch, cupy, nvcc, or auto for the first of these that works. ``worker`` is a
    Python file, ``source`` the text of a CUDA program that does the same and is compiled in the
    directory ``place``. Fails with code 2 naming what is missing.
    """
    refusals = []
    for method in ("torch", "cupy", "nvcc") if wanted == "auto" else (wanted,):
        rune.progress(message="looking for {}".format(method))
        try:
            if method == "nvcc":
                return compiled(source, place)
            return _probed(method, python, visible), [python, worker, method]
        except LookupError as refusal:
            refusals.append("{}: {}".format(method, refusal))
    names = ("torch", "cupy", "nvcc") if wanted == "auto" else (wanted,)
    packages = " or ".join(PACKAGES[name] for name in names)
    raise rune.Failure(
        2,
        "no way to use the GPU; it takes {} ({})".format(packages, "; ".join(refusals)),
        {"missing": list(names), "package": packages},
    )


def _probed(method, python, visible):
    try:
        done = subprocess.run(
            [python, "-c", PROBES[method]],
            env=environment(visible),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            timeout=120,  # a first import from a network file system takes its time
        )
    except OSError as error:
        raise LookupError("{}: {}".format(python, error.strerror)) from None
    except subprocess.TimeoutExpired:
        raise LookupError("importing it takes over 120 s") from None
    if done.returncode:
        said = rune.clean(done.stderr).strip().splitlines() or ["exit status", done.returncode]
        raise LookupError(said[-1])
    return rune.clean(done.stdout).strip().splitlines()[-1]


def compiled(source, place):
    """Return the compiler's version and the argv of a CUDA program. Raises LookupError."""
    nvcc = shutil.which("nvcc") or shutil.which("nvcc", path="/usr/local/cuda/bin")
    if not nvcc:
        raise LookupError("there is no nvcc")
    version = subprocess.run([nvcc, "--version"], stdout=subprocess.PIPE, check=False).stdout
    found = re.search(r"V(\d+\.\d+\.\d+)", rune.clean(version))
    path, program = os.path.join(place, "program.cu"), os.path.join(place, "program")
    with open(path, "w", encoding="ascii") as file:
        file.write(source)
    done = subprocess.run(
        [nvcc, "-O2", "-o", program, path, "-ldl"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=300,
    )
    if done.returncode:
        said = rune.clean(done.stdout).strip().splitlines() or ["it says nothing"]
        raise LookupError("nvcc cannot compile: {}".format(said[0]))
    return "nvcc {}".format(found.group(1) if found else "of unknown version"), [program]


def environment(visible):
    """Return the environment of a child that shall see these devices only."""
    return dict(os.environ, CUDA_VISIBLE_DEVICES=visible, CUDA_DEVICE_ORDER="PCI_BUS_ID")


def run(jobs, timeout_s, on_record=None):
    """Run jobs side by side; return what each wrote, by key.

    Fails with code 3 if one ends badly, with code 2 if it says that it is unusable. None is left
    running, whatever happens.
    """
    started, logs = [], contextlib.ExitStack()
    records = {job.key: [] for job in jobs}
    lock = threading.Lock()

    def read(job, process):
        for line in process.stdout:
            with contextlib.suppress(ValueError):
                record = json.loads(line.decode("utf-8", "replace"))
                with lock:
                    records[job.key].append(record)
                    if on_record:
                        on_record(job.key, record)

    try:
        for job in jobs:
            log = logs.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
            process = subprocess.Popen(
                job.argv,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment(job.visible),
            )
            reader = threading.Thread(target=read, args=(job, process), daemon=True)
            started.append((job, process, reader, log))
            reader.start()
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write((json.dumps(job.spec) + "\n").encode("ascii"))
                process.stdin.close()
        for job, process, reader, log in started:
            try:
                process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                message = "{}: no end within {} s".format(job.key, timeout_s)
                raise rune.Failure(3, message) from None
            reader.join(10)
            _check(job, process, records[job.key], log)
    finally:
        for _, process, reader, _ in started:
            if process.poll() is None:
                process.kill()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(5)
            reader.join(5)
            if not reader.is_alive():  # else a child of its own still holds the pipe
                process.stdout.close()
        logs.close()
    return records


def _check(job, process, records, log):
    for record in records:
        if isinstance(record, dict) and "unusable" in record:
            raise rune.Failure(2, "{}: {}".format(job.key, record["unusable"]))
    if process.returncode:
        log.seek(0)
        said = rune.clean(log.read()[-4096:]).strip()
        status = process.returncode
        how = "signal {}".format(-status) if status < 0 else "status {}".format(status)
        last = (said.splitlines() or ["it says nothing"])[-1]
        raise rune.Failure(
            3, "{}: the load ended with {}: {}".format(job.key, how, last), {"output": said}
        )
