"""Best matches of index queries in every chunk of a memory: int8 products, the largest of a chunk kept.

Keys lie as bytes 128 + k, sixteen at a time: [C, G, S/16, I/4, 16, 4], so that one vector instruction adds four
dimensions of sixteen keys. The sums are integers and the constant 128 · sum(q) is taken off at the end, so there is
no rounding and no order: any thread count gives the same numbers.

N queries · G groups · C chunks · S keys of a chunk · I width of a key.
"""

from typing import Any

import numba
import numpy as np

from perilune.kernels import threads as team
from perilune.kernels.jit import address, entry, kernel
from perilune.kernels.simd import I32, V16I, V64B, Emitter, constant, emit_shared, instruction

LANES = 16
OFFSET = 128
# Queries that go through a vector of keys together: their sums and maxima fill the registers.
TOGETHER = 8
CHUNKS_AT_ONCE = 64
LOWEST = -(1 << 31)


@instruction
def match_tile(typing: Any, keys: Any, blocks: Any, steps: Any, queries: Any, query_bytes: Any, out: Any) -> Any:
    """out[q] = the largest sum of `blocks` · 16 keys with each of TOGETHER queries; int32 at distance 4."""

    def write(e: Emitter, keys: Any, blocks: Any, steps: Any, queries: Any, query_bytes: Any, out: Any) -> None:
        b = e.b
        rows = [b.add(queries, b.mul(query_bytes, e.i64(q))) for q in range(TOGETHER)]

        def block(v: Any, best: list[Any]) -> list[Any]:
            base = b.add(keys, b.mul(v, b.mul(steps, e.i64(64))))

            def step(j: Any, sums: list[Any]) -> list[Any]:
                four_of_16 = e.load(V64B, b.add(base, b.mul(j, e.i64(64))))
                at = b.mul(j, e.i64(4))
                spread = [b.bitcast(e.splat(e.load(I32, b.add(row, at))), V64B) for row in rows]
                return [e.dot_bytes(total, four_of_16, q) for total, q in zip(sums, spread, strict=True)]

            sums = e.loop(steps, [constant(V16I, 0)] * TOGETHER, step)
            return [b.select(b.icmp_signed(">", s, m), s, m) for s, m in zip(sums, best, strict=True)]

        best = e.loop(blocks, [constant(V16I, LOWEST)] * TOGETHER, block)
        for q, lanes in enumerate(best):
            largest = e.call("llvm.vector.reduce.smax.v16i32", I32, [lanes])
            e.store(largest, out, 4 * q)

    return emit_shared("match_tile", 6, write)


@kernel
def _match_thread(keys, chunks, groups, blocks, steps, queries, count, out, sync):
    piece = blocks * steps * 64
    shares, done = (chunks + CHUNKS_AT_ONCE - 1) // CHUNKS_AT_ONCE, 0
    share = team.claim(sync, 0)
    while share < shares:
        for c in range(share * CHUNKS_AT_ONCE, min(chunks, (share + 1) * CHUNKS_AT_ONCE)):
            for g in range(groups):
                for first in range(0, count, TOGETHER):
                    q = queries + (g * count + first) * steps * 4
                    place = c * groups + g
                    target = out + 4 * (place * count + first)
                    match_tile(keys + place * piece, blocks, steps, q, steps * 4, target)
        done += 1
        share = team.claim(sync, 0)
    team.finish(sync, 0, done, shares)


@entry(parallel=True)
def _match_fork(threads, keys, chunks, groups, blocks, steps, queries, count, out, sync):
    for _ in numba.prange(threads):
        _match_thread(keys, chunks, groups, blocks, steps, queries, count, out, address(sync))


def pack_keys(keys_CSGI: np.ndarray) -> np.ndarray:
    """int8 keys as the scan reads them: uint8 [C, G, S/16, I/4, 16, 4]."""
    chunks, size, groups, width = keys_CSGI.shape
    if size % LANES or width % 4:
        raise ValueError(f"a chunk has a multiple of 16 keys of a multiple of 4 dimensions, got {size} of {width}")
    shifted = (keys_CSGI.astype(np.int16) + OFFSET).astype(np.uint8)
    split = shifted.reshape(chunks, size // LANES, LANES, groups, width // 4, 4)
    return np.ascontiguousarray(split.transpose(0, 3, 1, 4, 2, 5))


def unpack_keys(packed: np.ndarray) -> np.ndarray:
    """The inverse of pack_keys: int8 [C, S, G, I]."""
    chunks, groups, blocks, steps = packed.shape[:4]
    split = packed.transpose(0, 2, 4, 1, 3, 5).reshape(chunks, blocks * LANES, groups, steps * 4)
    return (split.astype(np.int16) - OFFSET).astype(np.int8)


def best_matches(queries_NGI: np.ndarray, packed: np.ndarray) -> np.ndarray:
    """int8 queries against packed keys: int32 [N, G, C]."""
    count, groups, width = queries_NGI.shape
    chunks, key_groups, blocks, steps = packed.shape[:4]
    if queries_NGI.dtype != np.int8 or packed.dtype != np.uint8 or (key_groups, 4 * steps) != (groups, width):
        raise ValueError(
            f"queries {queries_NGI.dtype} {queries_NGI.shape} do not fit keys {packed.dtype} {packed.shape}"
        )
    if not count or not chunks:
        return np.zeros((count, groups, chunks), np.int32)
    padded = -(-count // TOGETHER) * TOGETHER
    rows_GNI = np.zeros((groups, padded, width), np.int8)
    rows_GNI[:, :count] = queries_NGI.transpose(1, 0, 2)
    out_CGN = np.empty((chunks, groups, padded), np.int32)
    packed = np.ascontiguousarray(packed)
    sync = team.sync_words(1)
    sizes = (packed.ctypes.data, chunks, groups, blocks, steps, rows_GNI.ctypes.data, padded, out_CGN.ctypes.data)
    with team.region() as threads:
        _match_fork(threads, *sizes, sync)
    constant_NG = OFFSET * queries_NGI.astype(np.int32).sum(-1)
    return out_CGN[:, :, :count].transpose(2, 1, 0) - constant_NG[:, :, None]


def best_matches_plain(queries_NGI: np.ndarray, keys_CSGI: np.ndarray) -> np.ndarray:
    """The definition, on int8 keys that are not packed."""
    sums = np.einsum("ngi,csgi->ngcs", queries_NGI.astype(np.int32), keys_CSGI.astype(np.int32))
    return sums.max(-1)
