"""Grouped experts equal the plain loop in values and in every gradient."""

import pytest
import torch
import torch.nn.functional as F

from perilune.config import ModelConfig
from perilune.model.grouped import grouped_experts
from perilune.model.moe import Router, looped_experts

CONFIG = ModelConfig.preset("tiny")


@pytest.mark.parametrize("tokens", [1, 3, 40])
def test_grouped_experts_equal_the_loop(tokens):
    torch.manual_seed(1)
    count, dim, hidden = CONFIG.n_routed_experts, CONFIG.hidden_size, CONFIG.moe_intermediate_size
    shapes = [(count, hidden, dim), (count, hidden, dim), (count, dim, hidden)]
    weights = [(torch.randn(shape) * 0.2).requires_grad_() for shape in shapes]
    router = Router(CONFIG)
    torch.nn.init.normal_(router.weight, std=0.5)
    x_TD = torch.randn(tokens, dim, requires_grad=True)
    routing = router(x_TD)

    def swiglu(e, rows_RD):
        gate_FD, up_FD, down_DF = (w[e] for w in weights)
        return F.linear(F.silu(F.linear(rows_RD, gate_FD)) * F.linear(rows_RD, up_FD), down_DF)

    grouped = grouped_experts(x_TD, routing.ids_TK, routing.weights_TK, *weights)
    looped = looped_experts(x_TD, routing, swiglu)
    torch.testing.assert_close(grouped, looped, rtol=1e-4, atol=1e-5)
    inputs = [x_TD, router.weight, *weights]
    upstream = torch.randn_like(grouped)
    ours, theirs = (torch.autograd.grad(y, inputs, upstream, retain_graph=True) for y in (grouped, looped))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
