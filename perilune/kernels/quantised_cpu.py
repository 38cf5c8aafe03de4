"""y = x Wᵀ for a weight kept in 8 or 4 bits: what every token uses, made small when a model is opened.

T rows · D inputs · N outputs, padded to R, a multiple of 32. INT8: q [R, D] int8 and one float32 scale a row. INT4: the
experts' layout, words [R, D/8] and bf16 scales [R, D/32]. Activations and sums are float32, and one dot product has one
order of addition whatever T or the thread count (simd.py). `int8_plain` and `int4_plain` define the numbers.
"""

import numba
import numpy as np

from perilune.kernels import threads as team
from perilune.kernels.int4_cpu import pack_row, product_float, record_bytes
from perilune.kernels.jit import address, entry, kernel
from perilune.kernels.simd import peek_f32, poke_f32, poke_i64
from perilune.kernels.tiles import int8_tile

_int8_16, _int8_8, _int8_4 = int8_tile(16), int8_tile(8), int8_tile(4)

ROWS = 32  # weight rows of one chunk of work; padding reaches a multiple of it
SLAB = 32  # activation rows that go through a chunk together


def padded(rows: int) -> int:
    """How many rows a weight of so many is kept in."""
    return -(-rows // ROWS) * ROWS


@kernel
def _product_int8(w: int, x_table: int, count: int, k: int, out: int) -> None:
    """ROWS weight rows times `count` activation rows; sums of row c at out + 128 · c."""
    c = 0
    while c < count:
        x, y = x_table + 8 * c, out + 128 * c
        if count - c >= 4:
            for r in range(0, 32, 4):
                _int8_4(w + r * k, k, x, k, y + 4 * r, 128)
            c += 4
        elif count - c >= 2:
            for r in range(0, 32, 8):
                _int8_8(w + r * k, k, x, k, y + 4 * r, 128)
            c += 2
        else:
            for r in range(0, 32, 16):
                _int8_16(w + r * k, k, x, k, y + 4 * r, 128)
            c += 1


@kernel
def _thread(bits, w, scales, n, x, x_bytes, t, k, out, sync):
    table, sums = np.empty(SLAB, np.int64), np.empty(SLAB * ROWS, np.float32)
    across, down = (t + SLAB - 1) // SLAB, (n + ROWS - 1) // ROWS
    total, done = across * down, 0
    chunk = team.claim(sync, 0)
    while chunk < total:
        first, row = chunk // down * SLAB, chunk % down * ROWS
        count = min(SLAB, t - first)
        for c in range(count):
            poke_i64(address(table) + 8 * c, x + (first + c) * x_bytes)
        if bits == 8:
            _product_int8(w + row * k, address(table), count, k, address(sums))
        else:
            product_float(w + row * (k // 2), scales + row * (k // 16), address(table), count, k, address(sums))
        for c in range(count):
            for r in range(min(ROWS, n - row)):
                y = sums[c * ROWS + r]
                if bits == 8:
                    y *= peek_f32(scales + 4 * (row + r))
                poke_f32(out + 4 * ((first + c) * n + row + r), y)
        done += 1
        chunk = team.claim(sync, 0)
    team.finish(sync, 0, done, total)


@entry(parallel=True)
def _fork(threads, bits, w, scales, n, x, x_bytes, t, k, out, sync):
    for _ in numba.prange(threads):
        _thread(bits, w, scales, n, x, x_bytes, t, k, out, address(sync))


@entry()
def _pack(x_TD, packed):
    for t in range(len(x_TD)):
        pack_row(0, address(x_TD) + 4 * t * x_TD.shape[1], x_TD.shape[1], address(packed) + t * packed.shape[1])


def linear_int8(x_TD: np.ndarray, q_RD: np.ndarray, scale_R: np.ndarray, n: int) -> np.ndarray:
    """x [T, D] float32 times the first `n` rows of q · scale, float32 [T, N]; D is a multiple of 16."""
    _check(x_TD, n, len(q_RD), q_RD.shape[1], 16)
    if q_RD.dtype != np.int8 or scale_R.dtype != np.float32 or scale_R.shape != (len(q_RD),):
        raise ValueError(f"INT8 weights are int8 [R, D] and float32 [R], got {q_RD.dtype} and {scale_R.shape}")
    return _run(8, q_RD, scale_R, n, np.ascontiguousarray(x_TD, np.float32), 4 * x_TD.shape[1])


def linear_int4(x_TD: np.ndarray, words_RW: np.ndarray, scale_RG: np.ndarray, n: int) -> np.ndarray:
    """The same for packed words int32 [R, D/8] and bf16 scales as uint16 [R, D/32]."""
    _check(x_TD, n, len(words_RW), 8 * words_RW.shape[1], 32)
    if words_RW.dtype != np.int32 or scale_RG.dtype != np.uint16 or scale_RG.shape[1] * 4 != words_RW.shape[1]:
        raise ValueError(f"INT4 weights are int32 words and bf16 scales, got {words_RW.dtype} and {scale_RG.shape}")
    x_TD = np.ascontiguousarray(x_TD, np.float32)
    packed = np.empty((len(x_TD), record_bytes(x_TD.shape[1], 0)), np.uint8)
    _pack(x_TD, packed)
    return _run(4, words_RW, scale_RG, n, packed, packed.shape[1])


def _check(x_TD: np.ndarray, n: int, rows: int, width: int, multiple: int) -> None:
    if x_TD.ndim != 2 or x_TD.shape[1] != width or width % multiple or rows % ROWS or not 0 < n <= rows:
        raise ValueError(f"x {x_TD.shape} does not fit {n} of {rows} rows of {width}; widths go by {multiple}")


def _run(bits: int, w: np.ndarray, scales: np.ndarray, n: int, x: np.ndarray, x_bytes: int) -> np.ndarray:
    if not w.flags.c_contiguous or not scales.flags.c_contiguous:
        raise ValueError("quantised weights must be contiguous")
    k = w.shape[1] if bits == 8 else 8 * w.shape[1]
    out_TN = np.empty((len(x), n), np.float32)
    if not len(x):
        return out_TN
    args = (bits, w.ctypes.data, scales.ctypes.data, n, x.ctypes.data, x_bytes, len(x), k, out_TN.ctypes.data)
    sync = team.sync_words(1)
    with team.region() as threads:
        _fork(threads, *args, sync)
    return out_TN


def int8_plain(x_TD: np.ndarray, q_RD: np.ndarray, scale_R: np.ndarray, n: int) -> np.ndarray:
    """The definition, in float64."""
    return x_TD.astype(np.float64) @ (q_RD.astype(np.float64) * scale_R[:, None].astype(np.float64))[:n].T


def int4_plain(x_TD: np.ndarray, q_RD: np.ndarray, scale_RG: np.ndarray, n: int) -> np.ndarray:
    """The definition, in float64, on unpacked numbers and float scales."""
    wide_RD = q_RD.astype(np.float64) * np.repeat(scale_RG.astype(np.float64), 32, axis=1)
    return x_TD.astype(np.float64) @ wide_RD[:n].T
