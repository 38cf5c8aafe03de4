"""The fused decode step against a plain float64 model, and the same bits for any threads and batch."""

from dataclasses import replace

import numpy as np
import pytest
from native_layout import dequantized

from perilune.kernels import threads
from perilune.kernels.decode_cpu import DecodePlan, LayerWeights, Matrix, Sizes
from perilune.kernels.linear_cpu import int8_rows, linear_plain
from perilune.kernels.tiles import BF16, FLOAT32, INT8, SCALE_BYTES

SIZES = Sizes(
    hidden=96, heads=3, q_lora_rank=40, kv_lora_rank=32, qk_nope=16, qk_rope=8, v_head=12, vocab=77, experts=8, top_k=3,
    expert_width=64, routed_scale=2.5, softmax_scale=0.2, mode="float",
)  # fmt: skip
LAYERS, INNER = 3, 100


def to_bf16(values):
    return (np.ascontiguousarray(values, np.float32).view(np.uint32) >> 16).astype(np.uint16)


def to_float(w):
    if w.dtype == np.int8:
        return linear_plain(np.eye(w.shape[1] - SCALE_BYTES, dtype=np.float32), w).T
    return ((w.astype(np.uint32) << 16).view(np.float32) if w.dtype == np.uint16 else w).astype(np.float64)


class PlainModel:
    """Random weights, the step written out in float64 on expanded keys and values, and the plan on the same memory."""

    def __init__(self, sizes, kind=BF16, shared=True):
        self.s, self.kind, self.rng = sizes, kind, np.random.default_rng(7)
        self.layers = [self.layer(moe=i > 0, shared=shared) for i in range(LAYERS)]
        self.norm, self.head = self.vector(sizes.hidden), self.matrix(sizes.vocab, sizes.hidden)
        self.plan = DecodePlan(
            sizes, [self.addresses(w) for w in self.layers], self.norm.ctypes.data, self.place(self.head)
        )

    def matrix(self, n, k):
        w = self.rng.standard_normal((n, k)) / np.sqrt(k)
        if self.kind == INT8:
            scale = np.abs(w).max(1, keepdims=True) / 127
            return int8_rows((w / scale).round().astype(np.int8), scale)
        return to_bf16(w) if self.kind == BF16 else w.astype(np.float32)

    def vector(self, n):
        return (1 + 0.1 * self.rng.standard_normal(n)).astype(np.float32)

    def place(self, w):
        return Matrix(w.ctypes.data, self.kind)

    def layer(self, moe, shared):
        s, inner = self.s, 64 if moe else INNER
        w = {"input_norm": self.vector(s.hidden), "post_norm": self.vector(s.hidden)}
        w |= {"q_norm": self.vector(s.q_lora_rank or 1), "kv_norm": self.vector(s.kv_lora_rank)}
        w["q_a"] = self.matrix(s.q_lora_rank, s.hidden) if s.q_lora_rank else None
        w["q_b"] = self.matrix(s.heads * (s.qk_nope + s.qk_rope), s.q_lora_rank or s.hidden)
        w["kv_a"] = self.matrix(s.kv_lora_rank + s.qk_rope, s.hidden)
        w["kv_b"] = self.matrix(s.heads * (s.qk_nope + s.v_head), s.kv_lora_rank)
        w["out"] = self.matrix(s.hidden, s.heads * s.v_head)
        w["gate"], w["up"] = self.matrix(inner, s.hidden), self.matrix(inner, s.hidden)
        w["down"], w["shared"] = self.matrix(s.hidden, inner), shared or not moe
        w["bias"] = 0.05 * self.vector(max(s.experts, 1))
        w["router"] = self.matrix(s.experts, s.hidden) if moe else None
        w["experts"] = [self.expert() for _ in range(s.experts)] if moe else []
        w["table"] = np.array([[a.ctypes.data for m in e for a in m] for e in w["experts"]], np.int64)
        return w

    def expert(self):
        s, out = self.s, []
        for n, k in ((s.expert_width, s.hidden), (s.expert_width, s.hidden), (s.hidden, s.expert_width)):
            words = self.rng.integers(0, 2**32, (n, k // 8), dtype=np.uint32).view(np.int32)
            out.append((words, to_bf16((0.5 + self.rng.random((n, k // 32))) * 0.2 / np.sqrt(k))))
        return out

    def addresses(self, w):
        def matrix(name):
            return None if w[name] is None else self.place(w[name])

        dense = {name: matrix(name) if w["shared"] else None for name in ("gate", "up", "down")}
        norms = {n: w[n].ctypes.data for n in ("input_norm", "q_norm", "kv_norm", "post_norm", "bias")}
        rest = {n: matrix(n) for n in ("q_a", "q_b", "kv_a", "kv_b", "out", "router")}
        table = w["table"].ctypes.data if w["experts"] else 0
        return LayerWeights(**dense, **norms, **rest, inner=len(w["gate"]) if w["shared"] else 0, experts=table)

    def step(self, x, cos, sin, caches, length):
        s, x = self.s, x.astype(np.float64)
        for w, cache in zip(self.layers, caches, strict=True):
            x = x + self.attention(w, rms(x, w["input_norm"], s.eps), cos, sin, cache, length)
            x = x + self.feed_forward(w, rms(x, w["post_norm"], s.eps))
        return to_float(self.head) @ rms(x, self.norm, s.eps)

    def attention(self, w, x, cos, sin, cache, n):
        s, latent = self.s, self.s.kv_lora_rank
        q = rms(to_float(w["q_a"]) @ x, w["q_norm"], s.latent_eps) if s.q_lora_rank else x
        q = (to_float(w["q_b"]) @ q).reshape(s.heads, -1)
        kv = to_float(w["kv_a"]) @ x
        key = self.rotate(kv[latent:], cos, sin)
        cache[n] = np.concatenate([rms(kv[:latent], w["kv_norm"], s.latent_eps), key])
        rows, out = cache[: n + 1].astype(np.float64), []
        for head, both in enumerate(to_float(w["kv_b"]).reshape(s.heads, -1, latent)):
            expanded = rows[:, :latent] @ both.T
            scores = expanded[:, : s.qk_nope] @ q[head, : s.qk_nope]
            scores += rows[:, latent:] @ self.rotate(q[head, s.qk_nope :], cos, sin)
            weights = np.exp((scores - scores.max()) * s.softmax_scale)
            out.append(weights / weights.sum() @ expanded[:, s.qk_nope :])
        return to_float(w["out"]) @ np.concatenate(out)

    def rotate(self, v, cos, sin):
        if self.s.rotary == "none":
            return v
        pairs = (slice(0, None, 2), slice(1, None, 2))
        if self.s.rotary == "halves":
            pairs = (slice(0, len(v) // 2), slice(len(v) // 2, None))
        a, b, out = v[pairs[0]], v[pairs[1]], v.copy()
        out[pairs[0]], out[pairs[1]] = a * cos - b * sin, b * cos + a * sin
        return out

    def feed_forward(self, w, x):
        s, y = self.s, np.zeros_like(x)
        if w["shared"]:
            y += swiglu(*(to_float(w[n]) for n in ("gate", "up", "down")), x)
        if w["experts"]:
            scores = 1 / (1 + np.exp(-to_float(w["router"]) @ x))
            ids = np.argsort(-(scores + w["bias"]), kind="stable")[: s.top_k]
            total = scores[ids].sum() if s.norm_topk else 1
            for i in ids:
                matrices = (dequantized(*m).astype(np.float64) for m in w["experts"][i])
                y += scores[i] / total * s.routed_scale * swiglu(*matrices, x)
        return y


def rms(v, weight, eps):
    return v / np.sqrt((v * v).mean() + eps) * weight


def swiglu(gate, up, down, x):
    g = gate @ x
    return down @ (g / (1 + np.exp(-g)) * (up @ x))


class Batch:
    """Sequences of different lengths with random caches."""

    def __init__(self, model, lengths):
        s, rng = model.s, np.random.default_rng(11)
        width = s.kv_lora_rank + s.qk_rope
        self.model, self.lengths = model, np.array(lengths, np.int64)
        self.x = rng.standard_normal((len(lengths), s.hidden)).astype(np.float32)
        angle = rng.standard_normal((len(lengths), s.qk_rope // 2))
        self.cos, self.sin = np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)
        self.caches = [[rng.standard_normal((n + 1, width)).astype(np.float32) for _ in range(LAYERS)] for n in lengths]

    def run(self, rows):
        table = np.array([[self.caches[b][i].ctypes.data for b in rows] for i in range(LAYERS)], np.int64)
        return self.model.plan.step(self.x[rows], self.cos[rows], self.sin[rows], table, self.lengths[rows])

    def plain(self, b):
        caches = [c.copy() for c in self.caches[b]]
        return self.model.step(self.x[b], self.cos[b], self.sin[b], caches, self.lengths[b]), caches


@pytest.mark.parametrize("kind", [FLOAT32, BF16, INT8])
@pytest.mark.parametrize(
    ("changes", "tolerance"),
    [
        ({}, 2e-6),
        ({"q_lora_rank": 0, "rotary": "halves", "norm_topk": False}, 2e-6),
        ({"rotary": "none", "heads": 6, "kv_lora_rank": 144}, 2e-6),
        ({"mode": "int8"}, 0.05),
    ],
    ids=["query-rank", "plain-query-halves", "six-heads-no-rotary", "int8"],
)
def test_equals_the_plain_model_with_the_same_bits_everywhere(changes, tolerance, kind):
    batch = Batch(PlainModel(replace(SIZES, **changes), kind), [0, 5, 300, 40, 1])
    rows = list(range(5))
    expected = [batch.plain(b) for b in rows]
    together = batch.run(rows)
    for b, (want, caches) in enumerate(expected):
        assert np.linalg.norm(together[b] - want) <= tolerance * np.linalg.norm(want)
        assert np.allclose(batch.caches[b][0][-1], caches[0][-1], atol=2e-6)
    for count in (1, None):
        threads.set_threads(count)
        assert np.array_equal(batch.run(rows), together)
        for b in rows:
            assert np.array_equal(batch.run([b])[0], together[b])


def test_experts_without_shared_expert():
    batch = Batch(PlainModel(SIZES, shared=False), [9])
    want, _ = batch.plain(0)
    assert np.linalg.norm(batch.run([0])[0] - want) <= 2e-6 * np.linalg.norm(want)


def test_long_context_is_cut_into_parts():
    batch = Batch(PlainModel(SIZES), [9000])
    want, _ = batch.plain(0)
    assert np.linalg.norm(batch.run([0])[0] - want) <= 2e-6 * np.linalg.norm(want)


def test_says_what_it_does_not_support():
    assert "group" in replace(SIZES, n_group=8).unsupported()
    assert "multiple of 16" in replace(SIZES, kv_lora_rank=24).unsupported()
    assert "32" in replace(SIZES, expert_width=40).unsupported()
    with pytest.raises(ValueError, match="group-limited"):
        DecodePlan(replace(SIZES, n_group=8), [], 0, Matrix(0, BF16))
