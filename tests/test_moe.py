"""The router's rules one by one; grouped experts equal the loop in values and gradients."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F

from perilune.config import ModelConfig
from perilune.model.moe import Experts, MoE, Router, StoredExperts, grouped_experts, looped_experts

CONFIG = ModelConfig.preset("tiny")


def router(**changes):
    torch.manual_seed(1)
    made = Router(dataclasses.replace(CONFIG, **changes))
    torch.nn.init.normal_(made.weight, std=0.5)
    return made


def test_the_bias_chooses_but_never_weighs():
    made, x_TD = router(), torch.randn(6, CONFIG.hidden_size)
    made.e_score_correction_bias[3] = 10.0
    routing = made(x_TD)
    assert (routing.ids_TK == 3).any(dim=1).all()
    scores_TE = (x_TD @ made.weight.T).sigmoid()
    chosen_TK = scores_TE.gather(1, routing.ids_TK)
    expected_TK = chosen_TK / chosen_TK.sum(1, keepdim=True) * CONFIG.routed_scaling_factor
    torch.testing.assert_close(routing.weights_TK, expected_TK)


def test_without_renormalisation_the_scores_are_the_weights():
    routing = router(norm_topk_prob=False, routed_scaling_factor=1.0)(torch.randn(4, CONFIG.hidden_size))
    torch.testing.assert_close(routing.weights_TK, routing.scores_TE.gather(1, routing.ids_TK))


def test_groups_outside_the_best_are_never_chosen():
    made = router(n_group=4, topk_group=1)
    routing = made(torch.randn(50, CONFIG.hidden_size))
    groups_TK = routing.ids_TK // 2
    assert (groups_TK == groups_TK[:, :1]).all()


def test_pinned_experts_keep_their_own_weights():
    made, x_TD = router(), torch.randn(3, CONFIG.hidden_size)
    made.pinned_ids_TK = torch.tensor([[0, 1], [2, 3], [4, 5]])
    routing = made(x_TD)
    assert routing.ids_TK.equal(made.pinned_ids_TK)
    assert routing.weights_TK.sum(1).tolist() == pytest.approx([CONFIG.routed_scaling_factor] * 3)


@pytest.mark.parametrize("tokens", [1, 3, 40])
def test_grouped_experts_equal_the_loop(tokens):
    experts = Experts(CONFIG)
    for parameter in experts.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    weights = (experts.w_gate_EFD, experts.w_up_EFD, experts.w_down_EDF)
    x_TD = torch.randn(tokens, CONFIG.hidden_size)
    with torch.no_grad():
        routing = router()(x_TD)

    def swiglu(e, rows_RD):
        return F.linear(F.silu(F.linear(rows_RD, weights[0][e])) * F.linear(rows_RD, weights[1][e]), weights[2][e])

    grouped = grouped_experts(x_TD, routing, *weights)
    looped = looped_experts(x_TD, routing, swiglu)
    torch.testing.assert_close(grouped, looped, rtol=1e-4, atol=1e-5)
    upstream = torch.randn_like(grouped)
    for a, b in zip(
        torch.autograd.grad(grouped, weights, upstream), torch.autograd.grad(looped, weights, upstream), strict=True
    ):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@torch.inference_mode()
def test_stored_experts_equal_trainable_ones():
    moe = MoE(CONFIG)
    for parameter in moe.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    x_TD = torch.randn(7, CONFIG.hidden_size)
    expected_TD = moe(x_TD)
    fused = moe.experts
    moe.experts = StoredExperts(
        [(fused.w_gate_EFD[e], fused.w_up_EFD[e], fused.w_down_EDF[e]) for e in range(CONFIG.n_routed_experts)]
    )
    torch.testing.assert_close(moe(x_TD), expected_TD, rtol=1e-4, atol=1e-5)
