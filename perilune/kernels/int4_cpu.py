"""INT4 experts on the native layout: int32 words [N, K/8] (low nibble first, offset 8), bf16 scales [N, K/32].

T tokens · D model width · F expert width · K experts per token (or a matrix's input width) · E experts · P = T·K pairs.

`expert_ffn` reads weights where they lie (a table of addresses), so a mapped checkpoint needs no copy. A token's
experts are added in ascending order, every dot product has one order (simd.py), hence the same bits for any thread
count, batch and tile shape. Mode "float" multiplies float32 activations with exact weights; mode "int8" rounds
activations to int8 per group of 32 (symmetric, absmax / 127), about 0.5 % relative error per product.
`expert_ffn_plain` is the definition.
"""

import numba
import numpy as np

from perilune.kernels import threads as team
from perilune.kernels.jit import address, entry, kernel
from perilune.kernels.simd import poke_i64
from perilune.kernels.tiles import int4_float_tile, int4_int8_tile
from perilune.kernels.vector import add_scaled, clear_groups, pack_float, pack_int8, swiglu

GROUP = 32
MODES = {"float": 0, "int8": 1}
# Rows of one chunk of work: one activation group, so that whoever computes it can also pack it.
CHUNK = 32
# Activation rows that go through a chunk of weights together.
SLAB = 32

_float_16, _float_8, _float_4 = int4_float_tile(16), int4_float_tile(8), int4_float_tile(4)
_int8_16, _int8_8, _int8_4 = int4_int8_tile(16), int4_int8_tile(8), int4_int8_tile(4)


def record_bytes(width: int, mode: int) -> int:
    """Bytes of one packed activation row."""
    return 256 * ((width + 127) // 128) if mode else 4 * width


@kernel
def pack_row(mode: int, x: int, width: int, out: int) -> None:
    """Pack a whole activation row."""
    groups = width // 32
    if mode == 0:
        pack_float(x, 0, groups, out)
    else:
        pack_int8(x, 0, groups, out)
        clear_groups(groups, -groups & 3, out)


@kernel
def pack_group(mode: int, x: int, group: int, groups: int, out: int) -> None:
    """Pack one group of 32; the last one also clears the padding."""
    if mode == 0:
        pack_float(x, group, 1, out)
    else:
        pack_int8(x, group, 1, out)
        if group == groups - 1:
            clear_groups(groups, -groups & 3, out)


@kernel
def product_float(w: int, s: int, x_table: int, count: int, k: int, out: int) -> None:
    """CHUNK weight rows times `count` packed rows; sums of row c at out + 128 · c."""
    w_stride, s_stride = k // 2, k // 16
    c = 0
    while c < count:
        x, y = x_table + 8 * c, out + 128 * c
        if count - c >= 4:
            for r in range(0, 32, 4):
                _float_4(w + r * w_stride, w_stride, s + r * s_stride, s_stride, x, k, y + 4 * r, 128)
            c += 4
        elif count - c >= 2:
            for r in range(0, 32, 8):
                _float_8(w + r * w_stride, w_stride, s + r * s_stride, s_stride, x, k, y + 4 * r, 128)
            c += 2
        else:
            for r in range(0, 32, 16):
                _float_16(w + r * w_stride, w_stride, s + r * s_stride, s_stride, x, k, y + 4 * r, 128)
            c += 1


@kernel
def product_int8(w: int, s: int, x_table: int, count: int, k: int, out: int) -> None:
    """The same on "int8" records."""
    w_stride, s_stride = k // 2, k // 16
    c = 0
    while c < count:
        x, y = x_table + 8 * c, out + 128 * c
        if count - c >= 4:
            for r in range(0, 32, 4):
                _int8_4(w + r * w_stride, w_stride, s + r * s_stride, s_stride, x, k, y + 4 * r, 128)
            c += 4
        elif count - c >= 2:
            for r in range(0, 32, 8):
                _int8_8(w + r * w_stride, w_stride, s + r * s_stride, s_stride, x, k, y + 4 * r, 128)
            c += 2
        else:
            for r in range(0, 32, 16):
                _int8_16(w + r * w_stride, w_stride, s + r * s_stride, s_stride, x, k, y + 4 * r, 128)
            c += 1


@kernel
def product(mode: int, w: int, s: int, row: int, x_table: int, count: int, k: int, out: int) -> None:
    """Weight rows row … row + CHUNK − 1 times `count` packed rows."""
    w, s = w + row * (k // 2), s + row * (k // 16)
    if mode == 0:
        product_float(w, s, x_table, count, k, out)
    else:
        product_int8(w, s, x_table, count, k, out)


@entry()
def sort_pairs(ids_TK, experts: int, pair_P, start_A, active_A):
    """Sort (token, slot) pairs by expert, then token. Returns how many experts are used.

    `pair_P` gets t · K + slot; the pairs of the i-th used expert `active_A[i]` begin at `start_A[i]`. Pairs of an
    expert below 0 are left out.
    """
    count = np.zeros(experts + 1, np.int64)
    flat = ids_TK.reshape(-1)
    total = 0
    for e in flat:
        if e >= 0:
            count[e + 1] += 1
            total += 1
    used = 0
    for e in range(experts):
        if count[e + 1] > 0:
            active_A[used] = e
            start_A[used] = count[e]
            used += 1
        count[e + 1] += count[e]
    start_A[used] = total
    for p in range(len(flat)):
        e = flat[p]
        if e >= 0:
            pair_P[count[e]] = p
            count[e] += 1
    return used


@kernel
def run_length(k, chunks):
    """Neighbouring chunks to take at once: short rows need it to form a stream; a few shares must remain."""
    return max(1, min((1 << 15) // (CHUNK * k // 2), chunks // 4))


@kernel
def gate_up(mode, row, pairs, first, last, slots, x, x_bytes, entry, d, f, hidden, hidden_bytes, work):
    """SwiGLU of CHUNK hidden rows for the sorted pairs first … last − 1, packed into their hidden records."""
    base = address(work)
    gate, up, table = base, base + SLAB * 128, base + 2 * SLAB * 128
    for begin in range(first, last, SLAB):
        count = min(SLAB, last - begin)
        for c in range(count):
            poke_i64(table + 8 * c, x + (pairs[begin + c] // slots) * x_bytes)
        product(mode, entry[0], entry[1], row, table, count, d, gate)
        product(mode, entry[2], entry[3], row, table, count, d, up)
        swiglu(gate, up, gate, count * CHUNK)
        for c in range(count):
            pack_group(mode, gate + 128 * c, row // 32, f // 32, hidden + (begin + c) * hidden_bytes)


@kernel
def down(mode, row, pairs, first, last, slots, weights, entry, d, f, hidden, hidden_bytes, out, work):
    """Add CHUNK output rows of one expert to its tokens; `weights` and `out` are addresses of [P] and [T, D]."""
    base = address(work)
    table = base + 2 * SLAB * 128
    for begin in range(first, last, SLAB):
        count = min(SLAB, last - begin)
        for c in range(count):
            poke_i64(table + 8 * c, hidden + (begin + c) * hidden_bytes)
        product(mode, entry[4], entry[5], row, table, count, f, base)
        for c in range(count):
            pair = pairs[begin + c]
            add_scaled(out + 4 * (pair // slots * d + row), weights + 4 * pair, base + 128 * c, CHUNK)


# A thread's scratch for `gate_up` and `down`, in floats: two slabs of sums and a table of addresses.
WORK_FLOATS = 2 * SLAB * CHUNK + 2 * SLAB


@kernel
def _ffn_thread(mode, x_TD, pairs, start, active, used, slots, weights_P, table_E6, f, packed, hidden, out_TD, sync):
    t_count, d = x_TD.shape
    work = np.empty(WORK_FLOATS, np.float32)
    x, h = address(packed), address(hidden)
    x_bytes, h_bytes = packed.shape[1], hidden.shape[1]
    weights, out = address(weights_P), address(out_TD)

    done = 0
    chunk = team.claim(sync, 0)
    while chunk < t_count:
        pack_row(mode, address(x_TD) + chunk * d * 4, d, x + chunk * x_bytes)
        done += 1
        chunk = team.claim(sync, 0)
    team.finish(sync, 0, done, t_count)

    rows = f // CHUNK
    run = run_length(d, used * rows)
    shares = (rows + run - 1) // run
    done, total = 0, used * shares
    share = team.claim(sync, 1)
    while share < total:
        a, begin = share // shares, share % shares * run
        first, last, entry = start[a], start[a + 1], table_E6[active[a]]
        for chunk in range(begin, min(begin + run, rows)):
            row = chunk * CHUNK
            gate_up(mode, row, pairs, first, last, slots, x, x_bytes, entry, d, f, h, h_bytes, work)
        done += 1
        share = team.claim(sync, 1)
    team.finish(sync, 1, done, total)

    rows = d // CHUNK
    run = run_length(f, rows)
    done, total = 0, (rows + run - 1) // run
    share = team.claim(sync, 2)
    while share < total:
        for a in range(used):
            first, last, entry = start[a], start[a + 1], table_E6[active[a]]
            for chunk in range(share * run, min(share * run + run, rows)):
                row = chunk * CHUNK
                down(mode, row, pairs, first, last, slots, weights, entry, d, f, h, h_bytes, out, work)
        done += 1
        share = team.claim(sync, 2)
    team.finish(sync, 2, done, total)


@entry(parallel=True)
def _ffn_fork(
    threads, mode, x_TD, pairs, start, active, used, slots, weights_P, table_E6, f, packed, hidden, out_TD, sync
):
    for _ in numba.prange(threads):
        _ffn_thread(
            mode, x_TD, pairs, start, active, used, slots, weights_P, table_E6, f, packed, hidden, out_TD, address(sync)
        )


@entry()
def _ffn_alone(mode, x_TD, pairs, start, active, used, slots, weights_P, table_E6, f, packed, hidden, out_TD, sync):
    _ffn_thread(
        mode, x_TD, pairs, start, active, used, slots, weights_P, table_E6, f, packed, hidden, out_TD, address(sync)
    )


def _checked(x_TD, ids_TK, weights_TK, table_E6, d, f, mode):
    if mode not in MODES:
        raise ValueError(f"mode must be one of {sorted(MODES)}, got {mode!r}")
    if d % GROUP or f % GROUP:
        raise ValueError(f"INT4 widths must be multiples of {GROUP}, got D={d}, F={f}")
    if x_TD.ndim != 2 or x_TD.shape[1] != d or ids_TK.shape != weights_TK.shape or len(ids_TK) != len(x_TD):
        raise ValueError(f"shapes do not fit: x {x_TD.shape}, ids {ids_TK.shape}, weights {weights_TK.shape}, D={d}")
    if table_E6.ndim != 2 or table_E6.shape[1] != 6:
        raise ValueError(f"the expert table must be [E, 6] addresses, got {table_E6.shape}")
    if ids_TK.size and (ids_TK.min() < -1 or ids_TK.max() >= len(table_E6)):
        raise ValueError(f"expert ids must be 0 … {len(table_E6) - 1}, or -1")
    return (
        np.ascontiguousarray(x_TD, np.float32),
        np.ascontiguousarray(ids_TK, np.int64),
        np.ascontiguousarray(weights_TK, np.float32),
        np.ascontiguousarray(table_E6, np.int64),
    )


def expert_ffn(
    x_TD: np.ndarray, ids_TK: np.ndarray, weights_TK: np.ndarray, table_E6: np.ndarray, d: int, f: int, mode: str
) -> np.ndarray:
    """Weighted sum of each token's SwiGLU experts, float32 [T, D]; a table row holds the addresses of
    (gate words, gate scales, up words, up scales, down words, down scales). A pair of expert -1 adds nothing."""
    x_TD, ids_TK, weights_TK, table_E6 = _checked(x_TD, ids_TK, weights_TK, table_E6, d, f, mode)
    out_TD = np.zeros_like(x_TD)
    if not (ids_TK >= 0).any():
        return out_TD
    number, slots = MODES[mode], ids_TK.shape[1]
    pairs = np.empty(ids_TK.size, np.int64)
    start, active = np.empty(len(table_E6) + 1, np.int64), np.empty(len(table_E6), np.int64)
    used = sort_pairs(ids_TK, len(table_E6), pairs, start, active)
    packed = np.empty((len(x_TD), record_bytes(d, number)), np.uint8)
    hidden = np.empty((ids_TK.size, record_bytes(f, number)), np.uint8)
    sync = team.sync_words(3)
    args = (
        number,
        x_TD,
        pairs,
        start,
        active,
        used,
        slots,
        weights_TK.reshape(-1),
        table_E6,
        f,
        packed,
        hidden,
        out_TD,
    )
    if 3 * ids_TK.size * d * f < team.FEW_PRODUCTS:
        _ffn_alone(*args, sync)
        return out_TD
    with team.region() as threads:
        _ffn_fork(threads, *args, sync)
    return out_TD


@entry()
def _add_rows(y_RD, tokens_R, weights_R, out_TD):
    width = y_RD.shape[1]
    weights, y, out = address(weights_R), address(y_RD), address(out_TD)
    for r in range(len(tokens_R)):
        add_scaled(out + 4 * width * tokens_R[r], weights + 4 * r, y + 4 * width * r, width)


def add_rows(y_RD: np.ndarray, tokens_R: np.ndarray, weights_R: np.ndarray, out_TD: np.ndarray) -> None:
    """out[token] += weight · y, row by row in this order, with the rounding that `expert_ffn` has."""
    rows, weights = np.ascontiguousarray(y_RD, np.float32), np.ascontiguousarray(weights_R, np.float32)
    if out_TD.dtype != np.float32 or not out_TD.flags.c_contiguous or rows.shape[1] != out_TD.shape[1]:
        raise ValueError(f"rows {rows.shape} cannot be added to {out_TD.dtype} {out_TD.shape}")
    if len(tokens_R) and (tokens_R.min() < 0 or tokens_R.max() >= len(out_TD)):
        raise ValueError(f"tokens must be 0 … {len(out_TD) - 1}")
    _add_rows(rows, np.ascontiguousarray(tokens_R, np.int64), weights, out_TD)


def random_experts(count: int, d: int, f: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For measuring: words and scales of `count` experts, to be kept alive, and the table of their addresses."""
    words = d * f // 8
    packed = np.random.default_rng(0).integers(0, 1 << 31, (count, 3, words), np.int32)
    scales = np.full((count, 3, words // 4), 0x3F80, np.uint16)
    parts = [[(packed[e, m].ctypes.data, scales[e, m].ctypes.data) for m in range(3)] for e in range(count)]
    return packed, scales, np.array([[address for pair in rows for address in pair] for rows in parts], np.int64)


def expert_ffn_plain(x_TD, ids_TK, weights_TK, experts):
    """The definition, in the dtype of x; `experts[e]` holds float matrices (gate [F, D], up [F, D], down [D, F])."""
    out_TD = np.zeros_like(x_TD)
    for t, (ids, weights) in enumerate(zip(ids_TK, weights_TK, strict=True)):
        for e, weight in sorted(zip(ids.tolist(), weights.tolist(), strict=True)):
            gate, up, down_ = (m.astype(x_TD.dtype) for m in experts[e])
            g = gate @ x_TD[t]
            out_TD[t] += weight * (down_ @ (g / (1 + np.exp(-g)) * (up @ x_TD[t])))
    return out_TD
