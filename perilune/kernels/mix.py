"""Weighted sums of rows and the small vector steps around them: RMS norm and a block of softmax.

`mix_rows`: out[c] = Σ_s p[c, s] · row[s], added in the order of s for every element, whatever the tile.
"""

from typing import Any

from llvmlite import ir

from perilune.kernels.jit import kernel
from perilune.kernels.simd import F32, V16F, Emitter, constant, emit_shared, instruction
from perilune.kernels.tiles import BF16, FLOAT32, INT8, STORED, widen
from perilune.kernels.vector import exp


def _mix_tile(columns: int, vectors: int, kind: int) -> Any:
    """Rows of int8 count without their scale, which the caller has put into p."""

    def write(e: Emitter, rows: Any, stride: Any, p: Any, p_stride: Any, n: Any, out: Any, out_stride: Any) -> None:
        size = 64 >> kind
        weights = [e.b.add(p, e.b.mul(p_stride, e.i64(c))) for c in range(columns)]

        def step(s: Any, sums: list[Any]) -> list[Any]:
            row = e.b.add(rows, e.b.mul(stride, s))
            values = [widen(e, kind, e.load(STORED[kind], row, size * v)) for v in range(vectors)]
            after = []
            for c in range(columns):
                factor = e.splat(e.load(F32, weights[c], e.b.shl(s, e.i64(2))))
                after += [e.fma(factor, values[v], sums[c * vectors + v]) for v in range(vectors)]
            return after

        sums = e.loop(n, [constant(V16F, 0.0)] * (columns * vectors), step)
        for c in range(columns):
            for v in range(vectors):
                e.store(sums[c * vectors + v], e.b.add(out, e.b.mul(out_stride, e.i64(c))), 64 * v)

    @instruction
    def tile(typing: Any, rows: Any, stride: Any, p: Any, p_stride: Any, n: Any, out: Any, out_stride: Any) -> Any:
        return emit_shared(f"mix_{columns}_{vectors}_{kind}", 7, write)

    return tile


_f32_44, _f32_41, _f32_14, _f32_11 = (_mix_tile(c, v, FLOAT32) for c in (4, 1) for v in (4, 1))
_bf16_44, _bf16_41, _bf16_14, _bf16_11 = (_mix_tile(c, v, BF16) for c in (4, 1) for v in (4, 1))
_int8_44, _int8_41, _int8_14, _int8_11 = (_mix_tile(c, v, INT8) for c in (4, 1) for v in (4, 1))


@kernel
def _mix_columns(kind, four, wide, row, stride, p, p_stride, n, out, out_stride):
    if kind == BF16:
        if four and wide:
            _bf16_44(row, stride, p, p_stride, n, out, out_stride)
        elif four:
            _bf16_41(row, stride, p, p_stride, n, out, out_stride)
        elif wide:
            _bf16_14(row, stride, p, p_stride, n, out, out_stride)
        else:
            _bf16_11(row, stride, p, p_stride, n, out, out_stride)
    elif kind == INT8:
        if four and wide:
            _int8_44(row, stride, p, p_stride, n, out, out_stride)
        elif four:
            _int8_41(row, stride, p, p_stride, n, out, out_stride)
        elif wide:
            _int8_14(row, stride, p, p_stride, n, out, out_stride)
        else:
            _int8_11(row, stride, p, p_stride, n, out, out_stride)
    elif four and wide:
        _f32_44(row, stride, p, p_stride, n, out, out_stride)
    elif four:
        _f32_41(row, stride, p, p_stride, n, out, out_stride)
    elif wide:
        _f32_14(row, stride, p, p_stride, n, out, out_stride)
    else:
        _f32_11(row, stride, p, p_stride, n, out, out_stride)


@kernel
def mix_rows(kind, rows, stride, p, p_stride, n, out, out_stride, columns, width):
    """`columns` weighted sums of `n` rows; `width` is a multiple of 16, strides are bytes; int8 without its scales."""
    size = 4 >> kind
    c = 0
    while c < columns:
        four = columns - c >= 4
        at = 0
        while at < width:
            wide = width - at >= 64
            y = out + c * out_stride + 4 * at
            _mix_columns(kind, four, wide, rows + at * size, stride, p + c * p_stride, p_stride, n, y, out_stride)
            at += 64 if wide else 16
        c += 4 if four else 1


def _sum16(e: Emitter, vector: Any) -> Any:
    for half in (8, 4, 2, 1):
        low, high = (e.shuffle(vector, vector, range(start, start + half)) for start in (0, half))
        vector = e.b.fadd(low, high)
    return e.b.extract_element(vector, ir.Constant(ir.IntType(32), 0))


@instruction
def rms_norm(typing: Any, x: Any, weight: Any, out: Any, count: Any, eps: Any) -> Any:
    """out = x / sqrt(mean(x²) + eps) · weight, all float32; `eps` is an address."""

    def write(e: Emitter, x: Any, weight: Any, out: Any, count: Any, eps: Any) -> None:
        steps = e.b.ashr(e.b.add(count, e.i64(15)), e.i64(4))

        def read(base: Any, index: Any) -> tuple[Any, Any]:
            mask = e.first_lanes(e.b.sub(count, e.b.shl(index, e.i64(4))))
            return e.load_masked(V16F, base, mask, e.b.shl(index, e.i64(6))), mask

        def square(index: Any, sums: list[Any]) -> list[Any]:
            v, _ = read(x, index)
            return [e.fma(v, v, sums[0])]

        total = _sum16(e, e.loop(steps, [constant(V16F, 0.0)], square)[0])
        mean = e.b.fdiv(total, e.b.sitofp(count, F32))
        root = e.call("llvm.sqrt.f32", F32, [e.b.fadd(mean, e.load(F32, eps))])
        factor = e.splat(e.b.fdiv(ir.Constant(F32, 1.0), root))

        def scale(index: Any, _: list[Any]) -> list[Any]:
            v, mask = read(x, index)
            w, _ = read(weight, index)
            e.store_masked(e.b.fmul(e.b.fmul(v, factor), w), out, mask, e.b.shl(index, e.i64(6)))
            return []

        e.loop(steps, [], scale)

    return emit_shared("rms_norm", 5, write)


@instruction
def softmax_block(typing: Any, x: Any, count: Any, out: Any) -> Any:
    """Replace x by exp(x − max); out[0] = max, out[1] = sum of the new x. Reads and writes whole 16s of x."""

    def write(e: Emitter, x: Any, count: Any, out: Any) -> None:
        steps = e.b.ashr(e.b.add(count, e.i64(15)), e.i64(4))

        def read(index: Any, fill: float) -> Any:
            mask = e.first_lanes(e.b.sub(count, e.b.shl(index, e.i64(4))))
            return e.b.select(mask, e.load(V16F, x, e.b.shl(index, e.i64(6))), constant(V16F, fill))

        def largest(index: Any, best: list[Any]) -> list[Any]:
            v = read(index, -3e38)
            return [e.b.select(e.b.fcmp_ordered(">", v, best[0]), v, best[0])]

        top = e.loop(steps, [constant(V16F, -3e38)], largest)[0]
        for half in (8, 4, 2, 1):
            low, high = (e.shuffle(top, top, range(start, start + half)) for start in (0, half))
            top = e.b.select(e.b.fcmp_ordered(">", low, high), low, high)
        top = e.b.extract_element(top, ir.Constant(ir.IntType(32), 0))
        shift = e.splat(top)

        def lower(index: Any, sums: list[Any]) -> list[Any]:
            mask = e.first_lanes(e.b.sub(count, e.b.shl(index, e.i64(4))))
            y = e.b.select(mask, exp(e, e.b.fsub(read(index, 0.0), shift)), constant(V16F, 0.0))
            e.store(y, x, e.b.shl(index, e.i64(6)))
            return [e.b.fadd(sums[0], y)]

        total = e.loop(steps, [constant(V16F, 0.0)], lower)[0]
        e.store(top, out)
        e.store(_sum16(e, total), out, 4)

    return emit_shared("softmax_block", 3, write)
