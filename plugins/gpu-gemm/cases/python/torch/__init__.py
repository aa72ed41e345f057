"""Stands in for torch where a test has no GPU: the calls that the workers make, on a clock of its
own that runs as fast as $TORCH_RATE says (TFLOP/s and GB/s). It computes nothing.

$TORCH_CAPABILITY is a compute capability (9.0). $TORCH_WRONG is a product that comes out wrong.
"""

import os
import time
import types

__version__ = "2.13.0+stand-in"

float64, float32, float16, bfloat16, uint8 = range(5)
WIDTHS = {float64: 8, float32: 4, float16: 2, bfloat16: 2, uint8: 1}
RATE = float(os.environ.get("TORCH_RATE", "100"))
_state = {"now": 0.0, "products": 0}


class Tensor:
    def __init__(self, count, dtype, device, value=0):
        self.count, self.dtype, self.device, self.value = count, dtype, device, value

    def to(self, dtype):
        return Tensor(self.count, dtype, self.device, self.value)

    def clone(self):
        return Tensor(self.count, self.dtype, self.device, self.value)

    def copy_(self, source, non_blocking=False):
        _state["now"] += self.count * WIDTHS[self.dtype] / (RATE * 1e9)

    def zero_(self):
        self.value = 0

    def __eq__(self, other):
        return types.SimpleNamespace(all=lambda: self.value == other)

    __hash__ = None


class Event:
    def __init__(self, enable_timing=False):
        self.at = 0.0

    def record(self):
        self.at = _state["now"]

    def synchronize(self):
        if "TORCH_REAL_TIME" in os.environ:
            time.sleep(max(0.0, self.at - _state.setdefault("slept", 0.0)))
            _state["slept"] = self.at

    def elapsed_time(self, end):
        return (end.at - self.at) * 1e3


def device(name):
    return types.SimpleNamespace(type=name.split(":")[0])


def set_float32_matmul_precision(precision):
    assert precision in ("highest", "high")


def randn(rows, columns, device):
    return Tensor(rows * columns, float32, device)


def ones(count, dtype, device="cpu", pin_memory=False):
    return Tensor(count, dtype, device, 1)


def mm(left, right, out=None):
    out = out or Tensor(left.count, left.dtype, left.device)
    _state["products"] += 1
    _state["now"] += 2.0 * left.count**1.5 / (RATE * 1e12)
    out.value = _state["products"] == int(os.environ.get("TORCH_WRONG", "0"))
    return out


def equal(one, other):
    return one.value == other.value


cuda = types.SimpleNamespace(
    Event=Event,
    get_device_name=lambda index: "stand-in",
    get_device_capability=lambda index: tuple(
        map(int, os.environ.get("TORCH_CAPABILITY", "9.0").split("."))
    ),
    set_device=lambda name: None,
    synchronize=lambda name: None,
)
