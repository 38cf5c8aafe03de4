"""y = x Wᵀ for bf16 or float32 weights, float32 activations and sums.

T rows · D inputs · N outputs. bf16 arrives as a uint16 view. One dot product has one order of addition whatever T,
the tile or the thread count (simd.py), so a row has the same bits alone or in a batch. `linear_plain` defines it.
"""

import numba
import numpy as np

from perilune.kernels import threads as team
from perilune.kernels.jit import address, entry, kernel
from perilune.kernels.simd import peek_i64, poke_f32, poke_i64
from perilune.kernels.tiles import dense_tile
from perilune.kernels.vector import widen

_bf16_16, _bf16_8, _bf16_4, _bf16_1 = (dense_tile(rows, True) for rows in (16, 8, 4, 1))
_f32_16, _f32_8, _f32_4, _f32_1 = (dense_tile(rows, False) for rows in (16, 8, 4, 1))

# Bytes of activations that stay in the second-level cache while weight rows pass by.
_CACHED_BYTES = 1 << 19
# From this many rows on, bf16 weights are widened once and reused.
_WIDEN_ROWS = 16
# Weight bytes of one chunk of work: long enough to stream, short enough to share.
_SMALLEST_CHUNK, _LARGEST_CHUNK = 1 << 14, 1 << 18


@kernel
def _tile(rows, bf16, w, stride, table, k, out, out_stride):
    if bf16:
        if rows == 4:
            _bf16_4(w, stride, table, k, out, out_stride)
        elif rows == 8:
            _bf16_8(w, stride, table, k, out, out_stride)
        else:
            _bf16_16(w, stride, table, k, out, out_stride)
    elif rows == 4:
        _f32_4(w, stride, table, k, out, out_stride)
    elif rows == 8:
        _f32_8(w, stride, table, k, out, out_stride)
    else:
        _f32_16(w, stride, table, k, out, out_stride)


@kernel
def product(bf16, w, rows, table, count, k, out, out_stride):
    """`rows` weight rows times the `count` rows listed in `table`; sums of row c go to out + c · out_stride."""
    stride = k * 2 if bf16 else k * 4
    c = 0
    while c < count:
        step = 4 if count - c >= 4 else (2 if count - c >= 2 else 1)
        height = 16 // step
        for r in range(0, rows - rows % height, height):
            _tile(height, bf16, w + r * stride, stride, table + 8 * c, k, out + c * out_stride + 4 * r, out_stride)
        rest = rows % height
        if rest > 0:
            _product_rest(bf16, w, rows - rest, rows, table + 8 * c, step, k, out + c * out_stride, out_stride)
        c += step


@kernel
def _product_rest(bf16, w, first, rows, table, count, k, out, out_stride):
    """The last few rows, one at a time: the tile wants 16 columns, so the last one is repeated."""
    stride = k * 2 if bf16 else k * 4
    columns = np.empty(16, np.int64)
    sums = np.empty(16, np.float32)
    for c in range(16):
        columns[c] = peek_i64(table + 8 * min(c, count - 1))
    for r in range(first, rows):
        if bf16:
            _bf16_1(w + r * stride, stride, address(columns), k, address(sums), 4)
        else:
            _f32_1(w + r * stride, stride, address(columns), k, address(sums), 4)
        for c in range(count):
            poke_f32(out + c * out_stride + 4 * r, sums[c])


@kernel
def block(bf16, w, rows, x, count, k, out, out_stride, wide, table):
    """`rows` weight rows times `count` consecutive activation rows; `wide` is room for 16 float32 weight rows."""
    if not bf16 or count < _WIDEN_ROWS:
        for c in range(count):
            poke_i64(address(table) + 8 * c, x + c * k * 4)
        product(bf16, w, rows, address(table), count, k, out, out_stride)
        return
    for c in range(count):
        poke_i64(address(table) + 8 * c, x + c * k * 4)
    for r in range(0, rows, 16):
        height = min(16, rows - r)
        widen(w + r * k * 2, address(wide), height * k)
        product(False, address(wide), height, address(table), count, k, out + 4 * r, out_stride)


@kernel
def _linear_thread(bf16, w, n, x, t, k, out, rows, columns, sync):
    wide = np.empty(16 * k if bf16 and t >= _WIDEN_ROWS else 1, np.float32)
    table = np.empty(columns, np.int64)
    across, down = (t + columns - 1) // columns, (n + rows - 1) // rows
    total, done = across * down, 0
    chunk = team.claim(sync, 0)
    while chunk < total:
        c, r = chunk // down * columns, chunk % down * rows
        size = k * 2 if bf16 else k * 4
        target = out + 4 * (c * n + r)
        block(bf16, w + r * size, min(rows, n - r), x + c * k * 4, min(columns, t - c), k, target, 4 * n, wide, table)
        done += 1
        chunk = team.claim(sync, 0)
    team.finish(sync, 0, done, total)


@entry(parallel=True)
def _linear_fork(threads, bf16, w, n, x, t, k, out, rows, columns, sync):
    for _ in numba.prange(threads):
        _linear_thread(bf16, w, n, x, t, k, out, rows, columns, address(sync))


@entry()
def _linear_alone(bf16, w, n, x, t, k, out, rows, columns, sync):
    _linear_thread(bf16, w, n, x, t, k, out, rows, columns, address(sync))


@entry()
def chunk_rows(n: int, row_bytes: int) -> int:
    """Weight rows of one chunk: a multiple of 16, about a 32nd of the matrix."""
    wanted = min(max(n * row_bytes // 32, _SMALLEST_CHUNK), _LARGEST_CHUNK)
    return max(16, wanted // row_bytes // 16 * 16)


def linear(x_TD: np.ndarray, w_ND: np.ndarray) -> np.ndarray:
    """x [T, D] float32 times w [N, D] (float32, or bf16 as uint16) as float32 [T, N]."""
    if w_ND.dtype not in (np.float32, np.uint16) or w_ND.ndim != 2 or not w_ND.flags.c_contiguous:
        raise ValueError(f"weights must be contiguous [N, D] float32 or bf16 as uint16, got {w_ND.dtype} {w_ND.shape}")
    if x_TD.ndim != 2 or x_TD.shape[1] != w_ND.shape[1]:
        raise ValueError(f"x {x_TD.shape} does not fit weights {w_ND.shape}")
    x_TD = np.ascontiguousarray(x_TD, np.float32)
    (t, k), n = x_TD.shape, len(w_ND)
    out_TN = np.empty((t, n), np.float32)
    if not t or not n or not k:
        out_TN[:] = 0
        return out_TN
    bf16 = w_ND.dtype == np.uint16
    columns = min(t, max(4, _CACHED_BYTES // (4 * k) // 4 * 4))
    sync = team.sync_words(1)
    args = (
        bf16,
        w_ND.ctypes.data,
        n,
        x_TD.ctypes.data,
        t,
        k,
        out_TN.ctypes.data,
        chunk_rows(n, k * (2 if bf16 else 4)),
        columns,
    )
    if t * n * k < team.FEW_PRODUCTS:
        _linear_alone(*args, sync)
        return out_TN
    with team.region() as threads:
        _linear_fork(threads, *args, sync)
    return out_TN


def linear_plain(x_TD: np.ndarray, w_ND: np.ndarray) -> np.ndarray:
    """The definition, in float64."""
    w = (w_ND.astype(np.uint32) << 16).view(np.float32) if w_ND.dtype == np.uint16 else w_ND
    return x_TD.astype(np.float64) @ w.astype(np.float64).T
