"""GELU by tanh (arXiv 1606.08415) of float32 numbers in one pass; `gelu_plain` defines it.

A number has the same bits wherever it stands and however many threads there are.
"""

import math

import numba
import numpy as np

from perilune.kernels import threads as team
from perilune.kernels.jit import address, entry, kernel
from perilune.kernels.vector import gelu as _gelu

# Numbers of one chunk of work, and how many are worth a second thread.
_CHUNK, _FEW = 1 << 14, 1 << 17


@kernel
def _gelu_thread(x, out, count, sync):
    total, done = (count + _CHUNK - 1) // _CHUNK, 0
    chunk = team.claim(sync, 0)
    while chunk < total:
        first = chunk * _CHUNK
        _gelu(x + 4 * first, out + 4 * first, min(_CHUNK, count - first))
        done += 1
        chunk = team.claim(sync, 0)
    team.finish(sync, 0, done, total)


@entry(parallel=True)
def _gelu_fork(threads, x, out, count, sync):
    for _ in numba.prange(threads):
        _gelu_thread(x, out, count, address(sync))


@entry()
def _gelu_alone(x, out, count):
    _gelu(x, out, count)


def gelu(x: np.ndarray) -> np.ndarray:
    """Of every number of a contiguous float32 array."""
    if x.dtype != np.float32 or not x.flags.c_contiguous:
        raise ValueError(f"numbers must be contiguous float32, got {x.dtype} {x.shape}")
    out = np.empty_like(x)
    if x.size < _FEW:
        _gelu_alone(x.ctypes.data, out.ctypes.data, x.size)
        return out
    with team.region() as threads:
        _gelu_fork(threads, x.ctypes.data, out.ctypes.data, x.size, team.sync_words(1))
    return out


def gelu_plain(x: np.ndarray) -> np.ndarray:
    """The definition, in float64."""
    wide = x.astype(np.float64)
    return wide / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (wide + 0.044715 * wide**3)))
