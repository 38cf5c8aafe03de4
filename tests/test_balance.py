"""Expert balance: the bias follows the load, the sequence loss is smallest when even, health tells both."""

import pytest
import torch

from perilune.config import ModelConfig
from perilune.model.model import Transformer
from perilune.model.moe import Routing
from perilune.train.balance import expert_counts, health, sequence_loss, take_routings, update_biases

CONFIG = ModelConfig.preset("tiny")


def routing(ids_TK, experts=4):
    ids_TK = torch.tensor(ids_TK)
    scores_TE = torch.full((len(ids_TK), experts), 0.2).scatter(1, ids_TK, 0.8)
    return Routing(ids_TK, scores_TE.gather(1, ids_TK), scores_TE)


def test_counts_per_layer():
    counts_LE = expert_counts([routing([[0, 1], [0, 2]]), routing([[3, 1], [3, 2]])], 4)
    assert counts_LE.tolist() == [[2, 1, 1, 0], [0, 1, 1, 2]]


def test_bias_rises_for_idle_experts_and_falls_for_busy_ones():
    model = Transformer(CONFIG)
    counts_LE = torch.zeros(2, 8, dtype=torch.long)
    counts_LE[0, 0], counts_LE[1] = 8, 5
    update_biases(model, counts_LE, 0.01)
    first, second = (model.layers[i].mlp.gate.e_score_correction_bias for i in (1, 2))
    assert first.tolist() == pytest.approx([-0.01] + [0.01] * 7)
    assert not second.any()


def test_an_even_sequence_has_loss_one_and_an_uneven_one_more():
    even = sequence_loss([routing([[0, 1], [2, 3], [0, 1], [2, 3]])], rows=2)
    uneven = sequence_loss([routing([[0, 1], [0, 1], [0, 1], [0, 1]])], rows=2)
    assert even == pytest.approx(1.0)
    assert uneven > 1.2


def test_the_loss_reaches_the_router():
    model = Transformer(CONFIG)
    model.init_weights(0)
    model.hidden(torch.randint(0, 512, (2, 16)))
    sequence_loss(take_routings(model), rows=2).backward()
    assert model.layers[1].mlp.gate.weight.grad.abs().sum() > 0
    assert not take_routings(model), "taken routings are forgotten"


def test_health_of_even_and_dead_experts():
    assert health(torch.full((2, 4), 10)) == pytest.approx(
        {"max_violation": 0.0, "dead_share": 0.0, "load_entropy": 1.0}
    )
    sick = health(torch.tensor([[40, 0, 0, 0]]))
    assert sick == pytest.approx({"max_violation": 3.0, "dead_share": 0.75, "load_entropy": 0.0}, abs=1e-6)
    assert health(torch.zeros(0, 4)) == {}
