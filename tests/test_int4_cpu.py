"""INT4 experts: against their definition, at odd widths, and the same bits for every thread count and batch."""

import numpy as np
import pytest
from native_layout import dequantized

from perilune.kernels import threads
from perilune.kernels.int4_cpu import expert_ffn, expert_ffn_plain


def to_bf16(values):
    return (np.ascontiguousarray(values, np.float32).view(np.uint32) >> 16).astype(np.uint16)


class Bank:
    """Random experts in the native layout, and the same as float matrices."""

    def __init__(self, experts, d, f, rng):
        self.memory, self.plain, rows = [], [], []
        for _ in range(experts):
            matrices = [self.matrix(n, k, rng) for n, k in ((f, d), (f, d), (d, f))]
            rows.append([a.ctypes.data for pair in matrices for a in pair])
            self.plain.append(tuple(dequantized(*pair) for pair in matrices))
        self.table_E6 = np.array(rows, np.int64)

    def matrix(self, n, k, rng):
        words = rng.integers(0, 2**32, (n, k // 8), dtype=np.uint32).view(np.int32)
        pair = words, to_bf16((0.5 + rng.random((n, k // 32))) * 0.2 / np.sqrt(k))
        self.memory.append(pair)
        return pair


def tokens(count, d, experts, slots, rng):
    ids_TK = np.stack([rng.permutation(experts)[:slots] for _ in range(count)])
    return rng.standard_normal((count, d)).astype(np.float32), ids_TK, rng.random((count, slots)).astype(np.float32)


@pytest.fixture(autouse=True)
def all_threads_afterwards():
    yield
    threads.set_threads(None)


def test_golden_word():
    q = np.array([[0xA95BF870, 0, 0, 0]], np.uint32).view(np.int32)
    w = dequantized(q, to_bf16(np.ones((1, 1))))
    assert w[0, :8].tolist() == [-8, -1, 0, 7, 3, -3, 1, 2]


@pytest.mark.parametrize(("mode", "tolerance"), [("float", 1e-6), ("int8", 0.02)])
@pytest.mark.parametrize(("d", "f"), [(96, 160), (32, 32), (128, 96), (256, 128)])
def test_equals_the_definition(mode, tolerance, d, f):
    rng = np.random.default_rng(d)
    bank = Bank(6, d, f, rng)
    for count in (1, 2, 3, 21):
        x, ids, weights = tokens(count, d, 6, 3, rng)
        want = expert_ffn_plain(x.astype(np.float64), ids, weights, bank.plain)
        got = expert_ffn(x, ids, weights, bank.table_E6, d, f, mode)
        assert np.linalg.norm(got - want) <= tolerance * np.linalg.norm(want)


@pytest.mark.parametrize("mode", ["float", "int8"])
def test_same_bits_for_any_threads_and_neighbours(mode):
    rng = np.random.default_rng(1)
    bank = Bank(5, 160, 96, rng)
    x, ids, weights = tokens(70, 160, 5, 2, rng)
    threads.set_threads(1)
    whole = expert_ffn(x, ids, weights, bank.table_E6, 160, 96, mode)
    threads.set_threads(None)
    assert np.array_equal(expert_ffn(x, ids, weights, bank.table_E6, 160, 96, mode), whole)
    for begin, end in ((0, 1), (5, 7), (10, 21)):
        part = slice(begin, end)
        assert np.array_equal(expert_ffn(x[part], ids[part], weights[part], bank.table_E6, 160, 96, mode), whole[part])


def test_zero_rows_and_zero_tokens():
    rng = np.random.default_rng(2)
    bank = Bank(2, 64, 32, rng)
    ids, weights = np.zeros((3, 1), np.int64), np.ones((3, 1), np.float32)
    for mode in ("float", "int8"):
        out = expert_ffn(np.zeros((3, 64), np.float32), ids, weights, bank.table_E6, 64, 32, mode)
        assert not out.any()
        assert expert_ffn(np.zeros((0, 64), np.float32), ids[:0], weights[:0], bank.table_E6, 64, 32, mode).shape == (
            0,
            64,
        )


def test_refuses_what_does_not_fit():
    rng = np.random.default_rng(3)
    bank = Bank(2, 64, 32, rng)
    x, ids, weights = tokens(2, 64, 2, 1, rng)
    with pytest.raises(ValueError, match="mode"):
        expert_ffn(x, ids, weights, bank.table_E6, 64, 32, "int4")
    with pytest.raises(ValueError, match="ids"):
        expert_ffn(x, ids + 2, weights, bank.table_E6, 64, 32, "int8")
    with pytest.raises(ValueError, match="multiples"):
        expert_ffn(x, ids, weights, bank.table_E6, 64, 33, "int8")
    with pytest.raises(ValueError, match="shapes"):
        expert_ffn(x, ids[:1], weights, bank.table_E6, 64, 32, "int8")


@pytest.mark.parametrize("mode", ["float", "int8"])
def test_a_pair_of_no_expert_adds_nothing(mode):
    rng = np.random.default_rng(2)
    bank = Bank(6, 96, 64, rng)
    x, ids, weights = tokens(40, 96, 6, 3, rng)
    elsewhere = np.isin(ids, (1, 4)) | (np.arange(40)[:, None] % 7 == 0)
    want = expert_ffn(x, ids, np.where(elsewhere, 0, weights), bank.table_E6, 96, 64, mode)
    got = expert_ffn(x, np.where(elsewhere, -1, ids), weights, bank.table_E6, 96, 64, mode)
    assert np.array_equal(got, want) and not got[::7].any()
    assert not expert_ffn(x, np.full_like(ids, -1), weights, bank.table_E6, 96, 64, mode).any()
    with pytest.raises(ValueError, match="or -1"):
        expert_ffn(x, ids - 2, weights, bank.table_E6, 96, 64, mode)
