"""The router's rules one by one; stored experts equal trainable ones."""

import dataclasses

import pytest
import torch

from perilune.config import ModelConfig
from perilune.model.moe import MoE, Router, Routing, StoredExperts

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
    ids_TK, weights_TK = moe.last_routing.ids_TK, moe.last_routing.weights_TK
    some = Routing(ids_TK.masked_fill(ids_TK == ids_TK[0, 0], -1), weights_TK, moe.last_routing.scores_TE)
    zeroed = Routing(ids_TK, weights_TK.masked_fill(some.ids_TK < 0, 0.0), moe.last_routing.scores_TE)
    assert moe.experts(x_TD, some).equal(moe.experts(x_TD, zeroed))
