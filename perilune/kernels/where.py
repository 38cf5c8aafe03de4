"""Whether numba's kernels reach a tensor. One place, so that a test can send all of a model the other way."""

from torch import Tensor


def on_cpu(x: Tensor) -> bool:
    return x.device.type == "cpu"
