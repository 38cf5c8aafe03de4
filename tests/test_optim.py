"""Muon is orthogonal per block and scaled like AdamW; AdamW equals torch's; state resumes exactly."""

import math
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

from perilune.config import ModelConfig
from perilune.model.model import Transformer
from perilune.train.optim import AdamW, Matrix, Muon, Optimizer, newton_schulz, sort_weights

CONFIG = ModelConfig.preset("tiny")


def model():
    made = Transformer(CONFIG)
    made.init_weights(0)
    return made


def give_gradients(module, seed):
    generator = torch.Generator().manual_seed(seed)
    for weight in module.parameters():
        weight.grad = torch.randn(weight.shape, generator=generator)


@pytest.mark.parametrize("shape", [(3, 8, 32), (2, 48, 16), (1, 24, 24)], ids=str)
def test_newton_schulz_makes_all_singular_values_similar(shape):
    torch.manual_seed(0)
    values = torch.linalg.svdvals(newton_schulz(torch.randn(shape) * 100))
    assert values.min() > 0.3 and values.max() < 1.3


def test_the_first_update_has_the_size_of_adamws():
    torch.manual_seed(0)
    weight = nn.Parameter(torch.zeros(64, 96))
    weight.grad = torch.randn(64, 96)
    Muon([Matrix("w", weight)], weight_decay=0.0).step(1.0)
    rms = weight.detach().square().mean().sqrt()
    # An orthogonal R x C matrix has the entries' root mean square 1 / sqrt(max(R, C)).
    assert 0.1 < rms < 0.25


def test_products_in_bfloat16_give_nearly_the_same_update():
    torch.manual_seed(0)
    grad, updates = torch.randn(24, 40), []
    for dtype in (torch.float32, torch.bfloat16):
        weight = torch.nn.Parameter(torch.zeros(24, 40))
        weight.grad = grad
        Muon([Matrix("a", weight)], dtype=dtype).step(0.1)
        updates.append(weight.detach().flatten())
    assert torch.cosine_similarity(*updates, dim=0) > 0.999 and not torch.equal(*updates)


@pytest.mark.parametrize("heads", [1, 4])
def test_blocks_are_made_orthogonal_one_by_one(heads):
    torch.manual_seed(0)
    weight = nn.Parameter(torch.zeros(32, 16))
    weight.grad = torch.randn(32, 16)
    Muon([Matrix("w", weight, heads)], weight_decay=0.0).step(1.0)
    rows = 32 // heads
    expected = newton_schulz(weight.grad.view(heads, rows, 16)).view(32, 16) * 0.2 * math.sqrt(max(rows, 16))
    torch.testing.assert_close(weight.detach(), -expected, rtol=1e-3, atol=1e-4)


def test_experts_are_blocks():
    torch.manual_seed(0)
    weight = nn.Parameter(torch.zeros(4, 8, 16))
    weight.grad = torch.randn(4, 8, 16)
    Muon([Matrix("w", weight)], weight_decay=0.0).step(1.0)
    alone = nn.Parameter(torch.zeros(8, 16))
    alone.grad = weight.grad[2].clone()
    Muon([Matrix("w", alone)], weight_decay=0.0).step(1.0)
    torch.testing.assert_close(weight[2], alone)


def test_decay_is_decoupled():
    weight = nn.Parameter(torch.ones(8, 8))
    Muon([Matrix("w", weight)], weight_decay=0.1).step(0.5)
    torch.testing.assert_close(weight.detach(), torch.full((8, 8), 0.95))


def test_adamw_equals_torch():
    torch.manual_seed(0)
    ours, theirs = nn.Parameter(torch.randn(6, 4)), nn.Parameter(torch.empty(6, 4))
    theirs.data.copy_(ours.data)
    adamw = AdamW({"w": ours})
    reference = torch.optim.AdamW([theirs], lr=0.01, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1)
    for _ in range(5):
        ours.grad = torch.randn(6, 4)
        theirs.grad = ours.grad.clone()
        adamw.step(0.01)
        reference.step()
    torch.testing.assert_close(ours, theirs)


def test_every_trainable_weight_has_one_optimiser():
    made = model()
    matrices, rest = sort_weights(made, CONFIG.num_attention_heads)
    named = [m.name for m in matrices] + list(rest)
    assert sorted(named) == sorted(name for name, _ in made.named_parameters())
    assert {"embed_tokens.weight", "lm_head.weight", "layers.1.mlp.gate.weight", "norm.weight"} <= set(rest)
    heads = {m.name.split(".")[-2]: m.heads for m in matrices if ".self_attn." in m.name}
    assert heads == {"q_a_proj": 1, "q_b_proj": 2, "kv_a_proj_with_mqa": 1, "kv_b_proj": 2, "o_proj": 1}


def test_state_resumes_bit_for_bit():
    whole, first = model(), model()
    a, b = (Optimizer(m, heads=2) for m in (whole, first))
    for step in range(4):
        give_gradients(whole, step)
        a.step(0.01)
    for step in range(2):
        give_gradients(first, step)
        b.step(0.01)
    second = model()
    second.load_state_dict(first.state_dict())
    c = Optimizer(second, heads=2)
    c.load_state_dict({name: t.clone() for name, t in b.state_dict().items()})
    for step in range(2, 4):
        give_gradients(second, step)
        c.step(0.01)
    for x, y in zip(whole.parameters(), second.parameters(), strict=True):
        assert x.equal(y)


def test_threads_do_not_change_a_bit():
    alone, together = model(), model()
    with ThreadPoolExecutor(2) as executor:
        for made, pool in ((alone, None), (together, executor)):
            give_gradients(made, 0)
            Optimizer(made, heads=2, executor=pool).step(0.01)
    assert all(x.equal(y) for x, y in zip(alone.parameters(), together.parameters(), strict=True))


def test_foreign_state_is_refused():
    optimizer = Optimizer(model(), heads=2)
    state = optimizer.state_dict()
    state["muon.stranger"] = torch.zeros(1)
    with pytest.raises(ValueError, match="stranger"):
        optimizer.load_state_dict(state)


def test_clipping_keeps_direction():
    made = model()
    optimizer = Optimizer(made, heads=2)
    give_gradients(made, 0)
    before = made.norm.weight.grad.clone()
    norm = optimizer.clip(1.0)
    assert norm > 1
    torch.testing.assert_close(made.norm.weight.grad, before / norm, rtol=1e-4, atol=1e-7)
