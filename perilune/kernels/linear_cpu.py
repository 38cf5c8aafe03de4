"""y = x Wᵀ for weights in float32, bf16 or int8; activations and sums are float32.

T rows · D inputs · N outputs. bf16 arrives as a uint16 view, int8 with a scale behind each row. One dot product has one
order of addition whatever T, the tile or the thread count (simd.py), so a row has the same bits alone or in a batch.
`linear_plain` defines it.
"""

import numba
import numpy as np

from perilune.kernels import threads as team
from perilune.kernels.jit import address, entry, kernel
from perilune.kernels.simd import peek_i64, poke_f32, poke_i64
from perilune.kernels.tiles import BF16, FLOAT32, INT8, SCALE_BYTES, dense_tile
from perilune.kernels.vector import widen

_f32_16, _f32_8, _f32_4, _f32_1 = (dense_tile(rows, FLOAT32) for rows in (16, 8, 4, 1))
_bf16_16, _bf16_8, _bf16_4, _bf16_1 = (dense_tile(rows, BF16) for rows in (16, 8, 4, 1))
_int8_16, _int8_8, _int8_4, _int8_1 = (dense_tile(rows, INT8) for rows in (16, 8, 4, 1))

_KINDS = {np.dtype(np.float32): FLOAT32, np.dtype(np.uint16): BF16, np.dtype(np.int8): INT8}
# Bytes of activations that stay in the second-level cache while weight rows pass by.
_CACHED_BYTES = 1 << 19
# From this many rows on, bf16 weights are widened once and reused.
_WIDEN_ROWS = 16
# Weight bytes of one chunk of work: long enough to stream, short enough to share.
_SMALLEST_CHUNK, _LARGEST_CHUNK = 1 << 14, 1 << 18


@entry()
def row_bytes(kind: int, k: int) -> int:
    """From one weight row of `k` numbers to the next."""
    if kind == INT8:
        return k + SCALE_BYTES
    return 2 * k if kind == BF16 else 4 * k


@kernel
def _tile(rows, kind, w, stride, table, k, out, out_stride):
    if kind == BF16:
        if rows == 4:
            _bf16_4(w, stride, table, k, out, out_stride)
        elif rows == 8:
            _bf16_8(w, stride, table, k, out, out_stride)
        else:
            _bf16_16(w, stride, table, k, out, out_stride)
    elif kind == INT8:
        if rows == 4:
            _int8_4(w, stride, table, k, out, out_stride)
        elif rows == 8:
            _int8_8(w, stride, table, k, out, out_stride)
        else:
            _int8_16(w, stride, table, k, out, out_stride)
    elif rows == 4:
        _f32_4(w, stride, table, k, out, out_stride)
    elif rows == 8:
        _f32_8(w, stride, table, k, out, out_stride)
    else:
        _f32_16(w, stride, table, k, out, out_stride)


@kernel
def product(kind, w, rows, table, count, k, out, out_stride):
    """`rows` weight rows times the `count` rows listed in `table`; sums of row c go to out + c · out_stride."""
    stride = row_bytes(kind, k)
    c = 0
    while c < count:
        step = 4 if count - c >= 4 else (2 if count - c >= 2 else 1)
        height = 16 // step
        for r in range(0, rows - rows % height, height):
            _tile(height, kind, w + r * stride, stride, table + 8 * c, k, out + c * out_stride + 4 * r, out_stride)
        rest = rows % height
        if rest > 0:
            _product_rest(kind, w, rows - rest, rows, table + 8 * c, step, k, out + c * out_stride, out_stride)
        c += step


@kernel
def _product_rest(kind, w, first, rows, table, count, k, out, out_stride):
    """The last few rows, one at a time: the tile wants 16 columns, so the last one is repeated."""
    stride = row_bytes(kind, k)
    columns = np.empty(16, np.int64)
    sums = np.empty(16, np.float32)
    for c in range(16):
        columns[c] = peek_i64(table + 8 * min(c, count - 1))
    for r in range(first, rows):
        if kind == BF16:
            _bf16_1(w + r * stride, stride, address(columns), k, address(sums), 4)
        elif kind == INT8:
            _int8_1(w + r * stride, stride, address(columns), k, address(sums), 4)
        else:
            _f32_1(w + r * stride, stride, address(columns), k, address(sums), 4)
        for c in range(count):
            poke_f32(out + c * out_stride + 4 * r, sums[c])


@kernel
def block(kind, w, rows, x, count, k, out, out_stride, wide, table):
    """`rows` weight rows times `count` consecutive activation rows; `wide` is room for 16 float32 weight rows."""
    if kind != BF16 or count < _WIDEN_ROWS:
        for c in range(count):
            poke_i64(address(table) + 8 * c, x + c * k * 4)
        product(kind, w, rows, address(table), count, k, out, out_stride)
        return
    for c in range(count):
        poke_i64(address(table) + 8 * c, x + c * k * 4)
    for r in range(0, rows, 16):
        height = min(16, rows - r)
        widen(w + r * k * 2, address(wide), height * k)
        product(FLOAT32, address(wide), height, address(table), count, k, out + 4 * r, out_stride)


@kernel
def _linear_thread(kind, w, n, x, t, k, out, rows, columns, sync):
    wide = np.empty(16 * k if kind == BF16 and t >= _WIDEN_ROWS else 1, np.float32)
    table = np.empty(columns, np.int64)
    across, down = (t + columns - 1) // columns, (n + rows - 1) // rows
    total, done = across * down, 0
    chunk = team.claim(sync, 0)
    while chunk < total:
        c, r = chunk // down * columns, chunk % down * rows
        size = row_bytes(kind, k)
        target = out + 4 * (c * n + r)
        block(kind, w + r * size, min(rows, n - r), x + c * k * 4, min(columns, t - c), k, target, 4 * n, wide, table)
        done += 1
        chunk = team.claim(sync, 0)
    team.finish(sync, 0, done, total)


@entry(parallel=True)
def _linear_fork(threads, kind, w, n, x, t, k, out, rows, columns, sync):
    for _ in numba.prange(threads):
        _linear_thread(kind, w, n, x, t, k, out, rows, columns, address(sync))


@entry()
def _linear_alone(kind, w, n, x, t, k, out, rows, columns, sync):
    _linear_thread(kind, w, n, x, t, k, out, rows, columns, address(sync))


@entry()
def chunk_rows(n: int, row_bytes: int) -> int:
    """Weight rows of one chunk: a multiple of 16, about a 32nd of the matrix."""
    wanted = min(max(n * row_bytes // 32, _SMALLEST_CHUNK), _LARGEST_CHUNK)
    return max(16, wanted // row_bytes // 16 * 16)


def linear(x_TD: np.ndarray, w_ND: np.ndarray) -> np.ndarray:
    """x [T, D] float32 times w [N, D], float32 [T, N]; w is float32, bf16 as uint16, or int8 as `int8_rows` has it."""
    kind = _KINDS.get(w_ND.dtype)
    if kind is None or w_ND.ndim != 2 or not w_ND.flags.c_contiguous:
        raise ValueError(
            f"weights must be contiguous [N, D] float32, bf16 as uint16, or int8 with scales, "
            f"got {w_ND.dtype} {w_ND.shape}"
        )
    width = w_ND.shape[1] - (SCALE_BYTES if kind == INT8 else 0)
    if x_TD.ndim != 2 or x_TD.shape[1] != width:
        raise ValueError(f"x {x_TD.shape} does not fit weights {w_ND.shape}")
    x_TD = np.ascontiguousarray(x_TD, np.float32)
    (t, k), n = x_TD.shape, len(w_ND)
    out_TN = np.empty((t, n), np.float32)
    if not t or not n or not k:
        out_TN[:] = 0
        return out_TN
    columns = min(t, max(4, _CACHED_BYTES // (4 * k) // 4 * 4))
    sync = team.sync_words(1)
    args = (
        kind,
        w_ND.ctypes.data,
        n,
        x_TD.ctypes.data,
        t,
        k,
        out_TN.ctypes.data,
        chunk_rows(n, row_bytes(kind, k)),
        columns,
    )
    if t * n * k < team.FEW_PRODUCTS:
        _linear_alone(*args, sync)
        return out_TN
    with team.region() as threads:
        _linear_fork(threads, *args, sync)
    return out_TN


def int8_rows(q_ND: np.ndarray, scale_N: np.ndarray) -> np.ndarray:
    """int8 numbers with float32 scales as the kernels read them: int8 [N, D + SCALE_BYTES]."""
    rows = np.zeros((len(q_ND), q_ND.shape[1] + SCALE_BYTES), np.int8)
    rows[:, : q_ND.shape[1]] = q_ND
    rows[:, q_ND.shape[1] :][:, :4] = scale_N.astype(np.float32).reshape(-1, 1).view(np.int8)
    return rows


def int8_parts(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The inverse of `int8_rows`: int8 [N, D] and float32 [N, 1]."""
    return rows[:, :-SCALE_BYTES], rows[:, -SCALE_BYTES:][:, :4].copy().view(np.float32)


def linear_plain(x_TD: np.ndarray, w_ND: np.ndarray) -> np.ndarray:
    """The definition, in float64."""
    w = w_ND
    if w_ND.dtype == np.uint16:
        w = (w_ND.astype(np.uint32) << 16).view(np.float32)
    elif w_ND.dtype == np.int8:
        q_ND, scale_N1 = int8_parts(w_ND)
        w = q_ND * scale_N1.astype(np.float64)
    return x_TD.astype(np.float64) @ w.astype(np.float64).T
