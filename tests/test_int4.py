"""The INT4 grid: published nibbles, exact round trips, and a gradient that passes through."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from perilune.errors import WeightsError
from perilune.weights import int4


def random_weights(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_golden_nibbles():
    q = torch.tensor([[-8, -1, 0, 7, 3, -3, 1, 2]], dtype=torch.int8)
    word = int4.pack(q)
    assert word.dtype == torch.int32 and word.item() & 0xFFFFFFFF == 0xA95BF870
    assert torch.equal(int4.unpack(word), q)


@settings(deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 4), st.integers(1, 3))
def test_unpack_undoes_pack(seed, rows, groups):
    generator = torch.Generator().manual_seed(seed)
    q = torch.randint(-8, 8, (2, rows, 32 * groups), generator=generator).to(torch.int8)
    assert torch.equal(int4.unpack(int4.pack(q)), q)


def test_dequantize_is_nibble_times_scale_per_group():
    q = torch.randint(-8, 8, (3, 64), generator=torch.Generator().manual_seed(1)).to(torch.int8)
    scale = torch.tensor([[0.5, 2.0], [1.0, 0.25], [3.0, 0.0]], dtype=torch.bfloat16)
    weights = int4.dequantize(int4.pack(q), scale)
    assert weights.dtype == torch.float32
    assert torch.equal(weights, q.float() * scale.float().repeat_interleave(32, dim=1))


@pytest.mark.parametrize("shape", [(4, 32), (2, 5, 96)])
def test_quantising_twice_changes_nothing(shape):
    q, scale = int4.quantize(random_weights(*shape))
    again, same_scale = int4.quantize(int4.dequantize(int4.pack(q), scale))
    assert torch.equal(q, again) and torch.equal(scale, same_scale)


def test_error_is_at_most_half_a_step():
    weights = random_weights(64, 256)
    q, scale = int4.quantize(weights)
    error = (int4.dequantize(int4.pack(q), scale) - weights).abs().unflatten(-1, (-1, 32)).amax(-1)
    # The scale is rounded to bfloat16, which can leave the largest value a little outside.
    assert (error <= scale.float() * 0.54).all()
    assert int(q.min()) == -8 and int(q.max()) == 7


def test_a_group_of_zeros_stays_zero():
    q, scale = int4.quantize(torch.zeros(1, 32))
    assert not q.any() and not scale.any()


def test_fake_quantize_is_quantize_then_dequantize_and_passes_the_gradient():
    weights = random_weights(2, 8, 64).requires_grad_()
    faked = int4.fake_quantize(weights)
    q, scale = int4.quantize(weights)
    assert torch.equal(faked, int4.dequantize(int4.pack(q), scale))
    upstream = random_weights(2, 8, 64, seed=7)
    faked.backward(upstream)
    assert torch.equal(weights.grad, upstream)


def test_what_does_not_fit_the_grid_is_refused():
    with pytest.raises(WeightsError, match="32"):
        int4.quantize(torch.zeros(2, 40))
    with pytest.raises(WeightsError, match="finite"):
        int4.quantize(torch.full((1, 32), float("nan")))
    with pytest.raises(WeightsError, match="-8 to 7"):
        int4.pack(torch.full((1, 8), 8, dtype=torch.int8))


def test_the_table_gives_the_bits_of_the_definition():
    words_NW = torch.randint(-(1 << 31), (1 << 31) - 1, (6, 32), dtype=torch.int64).to(torch.int32)
    scale_NG, table = torch.rand(6, 8).bfloat16(), int4.word_table(torch.device("cpu"))
    got = int4.dequantize_by_table(words_NW.view(torch.int16), scale_NG, table)
    assert got.equal(int4.dequantize(words_NW, scale_NG))
    every = torch.arange(-(1 << 15), 1 << 15).to(torch.int16)
    assert table[every.long()].view(torch.bfloat16).equal(int4.unpack(every).bfloat16())
