"""Vector loops over activations: SwiGLU, exponentials, and packing for the INT4 tiles (formats: tiles.py)."""

import math
from typing import Any

from llvmlite import ir

from perilune.kernels.simd import F32, I16, I32, V16B, V16F, V16H, V16I, Emitter, constant, emit, instruction

V4I, V4F = ir.VectorType(I32, 4), ir.VectorType(F32, 4)
# exp(r) on |r| ≤ ln 2 / 2 as 1 + r + r² · p(r); largest relative error about 1e-7.
_EXP_TERMS = (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1)
_LN2_HIGH, _LN2_LOW = 0.693359375, -2.12194440e-4
_LOWEST, _HIGHEST = -87.0, 88.0
_GELU_SLOPE = 2 * (2 / math.pi) ** 0.5


def _round(e: Emitter, v: Any) -> Any:
    return e.call("llvm.rint.v16f32", V16F, [v])


def _whole(e: Emitter, v: Any) -> Any:
    """Rounded floats as int32; NaN becomes 0 (the conversion is undefined for it)."""
    clean = e.b.select(e.b.fcmp_ordered("ord", v, v), v, constant(V16F, 0.0))
    return e.b.fptosi(clean, V16I)


def exp(e: Emitter, x: Any) -> Any:
    """exp of 16 lanes; arguments below −87 give about 1e-38, NaN stays NaN."""
    low, high = constant(V16F, _LOWEST), constant(V16F, _HIGHEST)
    x = e.b.select(e.b.fcmp_ordered("<", x, low), low, x)
    x = e.b.select(e.b.fcmp_ordered(">", x, high), high, x)
    n = _round(e, e.b.fmul(x, constant(V16F, 1.44269504088896341)))
    r = e.fma(n, constant(V16F, -_LN2_HIGH), x)
    r = e.fma(n, constant(V16F, -_LN2_LOW), r)
    p = constant(V16F, _EXP_TERMS[0])
    for term in _EXP_TERMS[1:]:
        p = e.fma(p, r, constant(V16F, term))
    y = e.b.fadd(e.fma(p, e.b.fmul(r, r), r), constant(V16F, 1.0))
    exponent = e.b.add(_whole(e, n), constant(V16I, 127))
    return e.b.fmul(y, e.b.bitcast(e.b.shl(exponent, constant(V16I, 23)), V16F))


def _silu(e: Emitter, x: Any) -> Any:
    one = constant(V16F, 1.0)
    return e.b.fdiv(x, e.b.fadd(one, exp(e, e.b.fneg(x))))


@instruction
def swiglu(typing: Any, gate: Any, up: Any, out: Any, count: Any) -> Any:
    """out[i] = silu(gate[i]) · up[i] for `count` float32 numbers."""

    def write(e: Emitter, gate: Any, up: Any, out: Any, count: Any) -> None:
        def step(index: Any, _: list[Any]) -> list[Any]:
            at = e.b.shl(index, e.i64(6))
            mask = e.first_lanes(e.b.sub(count, e.b.shl(index, e.i64(4))))
            g, u = (e.load_masked(V16F, base, mask, at) for base in (gate, up))
            e.store_masked(e.b.fmul(_silu(e, g), u), out, mask, at)
            return []

        e.loop(e.b.ashr(e.b.add(count, e.i64(15)), e.i64(4)), [], step)

    return emit(4, write)


@instruction
def sigmoid(typing: Any, x: Any, out: Any, count: Any) -> Any:
    """out[i] = 1 / (1 + exp(−x[i]))."""

    def write(e: Emitter, x: Any, out: Any, count: Any) -> None:
        one = constant(V16F, 1.0)

        def step(index: Any, _: list[Any]) -> list[Any]:
            at = e.b.shl(index, e.i64(6))
            mask = e.first_lanes(e.b.sub(count, e.b.shl(index, e.i64(4))))
            y = e.b.fdiv(one, e.b.fadd(one, exp(e, e.b.fneg(e.load_masked(V16F, x, mask, at)))))
            e.store_masked(y, out, mask, at)
            return []

        e.loop(e.b.ashr(e.b.add(count, e.i64(15)), e.i64(4)), [], step)

    return emit(3, write)


@instruction
def gelu(typing: Any, x: Any, out: Any, count: Any) -> Any:
    """out[i] = x[i] / (1 + exp(−x[i] · (a + b · x[i]²))): GELU by tanh, which is a sigmoid of twice its argument."""

    def write(e: Emitter, x: Any, out: Any, count: Any) -> None:
        one, slope, bend = (constant(V16F, value) for value in (1.0, _GELU_SLOPE, _GELU_SLOPE * 0.044715))

        def step(index: Any, _: list[Any]) -> list[Any]:
            at = e.b.shl(index, e.i64(6))
            mask = e.first_lanes(e.b.sub(count, e.b.shl(index, e.i64(4))))
            v = e.load_masked(V16F, x, mask, at)
            power = exp(e, e.b.fneg(e.b.fmul(v, e.fma(e.b.fmul(v, v), bend, slope))))
            e.store_masked(e.b.fdiv(v, e.b.fadd(one, power)), out, mask, at)
            return []

        e.loop(e.b.ashr(e.b.add(count, e.i64(15)), e.i64(4)), [], step)

    return emit(3, write)


@instruction
def pack_int8(typing: Any, x: Any, first: Any, count: Any, out: Any) -> Any:
    """Pack `count` groups of 32 at `x` as the groups first, first + 1, … of an "int8" record."""

    def write(e: Emitter, x: Any, first: Any, count: Any, out: Any) -> None:
        def step(index: Any, _: list[Any]) -> list[Any]:
            at = e.b.shl(index, e.i64(7))
            quarters, scale = _quantise(e, e.load(V16F, x, at), e.load(V16F, x, e.b.add(at, e.i64(64))))
            group = e.b.add(first, index)
            block = e.b.shl(e.b.ashr(group, e.i64(2)), e.i64(8))
            base = e.b.add(e.b.add(out, block), e.b.shl(e.b.and_(group, e.i64(3)), e.i64(4)))
            even = e.shuffle(*quarters, range(0, 32, 2))
            odd = e.shuffle(*quarters, range(1, 32, 2))
            e.store(even, base)
            e.store(odd, base, 64)
            e.store(_offset(e, even, odd), base, 128)
            e.store(e.splat(scale, 4), base, 192)
            return []

        e.loop(count, [], step)

    return emit(4, write)


def _quantise(e: Emitter, a: Any, b: Any) -> tuple[tuple[Any, Any], Any]:
    """Two vectors as int8 with one scale, absmax / 127."""
    sizes = [e.call("llvm.fabs.v16f32", V16F, [v]) for v in (a, b)]
    top = _largest(e, *sizes)
    limit = ir.Constant(F32, 127.0)
    inverse = e.b.fdiv(limit, top)
    usable = e.b.fcmp_ordered(">", top, ir.Constant(F32, 1e-30))
    inverse = e.splat(e.b.select(usable, inverse, ir.Constant(F32, 0.0)))
    whole = [_round(e, e.b.fmul(v, inverse)) for v in (a, b)]
    first, second = (e.b.trunc(_whole(e, v), V16B) for v in whole)
    return (first, second), e.b.fdiv(top, limit)


def _largest(e: Emitter, a: Any, b: Any) -> Any:
    lanes = 16
    top = e.b.select(e.b.fcmp_ordered(">", a, b), a, b)
    while lanes > 1:
        lanes //= 2
        low, high = (e.shuffle(top, top, range(start, start + lanes)) for start in (0, lanes))
        top = e.b.select(e.b.fcmp_ordered(">", low, high), low, high)
    return e.b.extract_element(top, ir.Constant(I32, 0))


def _offset(e: Emitter, even: Any, odd: Any) -> Any:
    """−8 times the activations of each int32 lane: the stored weight is q + 8."""
    wide = e.b.add(e.b.sext(even, V16I), e.b.sext(odd, V16I))
    parts = [e.shuffle(wide, wide, range(start, 16, 4)) for start in range(4)]
    total = e.b.add(e.b.add(parts[0], parts[1]), e.b.add(parts[2], parts[3]))
    return e.b.mul(total, constant(V4I, -8))


@instruction
def clear_groups(typing: Any, first: Any, count: Any, out: Any) -> Any:
    """Zero the padding groups of an "int8" record."""

    def write(e: Emitter, first: Any, count: Any, out: Any) -> None:
        def step(index: Any, _: list[Any]) -> list[Any]:
            group = e.b.add(first, index)
            block = e.b.shl(e.b.ashr(group, e.i64(2)), e.i64(8))
            base = e.b.add(e.b.add(out, block), e.b.shl(e.b.and_(group, e.i64(3)), e.i64(4)))
            for part in range(4):
                e.store(constant(V16B, 0), base, 64 * part)
            return []

        e.loop(count, [], step)

    return emit(3, write)


@instruction
def pack_float(typing: Any, x: Any, first: Any, count: Any, out: Any) -> Any:
    """Pack `count` groups of 32 at `x` as the groups first, first + 1, … of a "float" record."""

    def write(e: Emitter, x: Any, first: Any, count: Any, out: Any) -> None:
        def step(index: Any, _: list[Any]) -> list[Any]:
            at = e.b.shl(index, e.i64(7))
            halves = e.load(V16F, x, at), e.load(V16F, x, e.b.add(at, e.i64(64)))
            base = e.b.add(out, e.b.shl(e.b.add(first, index), e.i64(7)))
            e.store(e.shuffle(*halves, range(0, 32, 2)), base)
            e.store(e.shuffle(*halves, range(1, 32, 2)), base, 64)
            return []

        e.loop(count, [], step)

    return emit(4, write)


@instruction
def add_scaled(typing: Any, out: Any, factor: Any, x: Any, count: Any) -> Any:
    """out[i] += factor · x[i] for `count` float32 numbers, a multiple of 16; `factor` is an address."""

    def write(e: Emitter, out: Any, factor: Any, x: Any, count: Any) -> None:
        scale = e.splat(e.load(F32, factor))

        def step(index: Any, _: list[Any]) -> list[Any]:
            at = e.b.shl(index, e.i64(6))
            e.store(e.fma(scale, e.load(V16F, x, at), e.load(V16F, out, at)), out, at)
            return []

        e.loop(e.b.ashr(count, e.i64(4)), [], step)

    return emit(4, write)


@instruction
def widen(typing: Any, x: Any, out: Any, count: Any) -> Any:
    """bf16 numbers at `x` as float32 at `out`."""

    def write(e: Emitter, x: Any, out: Any, count: Any) -> None:
        def step(index: Any, _: list[Any]) -> list[Any]:
            e.store(e.widen_bf16(e.load(V16H, x, e.b.shl(index, e.i64(5)))), out, e.b.shl(index, e.i64(6)))
            return []

        def one(index: Any, _: list[Any]) -> list[Any]:
            index = e.b.add(e.b.and_(count, e.i64(-16)), index)
            half = e.b.zext(e.load(I16, x, e.b.shl(index, e.i64(1))), I32)
            e.store(e.b.shl(half, ir.Constant(I32, 16)), out, e.b.shl(index, e.i64(2)))
            return []

        e.loop(e.b.ashr(count, e.i64(4)), [], step)
        e.loop(e.b.and_(count, e.i64(15)), [], one)

    return emit(3, write)
