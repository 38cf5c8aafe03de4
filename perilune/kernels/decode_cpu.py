"""One token of B sequences through the whole model in a single call: what a layer of Python would cost is gone.

A `DecodePlan` is built once from plain sizes and addresses (weights float32, bf16 or int8, routed experts INT4) and run
per token. Threads share the phases of decode_steps.py. Every sum has one order, so a sequence gets the same bits alone,
in any batch and with any thread count.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple

import numba
import numpy as np

from perilune.kernels import decode_steps as steps
from perilune.kernels import threads as team
from perilune.kernels.int4_cpu import MODES, WORK_FLOATS, record_bytes, sort_pairs
from perilune.kernels.jit import address, entry, fused, kernel
from perilune.kernels.linear_cpu import chunk_rows, product, row_bytes
from perilune.kernels.simd import pointer_i64

_PHASES_PER_LAYER = 8


class Matrix(NamedTuple):
    """A row-major weight matrix [out, in] in memory that the caller keeps alive, of a kind of tiles.py."""

    address: int
    kind: int


@dataclass(frozen=True)
class Sizes:
    """What a decode step needs to know of a model; names as in the configuration."""

    hidden: int
    heads: int
    q_lora_rank: int
    kv_lora_rank: int
    qk_nope: int
    qk_rope: int
    v_head: int
    vocab: int
    experts: int = 0
    top_k: int = 0
    expert_width: int = 0
    n_group: int = 1
    norm_topk: bool = True
    routed_scale: float = 1.0
    softmax_scale: float = 1.0
    eps: float = 1e-5
    latent_eps: float = 1e-6
    rotary: str = "interleaved"  # or "halves" or "none"
    mode: str = "int8"

    def unsupported(self) -> str:
        """Why this step cannot run such a model, or an empty text."""
        if self.n_group > 1:
            return "group-limited routing"
        if self.kv_lora_rank % 16:
            return f"a latent rank of {self.kv_lora_rank}, which is not a multiple of 16"
        if self.experts and (self.hidden % 32 or self.expert_width % 32):
            return "expert widths that are not multiples of 32"
        return ""


@dataclass(frozen=True)
class LayerWeights:
    """One layer; norms and the router's bias are addresses of float32. `q_a` None: `q_b` takes the hidden state.

    `gate`, `up`, `down` of `inner` rows are the dense feed-forward, or the shared expert beside `experts`, the address
    of an int64 table [E, 6] (int4_cpu.py); without shared expert `inner` is 0.
    """

    input_norm: int
    q_a: Matrix | None
    q_norm: int
    q_b: Matrix
    kv_a: Matrix
    kv_norm: int
    kv_b: Matrix
    out: Matrix
    post_norm: int
    router: Matrix | None
    bias: int
    gate: Matrix | None
    up: Matrix | None
    down: Matrix | None
    inner: int
    experts: int = 0


@kernel
def _sorted_pairs(d, p, m, buf, local, numbers, work):
    """What a layer's scores lead to, worked out by each thread for itself: the table of experts, pairs of token and
    slot sorted by expert, their starts, the experts used, room for places among those, weights, and how many."""
    b, k, e = d[steps.B], d[steps.TOP_K], d[steps.E] + 1
    at = b + 16 + 2 * b * k
    ids_BK = numbers[b + 16 : b + 16 + b * k].reshape(b, k)
    weights_BK = work[WORK_FLOATS : WORK_FLOATS + b * k].reshape(b, k)
    pairs, start, active = numbers[b + 16 + b * k : at], numbers[at : at + e], numbers[at + e : at + 2 * e]
    table_E6 = numba.carray(pointer_i64(m[steps.TABLE]), (d[steps.E], 6), np.int64)
    steps.route(d, p, m, buf[steps.SCORES], ids_BK, weights_BK, local)
    used = sort_pairs(ids_BK, d[steps.E], pairs, start, active)
    return table_E6, pairs, start, active, numbers[at + 2 * e : at + 3 * e], address(weights_BK), used


@fused
def _close(sync, phase, opened, d, p, m, kinds, buf, local, table, numbers, work):
    """What follows the opened feed-forward of a layer: its down product, or the chosen experts."""
    if m[steps.TABLE] == 0:
        b, width, inner = d[steps.B], d[steps.D], m[steps.INNER]
        source, kind = buf[steps.INNER_H], kinds[steps.DOWN]
        steps.add_product(sync, phase, kind, m[steps.DOWN], width, source, inner, b, buf[steps.X], local, table)
        return
    table_E6, pairs, start, active, which, weights, used = _sorted_pairs(d, p, m, buf, local, numbers, work)
    if not opened:
        if team.passed(sync, phase):
            # Too late to trust the scores that were read: others do the rest of this layer.
            team.finish(sync, phase + 1, 0, steps.closing_shares(d))
            return
        for a in range(used):
            which[a] = a
        steps.open_experts(sync, phase, d, buf, table_E6, pairs, start, active, which, used, work)
    steps.close_experts(
        sync, phase + 1, d, m, kinds, buf, local, table, table_E6, pairs, start, active, used, weights, work
    )


@kernel
def _decode_thread(
    d, p, layers, all_kinds, tail, buf, cos, sin, caches, lengths, sync, begin, end, opened, floats, numbers, work
):
    """One thread's share of the parts begin … end − 1; the last three are its own scratch.

    A layer has two parts, up to the scores of its experts and from there on; the head is one more. `opened`: the
    hidden rows of the first part's experts are there.
    """
    b, width = d[steps.B], d[steps.D]
    local, table = address(floats), address(numbers)
    for part in range(begin, min(end, 2 * d[steps.LAYERS])):
        layer = part // 2
        m, kinds, phase = layers[layer], all_kinds[layer], layer * _PHASES_PER_LAYER
        if part % 2:
            done = opened and part == begin
            _close(sync, phase + 6, done, d, p, m, kinds, buf, local, table, numbers, work)
            continue
        cache = caches + 8 * b * layer
        steps.project(sync, phase, d, p, m, kinds, buf, local, table)
        steps.absorb(sync, phase + 1, d, p, m, kinds, buf, local, table, cos, sin, cache, lengths)
        steps.attend(sync, phase + 2, d, buf, local, table, cache, lengths)
        steps.gather_heads(sync, phase + 3, d, m, kinds, buf, local, table, lengths)
        joined, heads = d[steps.H] * d[steps.V], buf[steps.HEADS]
        out, kind = m[steps.OUT], kinds[steps.OUT]
        steps.add_product(sync, phase + 4, kind, out, width, heads, joined, b, buf[steps.X], local, table)
        steps.open_feed_forward(sync, phase + 5, d, p, m, kinds, buf, local, table)
    if end > 2 * d[steps.LAYERS]:
        _head(sync, d[steps.LAYERS] * _PHASES_PER_LAYER, d, p, tail, buf, local, table)


@fused
def _head(sync, phase, d, p, tail, buf, local, table):
    """Final norm and the vocabulary."""
    b, width = d[steps.B], d[steps.D]
    steps.norm_rows(b, buf[steps.X], tail[0], width, p + 4 * steps.EPS, local, table)
    kind, vocab = tail[2], d[steps.VOCAB]
    size = row_bytes(kind, width)
    rows = chunk_rows(vocab, size)
    total, done = (vocab + rows - 1) // rows, 0
    chunk = team.claim(sync, phase)
    while chunk < total:
        r = chunk * rows
        n = min(rows, vocab - r)
        product(kind, tail[1] + r * size, n, table, b, width, buf[steps.LOGITS] + 4 * r, 4 * vocab)
        done += 1
        chunk = team.claim(sync, phase)
    team.finish(sync, phase, done, total)


@entry(parallel=True)
def _decode_fork(
    d, p, layers, all_kinds, tail, buf, cos, sin, caches, lengths, sync, begin, end, opened, floats, numbers, work
):
    for t in numba.prange(len(floats)):
        scratch = floats[t], numbers[t], work[t]
        _decode_thread(
            d, p, layers, all_kinds, tail, buf, cos, sin, caches, lengths, sync, begin, end, opened, *scratch
        )


@kernel
def _open_thread(d, p, m, buf, sync, there_E, floats, numbers, work):
    table_E6, pairs, start, active, which, _, used = _sorted_pairs(d, p, m, buf, address(floats), numbers, work)
    count = 0
    for a in range(used):
        if there_E[active[a]]:
            which[count] = a
            count += 1
    steps.open_experts(sync, 0, d, buf, table_E6, pairs, start, active, which, count, work)


@entry(parallel=True)
def _open_fork(d, p, m, buf, sync, there_E, floats, numbers, work):
    for t in numba.prange(len(floats)):
        _open_thread(d, p, m, buf, sync, there_E, floats[t], numbers[t], work[t])


@entry()
def _route(d, p, m, scores, ids_BK, weights_BK, floats):
    steps.route(d, p, m, scores, ids_BK, weights_BK, address(floats))


class DecodeStep:
    """One token of B sequences on its way through a model, part by part. Parts: see _decode_thread."""

    def __init__(self, sizes: np.ndarray, p: int, weights: tuple, places: tuple, logits_BV: np.ndarray, kept: tuple):
        self._sizes, self._p, self._weights, self._places, self._kept = sizes, p, weights, places, kept
        self.logits_BV = logits_BV
        self.x_BD: np.ndarray = kept[1]  # the stream between two parts; after a layer's first one, without its experts
        self.parts = 2 * int(sizes[steps.LAYERS]) + 1

    def run(self, begin: int, end: int, opened: bool = False) -> None:
        """The parts begin … end − 1; `opened`: `open_experts` was called for all experts of the first one."""
        d = self._sizes
        with team.region() as threads:
            scratch = _scratch(threads, d)
            _decode_fork(d, self._p, *self._weights, *self._places, begin, end, opened, *scratch)

    def open_experts(self, layer: int, experts: list[int]) -> None:
        """The hidden rows of some of the experts that a layer has chosen: what can be done before all are there."""
        d, there_E = self._sizes, np.zeros(int(self._sizes[steps.E]), np.bool_)
        there_E[experts] = True
        layers, buffers, sync = self._weights[0], self._weights[3], team.sync_words(1)
        with team.region() as threads:
            scratch = _scratch(threads, d)
            _open_fork(d, self._p, layers[layer], buffers, sync.ctypes.data, there_E, *scratch)

    def routed(self, layer: int) -> tuple[np.ndarray, np.ndarray]:
        """The experts [B, K] that the first part of a layer leads to, and their weights."""
        b, k = int(self._sizes[steps.B]), int(self._sizes[steps.TOP_K])
        ids_BK, weights_BK = np.empty((b, k), np.int64), np.empty((b, k), np.float32)
        layers, buffers = self._weights[0], self._weights[3]
        floats = np.empty(int(self._sizes[steps.E]) + 16, np.float32)
        _route(self._sizes, self._p, layers[layer], buffers[steps.SCORES], ids_BK, weights_BK, floats)
        return ids_BK, weights_BK


class DecodePlan:
    """The addresses and sizes of one model, ready to run. The caller keeps the weights alive and unmoved."""

    def __init__(self, sizes: Sizes, layers: Sequence[LayerWeights], norm: int, head: Matrix) -> None:
        if reason := sizes.unsupported():
            raise ValueError(f"the fused decode step does not support {reason}")
        self.sizes = sizes
        rows = [[_split(getattr(layer, f.name)) for f in fields(LayerWeights)] for layer in layers]
        self._layers = np.array([[address for address, _ in row] for row in rows], np.int64)
        self._kinds = np.array([[kind for _, kind in row] for row in rows], np.int64)
        self._tail = np.array([norm, head.address, head.kind], np.int64)
        s = sizes
        self._p = np.array([s.eps, s.latent_eps, s.softmax_scale, s.routed_scale], np.float32)
        self._inner = max((layer.inner for layer in layers), default=0)

    def step(
        self, x_BD: np.ndarray, cos_BP: np.ndarray, sin_BP: np.ndarray, caches_LB: np.ndarray, lengths_B: np.ndarray
    ) -> np.ndarray:
        """Logits [B, vocab] of the next token of B sequences.

        `caches_LB` holds the address of each layer's cache of each sequence, float32 [capacity, latent + rope] with
        `lengths_B` rows in use; the row at that index is written. The caller has made room and counts up afterwards.
        """
        step = self.begin(x_BD, cos_BP, sin_BP, caches_LB, lengths_B)
        step.run(0, step.parts)
        return step.logits_BV

    def begin(
        self, x_BD: np.ndarray, cos_BP: np.ndarray, sin_BP: np.ndarray, caches_LB: np.ndarray, lengths_B: np.ndarray
    ) -> DecodeStep:
        """The same in parts, for whoever must do something before a layer's experts are used."""
        s, (b, d) = self.sizes, x_BD.shape
        pairs = s.qk_rope // 2
        if d != s.hidden or cos_BP.shape != (b, pairs) or sin_BP.shape != (b, pairs):
            raise ValueError(
                f"x {x_BD.shape}, cos {cos_BP.shape}, sin {sin_BP.shape} do not fit {s.hidden} and {pairs}"
            )
        if caches_LB.shape != (len(self._layers), b) or lengths_B.shape != (b,):
            raise ValueError(f"caches {caches_LB.shape} and lengths {lengths_B.shape} do not fit {b} sequences")
        logits_BV = np.empty((b, s.vocab), np.float32)
        x = np.array(x_BD, np.float32, order="C")
        cos, sin = (np.ascontiguousarray(v, np.float32) for v in (cos_BP, sin_BP))
        caches, lengths = np.ascontiguousarray(caches_LB, np.int64), np.ascontiguousarray(lengths_B, np.int64)
        sizes = self._run_sizes(b, lengths)
        room, buffers = self._buffers(sizes, x, logits_BV)
        sync = team.sync_words(len(self._layers) * _PHASES_PER_LAYER + 1)
        weights = (self._layers, self._kinds, self._tail, buffers)
        places = (cos.ctypes.data, sin.ctypes.data, caches.ctypes.data, lengths, sync.ctypes.data)
        kept = (room, x, cos, sin, caches, sync, self._p)
        return DecodeStep(sizes, self._p.ctypes.data, weights, places, logits_BV, kept)

    def _run_sizes(self, b: int, lengths: np.ndarray) -> np.ndarray:
        s, mode = self.sizes, MODES[self.sizes.mode]
        block = max(int(steps.block_size(int(n) + 1)) for n in lengths)
        parts = max(-(-(int(n) + 1) // int(steps.block_size(int(n) + 1))) for n in lengths)
        widest = max(s.hidden, s.q_lora_rank)
        local = max(b * (widest + 2 * steps.CHUNK), steps.HEAD_GROUP * block, b * s.kv_lora_rank, s.experts) + 16
        rotary = {"none": 0, "interleaved": 1, "halves": 2}[s.rotary]
        records = (record_bytes(s.hidden, mode), record_bytes(s.expert_width, mode)) if s.experts else (0, 0)
        widths = (s.hidden, s.heads, s.q_lora_rank, s.kv_lora_rank, s.qk_nope, s.qk_rope, s.v_head)
        experts = (s.experts, s.top_k, s.expert_width)
        rest = (s.vocab, len(self._layers), rotary, s.norm_topk, mode)
        return np.array([b, *widths, *experts, *rest, *records, parts, local], np.int64)

    def _buffers(self, d: np.ndarray, x: np.ndarray, logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """One allocation cut into the buffers that threads share; x and the logits come from outside."""
        s, b = self.sizes, int(d[steps.B])
        kv, parts = s.kv_lora_rank + s.qk_rope, int(d[steps.PARTS])
        floats = {
            steps.QA: b * s.q_lora_rank,
            steps.KVA: b * kv,
            steps.Q: b * s.heads * (s.qk_nope + s.qk_rope),
            steps.Q_LATENT: b * s.heads * kv,
            steps.PART: b * parts * s.heads * s.kv_lora_rank,
            steps.PART_SUMS: b * parts * s.heads * 2,
            steps.HEADS: b * s.heads * s.v_head,
            steps.SCORES: b * s.experts,
            steps.INNER_H: b * self._inner,
            steps.PACKED: b * int(d[steps.X_BYTES]) // 4,
            steps.HIDDEN: b * s.top_k * int(d[steps.H_BYTES]) // 4,
            steps.MOE: b * s.hidden,
        }
        padded = {name: -(-size // 16) * 16 for name, size in floats.items()}
        room = np.empty(sum(padded.values()), np.float32)
        table = np.empty(steps.LOGITS + 1, np.int64)
        at = room.ctypes.data
        for name, size in padded.items():
            table[name], at = at, at + 4 * size
        table[steps.X], table[steps.LOGITS] = x.ctypes.data, logits.ctypes.data
        return room, table


def _scratch(threads: int, d: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Room of each thread: floats, whole numbers (addresses, ids, sorting), and the expert kernels' scratch."""
    pairs = int(d[steps.B] * d[steps.TOP_K]) or int(d[steps.B])
    numbers = int(d[steps.B]) + 16 + 2 * pairs + 3 * (int(d[steps.E]) + 1)
    return (
        np.empty((threads, int(d[steps.LOCAL])), np.float32),
        np.empty((threads, numbers), np.int64),
        np.empty((threads, WORK_FLOATS + pairs), np.float32),
    )


def _split(value: Matrix | int | None) -> tuple[int, int]:
    """A field as (address or number, kind)."""
    if isinstance(value, Matrix):
        return value.address, value.kind
    return value or 0, 0
