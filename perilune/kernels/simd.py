"""Vector instructions for Numba: LLVM code emitted from Python, 16 lanes of float32 at a time.

Everything but the int8 dot product is plain LLVM vector code, which runs on any processor; `vpdpbusd` is emitted
where AVX512-VNNI exists and spelled out in plain vector operations elsewhere, with the same integer result.
Addresses are int64 numbers, so a weight can lie in an array, a torch tensor or a mapped file alike.

Sums have one order everywhere: lane j adds elements j, j+16, j+32, …, then lanes are added as a tree of halves
(8, 4, 2, 1). Tile shapes, thread counts and neighbours therefore never change a bit.
"""

from collections.abc import Callable, Sequence
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

I8, I16, I32, I64, F32 = ir.IntType(8), ir.IntType(16), ir.IntType(32), ir.IntType(64), ir.FloatType()
POINTER = ir.PointerType()
V16F, V16I, V64B = ir.VectorType(F32, 16), ir.VectorType(I32, 16), ir.VectorType(I8, 64)
V16B, V32B, V16H = ir.VectorType(I8, 16), ir.VectorType(I8, 32), ir.VectorType(I16, 16)


def has_vnni() -> bool:
    """Whether this processor has the 512-bit int8 dot product (AVX512-VNNI with byte shuffles)."""
    features = llvm.get_host_cpu_features()
    return bool(features.get("avx512vnni") and features.get("avx512bw") and features.get("avx512vl"))


def _is_x86() -> bool:
    return llvm.get_process_triple().startswith(("x86_64", "i686", "amd64"))


def _can_yield() -> bool:
    return bool(llvm.address_of_symbol("sched_yield"))


def constant(vector: ir.VectorType, values: Sequence[float] | float) -> ir.Constant:
    """A vector constant; one number fills all lanes."""
    listed = list(values) if isinstance(values, Sequence) else [values] * vector.count
    return ir.Constant(vector, [ir.Constant(vector.element, v) for v in listed])


class Emitter:
    """Short names for the vector operations that the kernels use; wraps one llvmlite builder."""

    def __init__(self, builder: ir.IRBuilder) -> None:
        self.b = builder

    def call(self, name: str, result: ir.Type, args: Sequence[Any]) -> Any:
        signature = ir.FunctionType(result, [a.type for a in args])
        return self.b.call(cgutils.get_or_insert_function(self.b.module, signature, name), list(args))

    def i64(self, value: int) -> ir.Constant:
        return ir.Constant(I64, value)

    def at(self, address: Any, offset: Any = 0) -> Any:
        moved = self.b.add(address, self.i64(offset) if isinstance(offset, int) else offset)
        return self.b.inttoptr(moved, POINTER)

    def load(self, kind: ir.Type, address: Any, offset: Any = 0) -> Any:
        return self.b.load(self.at(address, offset), typ=kind, align=1)

    def load_masked(self, kind: ir.VectorType, address: Any, mask: Any, offset: Any = 0) -> Any:
        element = {F32: "f32", I32: "i32", I16: "i16", I8: "i8"}[kind.element]
        args = [self.at(address, offset), mask, constant(kind, 0)]
        name = f"llvm.masked.load.v{kind.count}{element}.p0"
        old_form = [args[0], ir.Constant(I32, 1), *args[1:]]
        return self.call(name, kind, old_form)

    def store(self, value: Any, address: Any, offset: Any = 0) -> None:
        self.b.store(value, self.at(address, offset), align=1)

    def store_masked(self, value: Any, address: Any, mask: Any, offset: Any = 0) -> None:
        args = [value, self.at(address, offset), ir.Constant(I32, 1), mask]
        self.call(f"llvm.masked.store.v{value.type.count}f32.p0", ir.VoidType(), args)

    def prefetch(self, address: Any, offset: Any = 0) -> None:
        hints = [ir.Constant(I32, v) for v in (0, 3, 1)]
        self.call("llvm.prefetch.p0", ir.VoidType(), [self.at(address, offset), *hints])

    def first_lanes(self, count: Any, lanes: int = 16) -> Any:
        """A mask of the first `count` lanes."""
        index = constant(ir.VectorType(I64, lanes), list(range(lanes)))
        return self.b.icmp_signed("<", index, self.splat(count, lanes))

    def splat(self, scalar: Any, lanes: int = 16) -> Any:
        kind = ir.VectorType(scalar.type, lanes)
        one = self.b.insert_element(ir.Constant(kind, ir.Undefined), scalar, ir.Constant(I32, 0))
        return self.shuffle(one, one, [0] * lanes)

    def shuffle(self, a: Any, b: Any, lanes: Sequence[int]) -> Any:
        return self.b.shuffle_vector(a, b, constant(ir.VectorType(I32, len(lanes)), list(lanes)))

    def fma(self, a: Any, b: Any, c: Any) -> Any:
        return self.call(f"llvm.fma.v{a.type.count}f32", a.type, [a, b, c])

    def widen_bf16(self, half: Any) -> Any:
        wide = self.b.zext(half, ir.VectorType(I32, half.type.count))
        shifted = self.b.shl(wide, constant(wide.type, 16))
        return self.b.bitcast(shifted, ir.VectorType(F32, half.type.count))

    def dot_bytes(self, total: Any, unsigned: Any, signed: Any) -> Any:
        """total[i] += sum of the four products of bytes 4i … 4i+3 (unsigned times signed)."""
        if has_vnni():
            return self.call("llvm.x86.avx512.vpdpbusd.512", V16I, [total, unsigned, signed])
        wide = ir.VectorType(I32, 64)
        product = self.b.mul(self.b.zext(unsigned, wide), self.b.sext(signed, wide))
        for start in range(4):
            total = self.b.add(total, self.shuffle(product, product, range(start, 64, 4)))
        return total

    def sum_lanes(self, vectors: Sequence[Any]) -> Any:
        """The sums of 16 vectors as one vector, in order; each is added as the tree of halves 8, 4, 2, 1."""
        level = list(vectors)
        for half in (8, 4, 2, 1):
            low = [i for start in range(0, 16, 2 * half) for i in range(start, start + half)]
            low += [16 + i for i in low]
            high = [i + half for i in low]
            pairs = zip(level[0::2], level[1::2], strict=True)
            level = [self.b.fadd(self.shuffle(a, b, low), self.shuffle(a, b, high)) for a, b in pairs]
        return level[0]

    def loop(self, count: Any, state: Sequence[Any], body: Callable[[Any, list[Any]], list[Any]]) -> list[Any]:
        """Run `body(i, state)` for i in 0 … count−1 with the state in registers; returns the last state."""
        b = self.b
        before = b.block
        head, done = b.append_basic_block("loop"), b.append_basic_block("done")
        b.cbranch(b.icmp_signed(">", count, self.i64(0)), head, done)
        b.position_at_end(head)
        index = b.phi(I64)
        index.add_incoming(self.i64(0), before)
        phis = []
        for value in state:
            phi = b.phi(value.type)
            phi.add_incoming(value, before)
            phis.append(phi)
        after = body(index, phis)
        step = b.add(index, self.i64(1))
        last = b.block
        index.add_incoming(step, last)
        for phi, value in zip(phis, after, strict=True):
            phi.add_incoming(value, last)
        b.cbranch(b.icmp_signed("<", step, count), head, done)
        b.position_at_end(done)
        return [self._join(v, before, n, last) for v, n in zip(state, after, strict=True)]

    def _join(self, first: Any, before: Any, second: Any, last: Any) -> Any:
        phi = self.b.phi(first.type)
        phi.add_incoming(first, before)
        phi.add_incoming(second, last)
        return phi


def instruction(generate: Callable[..., Any]) -> Any:
    """Numba's `intrinsic`, for type checkers: the first parameter of the function is not part of a call."""
    return intrinsic(generate)


def emit(count: int, write: Callable[..., Any], result: Any = types.void) -> Any:
    """An instruction for compiled code that takes `count` int64 numbers; `write(emitter, *args)` emits its body."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        value = write(Emitter(builder), *args)
        return context.get_dummy_value() if result == types.void else value

    return result(*[types.int64] * count), generate


def emit_shared(name: str, count: int, write: Callable[..., Any]) -> Any:
    """Like `emit`, as one function that is never inlined: large bodies stay single and compile times short."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        kind = ir.FunctionType(ir.VoidType(), [I64] * count)
        function = cgutils.get_or_insert_function(builder.module, kind, f"perilune_{name}")
        if function.is_declaration:
            function.linkage = "linkonce_odr"
            function.attributes.add("noinline")
            body = ir.IRBuilder(function.append_basic_block("entry"))
            write(Emitter(body), *function.args)
            body.ret_void()
        builder.call(function, args)
        return context.get_dummy_value()

    return types.void(*[types.int64] * count), generate


@instruction
def fetch_add(typing: Any, address: Any, amount: Any) -> Any:
    """Atomic add to an int64; returns the value before."""

    def write(e: Emitter, address: Any, amount: Any) -> Any:
        return e.b.atomic_rmw("add", e.at(address), amount, "acq_rel")

    return emit(2, write, types.int64)


@instruction
def raise_to(typing: Any, address: Any, value: Any) -> Any:
    """Atomic maximum of an int64 and a value."""

    def write(e: Emitter, address: Any, value: Any) -> None:
        e.b.atomic_rmw("max", e.at(address), value, "acq_rel")

    return emit(2, write)


@instruction
def load_acquire(typing: Any, address: Any) -> Any:
    """Atomic read of an int64."""

    def write(e: Emitter, address: Any) -> Any:
        return e.b.load_atomic(e.at(address), "acquire", 8, typ=I64)

    return emit(1, write, types.int64)


@instruction
def relax(typing: Any) -> Any:
    """A short pause inside a waiting loop."""

    def write(e: Emitter) -> None:
        if _is_x86():
            e.call("llvm.x86.sse2.pause", ir.VoidType(), [])

    return emit(0, write)


@instruction
def yield_core(typing: Any) -> Any:
    """Let another thread of this machine have the core."""

    def write(e: Emitter) -> None:
        if _can_yield():
            e.call("sched_yield", I32, [])

    return emit(0, write)


def _scalar(kind: ir.Type, numba_type: Any) -> tuple[Any, Any]:
    @instruction
    def peek(typing: Any, address: Any) -> Any:
        """Read one number at an address."""

        def write(e: Emitter, address: Any) -> Any:
            return e.load(kind, address)

        return emit(1, write, numba_type)

    @instruction
    def poke(typing: Any, address: Any, value: Any) -> Any:
        """Write one number at an address."""

        def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
            Emitter(builder).store(args[1], args[0])
            return context.get_dummy_value()

        return types.void(types.int64, numba_type), generate

    return peek, poke


peek_f32, poke_f32 = _scalar(F32, types.float32)
peek_i64, poke_i64 = _scalar(I64, types.int64)


@instruction
def pointer_i64(typing: Any, address: Any) -> Any:
    """An address as the pointer that `numba.carray` takes."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        return builder.inttoptr(args[0], context.get_value_type(signature.return_type))

    return types.CPointer(types.int64)(types.int64), generate
