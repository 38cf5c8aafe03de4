"""Rotary frequencies against the published golden values, and the rotation against complex numbers."""

import pytest
import torch

from perilune.config import ModelConfig, RopeConfig
from perilune.model.rope import RotaryTable, inverse_frequencies, rotate

K26 = {0: 1.0, 1: 0.713111085, 8: 0.0668740305, 9: 0.043776656, 14: 0.00446584875, 19: 1.58374991e-4}
K26_SLOW = {20: 1.80702339e-5, 31: 4.38220646e-7}
K2_0711 = {19: 0.00162175991, 20: 3.61404677e-5, 31: 8.76441291e-7}


@pytest.mark.parametrize(("shape", "golden"), [("k2.6", K26 | K26_SLOW), ("k2-0711", K2_0711)])
def test_yarn_frequencies_are_the_published_ones(shape, golden):
    frequencies_P = inverse_frequencies(ModelConfig.preset(shape).rope, 64)
    for pair, value in golden.items():
        assert frequencies_P[pair].item() == pytest.approx(value, rel=2e-6)


def test_plain_frequencies_are_powers_of_theta():
    frequencies_P = inverse_frequencies(RopeConfig(theta=10000.0), 8)
    assert frequencies_P.tolist() == pytest.approx([1.0, 0.1, 0.01, 0.001])


@pytest.mark.parametrize("interleave", [True, False])
def test_rotation_is_multiplication_by_a_unit_complex_number(interleave):
    x_TR = torch.randn(5, 16)
    cos_TP, sin_TP = (t[:5] for t in RotaryTable(RopeConfig(theta=100.0), 16).up_to(5))
    out_TR = rotate(x_TR, cos_TP, sin_TP, interleave)
    if interleave:
        pairs, rotated = x_TR.unflatten(1, (8, 2)), out_TR.unflatten(1, (8, 2))
    else:
        pairs, rotated = x_TR.unflatten(1, (2, 8)).mT, out_TR.unflatten(1, (2, 8)).mT
    expected = torch.view_as_complex(pairs.contiguous()) * torch.complex(cos_TP, sin_TP)
    torch.testing.assert_close(torch.view_as_complex(rotated.contiguous()), expected)


def test_scores_depend_on_distance_only():
    table = RotaryTable(ModelConfig.preset("k2.6").rope, 64)
    cos_TP, sin_TP = table.up_to(500)
    q_R, k_R = torch.randn(64), torch.randn(64)

    def score(i: int, j: int) -> float:
        return (rotate(q_R, cos_TP[i], sin_TP[i]) @ rotate(k_R, cos_TP[j], sin_TP[j])).item()

    assert score(120, 20) == pytest.approx(score(420, 320), abs=1e-3)


def test_growing_the_table_keeps_earlier_positions():
    table = RotaryTable(RopeConfig(theta=100.0), 16)
    before = table.up_to(10)[0][:10].clone()
    torch.testing.assert_close(table.up_to(5000)[0][:10], before, rtol=0, atol=0)
