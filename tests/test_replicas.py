"""Twins share the model's weights, and their gradients come together in the model."""

import torch

from perilune.config import ModelConfig
from perilune.model.model import Transformer
from perilune.train.replicas import Replicas
from perilune.weights.int4 import fake_quantize

CONFIG = ModelConfig.preset("tiny")
EXPERT = "layers.1.mlp.experts.w_gate_EFD"


def replicas(count):
    model = Transformer(CONFIG)
    model.init_weights(0)
    return Replicas(model, count)


def backward(pool, ids_BT):
    pool.run(lambda twin, i: twin(ids_BT[i :: len(pool.twins)]).square().sum().backward())
    pool.collect_gradients()


def test_twins_see_updates_at_once():
    pool = replicas(2)
    with torch.no_grad():
        pool.model.norm.weight.fill_(3.0)
    pool.model.layers[1].mlp.gate.e_score_correction_bias.fill_(7.0)
    for twin in pool.twins:
        assert twin.norm.weight.eq(3).all() and twin.layers[1].mlp.gate.e_score_correction_bias.eq(7).all()
    pool.close()


def test_gradients_of_two_twins_equal_those_of_one():
    ids_BT = torch.randint(0, CONFIG.vocab_size, (4, 12), generator=torch.Generator().manual_seed(1))
    one, two = replicas(1), replicas(2)
    for pool in (one, two):
        backward(pool, ids_BT)
        assert all(weight.grad is None for twin in pool.twins for weight in twin.parameters())
        pool.close()
    for a, b in zip(one.model.parameters(), two.model.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-3, atol=1e-4)


def test_quantised_twins_leave_the_model_exact():
    pool = replicas(2)
    before = pool.model.get_parameter(EXPERT).clone()
    pool.show_quantized()
    assert pool.model.get_parameter(EXPERT).equal(before)
    assert all(twin.get_parameter(EXPERT).equal(fake_quantize(before)) for twin in pool.twins)
    ids_BT = torch.randint(0, CONFIG.vocab_size, (2, 12), generator=torch.Generator().manual_seed(1))
    backward(pool, ids_BT)
    assert pool.model.get_parameter(EXPERT).grad.abs().sum() > 0
    pool.close()
