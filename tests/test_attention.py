"""Latent attention: absorbed equals expanded, cached equals whole, packed documents do not see each other."""

import pytest
import torch

from perilune.config import ModelConfig
from perilune.model.attention import LatentAttention, attend
from perilune.model.rope import RotaryTable

CONFIG = ModelConfig.preset("tiny")


@pytest.fixture
def layer():
    torch.manual_seed(0)
    layer = LatentAttention(CONFIG)
    for parameter in layer.parameters():
        if parameter.dim() == 2:
            torch.nn.init.normal_(parameter, std=0.2)
    return layer


def rotary(length):
    cos_TP, sin_TP = RotaryTable(CONFIG.rope, CONFIG.qk_rope_head_dim).up_to(length)
    return cos_TP[:length], sin_TP[:length]


def cache(rows):
    return torch.zeros(rows, CONFIG.kv_lora_rank + CONFIG.qk_rope_head_dim)


@torch.inference_mode()
def test_absorbed_decoding_equals_the_expanded_form(layer):
    x_TD, (cos, sin) = torch.randn(20, CONFIG.hidden_size), rotary(20)
    expected_TD = layer(x_TD[None], cos, sin)[0]
    cache_SW = cache(20)
    rows = [layer.decode(x_TD[t : t + 1], cos[t : t + 1], sin[t : t + 1], [cache_SW], [t]) for t in range(20)]
    torch.testing.assert_close(torch.cat(rows), expected_TD, rtol=1e-4, atol=1e-5)


@torch.inference_mode()
@pytest.mark.parametrize("cut", [1, 7, 19])
def test_chunks_equal_the_whole(layer, cut):
    x_TD, (cos, sin) = torch.randn(20, CONFIG.hidden_size), rotary(20)
    expected_TD = layer(x_TD[None], cos, sin)[0]
    cache_SW = cache(32)
    first = layer.extend(x_TD[:cut], cos[:cut], sin[:cut], cache_SW, 0)
    second = layer.extend(x_TD[cut:], cos[cut:], sin[cut:], cache_SW, cut)
    torch.testing.assert_close(torch.cat((first, second)), expected_TD, rtol=1e-4, atol=1e-5)


@torch.inference_mode()
def test_packed_documents_see_only_themselves(layer):
    x_TD, (cos, sin) = torch.randn(12, CONFIG.hidden_size), rotary(12)
    positions_T = torch.cat((torch.arange(5), torch.arange(7)))
    packed = layer(x_TD[None], cos[positions_T], sin[positions_T], [5, 7])[0]
    torch.testing.assert_close(packed[:5], layer(x_TD[None, :5], cos[:5], sin[:5])[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(packed[5:], layer(x_TD[None, 5:], cos[:7], sin[:7])[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("value_width", [16, 48])
def test_attend_is_softmax_of_scaled_scores(value_width):
    q, k, v = torch.randn(1, 2, 9, 48), torch.randn(1, 2, 9, 48), torch.randn(1, 2, 9, value_width)
    scores = (q @ k.mT * 0.3).masked_fill(~torch.ones(9, 9, dtype=torch.bool).tril(), -torch.inf)
    torch.testing.assert_close(attend(q, k, v, 0.3), scores.softmax(-1) @ v, rtol=1e-4, atol=1e-5)


def test_gradients_reach_every_weight(layer):
    cos, sin = rotary(6)
    layer(torch.randn(2, 6, CONFIG.hidden_size), cos, sin).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in layer.parameters())
