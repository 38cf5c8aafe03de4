"""Dot-product tiles: 16 sums at once, R weight rows times C activation rows (R · C = 16).

A tile reads every weight once for its C activation rows. Arguments are addresses (int64): the weight row, the byte
stride of rows, a table of C addresses of activation rows, the width K, and where to put sums: the R sums of
activation row c lie at `out + c · out_stride`. Order of addition: see simd.py; it is the same for every shape.

Packed activations for INT4 weights, one record per 32 · n elements (a weight byte holds elements 2b and 2b+1):
- "float": per group of 32, 16 even then 16 odd elements as float32 (128 bytes).
- "int8": per block of 128 (four groups, zero padded): 64 even bytes, 64 odd bytes, 16 int32 that take the weight
  offset back (−8 · sum of the lane's activations), 16 float32 group scales (256 bytes).
"""

from typing import Any

from llvmlite import ir

from perilune.kernels.simd import (
    F32,
    I16,
    I32,
    I64,
    V16B,
    V16F,
    V16H,
    V16I,
    V64B,
    Emitter,
    constant,
    emit_shared,
    instruction,
)

# What a dense weight is kept as. A row of int8 is followed by its float32 scale, in a cache line of its own.
FLOAT32, BF16, INT8 = 0, 1, 2
SCALE_BYTES = 64

STORED = (V16F, V16H, V16B)  # 16 weights of each kind

V4H = ir.VectorType(I16, 4)
# Which of the 64 bytes (or of a zero vector after them) makes a float32 scale of four bf16 repeated 16 times.
_SCALE_PLACES = [index for g in range(4) for _ in range(4) for index in (64, 64, 16 * g + 2 * g, 16 * g + 2 * g + 1)]


def _finish(
    e: Emitter, sums: list[Any], rows: int, columns: int, out: Any, out_stride: Any, scales: list[Any] | None = None
) -> None:
    """Add the lanes of 16 accumulators (index c · R + r) and store R sums per activation row, times the row's scale."""
    total = e.sum_lanes(sums)
    if scales is not None:
        wide: Any = ir.Constant(V16F, ir.Undefined)
        for lane in range(16):
            wide = e.b.insert_element(wide, scales[lane % rows], ir.Constant(I32, lane))
        total = e.b.fmul(total, wide)
    for c in range(columns):
        part = e.shuffle(total, total, range(c * rows, (c + 1) * rows))
        e.store(part, e.b.add(out, e.b.mul(out_stride, e.i64(c))))


def _row_addresses(e: Emitter, base: Any, stride: Any, rows: int) -> list[Any]:
    return [e.b.add(base, e.b.mul(stride, e.i64(r))) for r in range(rows)]


def _ahead(e: Emitter, stride: Any, rows: int, together: int) -> Any:
    """How far ahead to ask for weights: further in the stream of rows read one by one; of rows side by side the next
    tile when they are short, else 1 KiB further in each.

    Several short rows lie in one page, where the hardware follows a single stream only.
    """
    if together == 1:
        return e.i64(2048)
    tile = e.b.mul(stride, e.i64(2 * rows))
    return e.b.select(e.b.icmp_signed("<", tile, e.i64(1 << 15)), tile, e.i64(1024))


def _together(rows: int) -> int:
    """Rows read side by side. One activation row is bound by memory, which likes one stream best."""
    return 1 if rows == 16 else rows


def dense_tile(rows: int, kind: int) -> Any:
    """Weights float32, bf16 or int8 with the row's scale behind it; activations float32."""
    columns = 16 // rows
    # Widening a few int8 takes longer than reading them: more rows keep the processor busy.
    side_by_side = rows if kind == INT8 else _together(rows)

    def write(e: Emitter, w: Any, w_stride: Any, x_table: Any, k: Any, out: Any, out_stride: Any) -> None:
        weights = _row_addresses(e, w, w_stride, rows)
        inputs = [e.load(I64, x_table, 8 * c) for c in range(columns)]
        ahead = _ahead(e, w_stride, rows, side_by_side)

        def step(index: Any, sums: list[Any], mask: Any = None) -> list[Any]:
            def read(vector: ir.VectorType, base: Any, offset: Any) -> Any:
                return e.load(vector, base, offset) if mask is None else e.load_masked(vector, base, mask, offset)

            at_w, at_x = e.b.shl(index, e.i64(6 - kind)), e.b.shl(index, e.i64(6))
            ws = [widen(e, kind, read(STORED[kind], address, at_w)) for address in weights]
            out_sums = []
            for c in range(columns):
                x = read(V16F, inputs[c], at_x)
                out_sums += [e.fma(v, x, sums[c * len(ws) + r]) for r, v in enumerate(ws)]
            return out_sums

        def line(index: Any, sums: list[Any]) -> list[Any]:
            """One, two or four steps: a whole cache line of each weight row."""
            for address in weights if columns <= 2 else []:
                e.prefetch(address, e.b.add(e.b.shl(index, e.i64(6)), ahead))
            first = e.b.shl(index, e.i64(kind))
            for i in range(1 << kind):
                sums = step(e.b.add(first, e.i64(i)), sums)
            return sums

        whole = e.b.ashr(k, e.i64(4))
        left = e.b.and_(k, e.i64(15))
        lines = e.b.ashr(whole, e.i64(kind))
        begun = e.b.shl(lines, e.i64(kind))
        mask = e.first_lanes(left)
        some = e.b.zext(e.b.icmp_signed(">", left, e.i64(0)), I64)
        all_weights, sums = weights, []
        for first_row in range(0, rows, side_by_side):
            weights = all_weights[first_row : first_row + side_by_side]
            part = e.loop(lines, [constant(V16F, 0.0)] * (len(weights) * columns), line)
            part = e.loop(e.b.sub(whole, begun), part, lambda i, state: step(e.b.add(begun, i), state))
            sums += e.loop(some, part, lambda _, state: step(whole, state, mask))
        scales = [e.load(F32, address, k) for address in all_weights] if kind == INT8 else None
        _finish(e, sums, rows, columns, out, out_stride, scales)

    @instruction
    def tile(typing: Any, w: Any, w_stride: Any, x_table: Any, k: Any, out: Any, out_stride: Any) -> Any:
        return emit_shared(f"dense_{kind}_{rows}", 6, write)

    return tile


def widen(e: Emitter, kind: int, stored: Any) -> Any:
    """16 stored weights as float32, an int8 one without its scale."""
    if kind == INT8:
        return e.b.sitofp(e.b.sext(stored, V16I), V16F)
    return e.widen_bf16(stored) if kind == BF16 else stored


def _unpack_float(e: Emitter, words: Any, scale: Any) -> tuple[Any, Any]:
    """16 bytes of nibbles and one scale as 16 even and 16 odd float32 weights."""
    wide = e.b.zext(words, V16I)
    eight = constant(V16I, 8)
    low = e.b.sub(e.b.and_(wide, constant(V16I, 15)), eight)
    high = e.b.sub(e.b.lshr(wide, constant(V16I, 4)), eight)
    even, odd = e.b.sitofp(low, V16F), e.b.sitofp(high, V16F)
    return e.b.fmul(even, scale), e.b.fmul(odd, scale)


def int4_float_tile(rows: int) -> Any:
    """INT4 weights with bf16 scales per 32, activations float32 (packed "float"): exact products."""
    columns = 16 // rows

    def write(e: Emitter, *args: Any) -> None:
        w, w_stride, s, s_stride, x_table, k, out, out_stride = args
        weights = _row_addresses(e, w, w_stride, rows)
        scales = _row_addresses(e, s, s_stride, rows)
        inputs = [e.load(I64, x_table, 8 * c) for c in range(columns)]
        ahead = _ahead(e, w_stride, rows, _together(rows))

        def step(group: Any, sums: list[Any]) -> list[Any]:
            at_w, at_s, at_x = (e.b.shl(group, e.i64(n)) for n in (4, 1, 7))
            pairs = []
            for weight, scale in zip(weights, scales, strict=True):
                if columns <= 2:
                    e.prefetch(weight, e.b.add(at_w, ahead))
                bits = e.b.shl(e.b.zext(e.load(I16, scale, at_s), I32), ir.Constant(I32, 16))
                one = e.splat(e.b.bitcast(bits, F32))
                pairs.append(_unpack_float(e, e.load(V16B, weight, at_w), one))
            out_sums = list(sums)
            for half in range(2):
                for c in range(columns):
                    x = e.load(V16F, e.b.add(inputs[c], at_x), 64 * half)
                    for r in range(rows):
                        out_sums[c * rows + r] = e.fma(pairs[r][half], x, out_sums[c * rows + r])
            return out_sums

        sums = e.loop(e.b.ashr(k, e.i64(5)), [constant(V16F, 0.0)] * 16, step)
        _finish(e, sums, rows, columns, out, out_stride)

    return _int4_intrinsic(f"int4_float_{rows}", write)


def int4_int8_tile(rows: int) -> Any:
    """INT4 weights with bf16 scales per 32, activations int8 with a scale per 32 (packed "int8")."""
    columns = 16 // rows

    def write(e: Emitter, *args: Any) -> None:
        w, w_stride, s, s_stride, x_table, k, out, out_stride = args
        weights = _row_addresses(e, w, w_stride, rows)
        scales = _row_addresses(e, s, s_stride, rows)
        inputs = [e.load(I64, x_table, 8 * c) for c in range(columns)]
        ahead = _ahead(e, w_stride, rows, _together(rows))
        left = e.b.and_(e.b.ashr(k, e.i64(5)), e.i64(3))
        whole = e.b.ashr(k, e.i64(7))

        def step(index: Any, sums: list[Any], masked: bool = False) -> list[Any]:
            at_w, at_s, at_x = (e.b.shl(index, e.i64(n)) for n in (6, 3, 8))
            unpacked = []
            for weight, scale in zip(weights, scales, strict=True):
                if columns <= 2:
                    e.prefetch(weight, e.b.add(at_w, ahead))
                if masked:
                    words = e.load_masked(V16I, weight, e.first_lanes(e.b.shl(left, e.i64(2))), at_w)
                    halves = e.load_masked(V4H, scale, e.first_lanes(left, 4), at_s)
                else:
                    words, halves = e.load(V16I, weight, at_w), e.load(V4H, scale, at_s)
                unpacked.append((*_split_nibbles(e, words), _spread_scales(e, halves)))
            out_sums = []
            height = len(weights)
            for c in range(columns):
                base = e.b.add(inputs[c], at_x)
                even, odd, offset = (e.load(kind, base, 64 * i) for i, kind in enumerate((V64B, V64B, V16I)))
                scale_x = e.load(V16F, base, 192)
                for r, (low, high, scale_w) in enumerate(unpacked):
                    total = e.dot_bytes(e.dot_bytes(offset, low, even), high, odd)
                    scale = e.b.fmul(scale_w, scale_x)
                    out_sums.append(e.fma(e.b.sitofp(total, V16F), scale, sums[c * height + r]))
            return out_sums

        some = e.b.zext(e.b.icmp_signed(">", left, e.i64(0)), I64)
        every, sums = list(zip(weights, scales, strict=True)), []
        for first in range(0, rows, _together(rows)):
            part = every[first : first + _together(rows)]
            weights, scales = [w for w, _ in part], [s for _, s in part]
            state = e.loop(whole, [constant(V16F, 0.0)] * (len(part) * columns), step)
            sums += e.loop(some, state, lambda _, state: step(whole, state, True))
        _finish(e, sums, rows, columns, out, out_stride)

    return _int4_intrinsic(f"int4_int8_{rows}", write)


def _split_nibbles(e: Emitter, words: Any) -> tuple[Any, Any]:
    low_bits = constant(V16I, 0x0F0F0F0F)
    low = e.b.and_(words, low_bits)
    high = e.b.and_(e.b.lshr(words, constant(V16I, 4)), low_bits)
    return e.b.bitcast(low, V64B), e.b.bitcast(high, V64B)


def _spread_scales(e: Emitter, halves: Any) -> Any:
    """Four bf16 scales as 16 float32 lanes, each repeated four times."""
    copies = e.splat(e.b.bitcast(halves, I64), 8)
    spread = e.shuffle(e.b.bitcast(copies, V64B), constant(V64B, 0), _SCALE_PLACES)
    return e.b.bitcast(spread, V16F)


def _int4_intrinsic(name: str, write: Any) -> Any:
    @instruction
    def tile(
        typing: Any, w: Any, w_stride: Any, s: Any, s_stride: Any, x_table: Any, k: Any, out: Any, out_stride: Any
    ) -> Any:
        return emit_shared(name, 8, write)

    return tile
