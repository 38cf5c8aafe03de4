"""y = x Wᵀ for a dense weight in the experts' INT4 layout, made when a model is opened.

T rows · D inputs · N outputs, padded to R, a multiple of 32: words [R, D/8] and bf16 scales [R, D/32]. Activations and
sums are float32, and one dot product has one order of addition whatever T or the thread count (simd.py).
`linear_int4_plain` defines the numbers.
"""

import numba
import numpy as np

from perilune.kernels import threads as team
from perilune.kernels.int4_cpu import pack_row, product_float, record_bytes
from perilune.kernels.jit import address, entry, kernel
from perilune.kernels.simd import poke_f32, poke_i64

ROWS = 32  # weight rows of one chunk of work; padding reaches a multiple of it
SLAB = 32  # activation rows that go through a chunk together


def padded(rows: int) -> int:
    """How many rows a weight of so many is kept in."""
    return -(-rows // ROWS) * ROWS


@kernel
def _thread(w, scales, n, x, x_bytes, t, k, out, sync):
    table, sums = np.empty(SLAB, np.int64), np.empty(SLAB * ROWS, np.float32)
    across, down = (t + SLAB - 1) // SLAB, (n + ROWS - 1) // ROWS
    total, done = across * down, 0
    chunk = team.claim(sync, 0)
    while chunk < total:
        first, row = chunk // down * SLAB, chunk % down * ROWS
        count = min(SLAB, t - first)
        for c in range(count):
            poke_i64(address(table) + 8 * c, x + (first + c) * x_bytes)
        product_float(w + row * (k // 2), scales + row * (k // 16), address(table), count, k, address(sums))
        for c in range(count):
            for r in range(min(ROWS, n - row)):
                poke_f32(out + 4 * ((first + c) * n + row + r), sums[c * ROWS + r])
        done += 1
        chunk = team.claim(sync, 0)
    team.finish(sync, 0, done, total)


@entry(parallel=True)
def _fork(threads, w, scales, n, x, x_bytes, t, k, out, sync):
    for _ in numba.prange(threads):
        _thread(w, scales, n, x, x_bytes, t, k, out, address(sync))


@entry()
def _pack(x_TD, packed):
    for t in range(len(x_TD)):
        pack_row(0, address(x_TD) + 4 * t * x_TD.shape[1], x_TD.shape[1], address(packed) + t * packed.shape[1])


def linear_int4(x_TD: np.ndarray, words_RW: np.ndarray, scale_RG: np.ndarray, n: int) -> np.ndarray:
    """x [T, D] float32 times the first `n` rows, float32 [T, N]; words are int32, scales bf16 as uint16."""
    (rows, width), (t, k) = words_RW.shape, x_TD.shape
    if k != 8 * width or k % 32 or rows % ROWS or not 0 < n <= rows:
        raise ValueError(f"x {x_TD.shape} does not fit {n} of {rows} rows of {8 * width}; widths go by 32")
    if words_RW.dtype != np.int32 or scale_RG.dtype != np.uint16 or scale_RG.shape != (rows, width // 4):
        raise ValueError(f"INT4 weights are int32 words and bf16 scales, got {words_RW.dtype} and {scale_RG.shape}")
    if not words_RW.flags.c_contiguous or not scale_RG.flags.c_contiguous:
        raise ValueError("INT4 weights must be contiguous")
    out_TN = np.empty((t, n), np.float32)
    if not t:
        return out_TN
    packed = np.empty((t, record_bytes(k, 0)), np.uint8)
    _pack(np.ascontiguousarray(x_TD, np.float32), packed)
    addresses = (words_RW.ctypes.data, scale_RG.ctypes.data, n, packed.ctypes.data, packed.shape[1])
    sync = team.sync_words(1)
    with team.region() as threads:
        _fork(threads, *addresses, t, k, out_TN.ctypes.data, sync)
    return out_TN


def linear_int4_plain(x_TD: np.ndarray, q_RD: np.ndarray, scale_RG: np.ndarray, n: int) -> np.ndarray:
    """The definition, in float64, on unpacked numbers and float scales."""
    wide_RD = q_RD.astype(np.float64) * np.repeat(scale_RG.astype(np.float64), 32, axis=1)
    return x_TD.astype(np.float64) @ wide_RD[:n].T
