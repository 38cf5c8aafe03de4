"""Beginning a run with another model's weights."""

import torch
from tiny_models import memory_config, tiny_transformer, write_model

from perilune.model.model import Transformer
from perilune.train.start import begin_with


def test_what_fits_is_taken_over_and_the_rest_stays_fresh(tmp_path):
    old = tiny_transformer()
    folder = write_model(tmp_path / "old", old)
    model = Transformer(memory_config())
    model.init_weights(7)
    fresh = begin_with(model, folder)
    assert model.embed_tokens.weight.equal(old.embed_tokens.weight)
    experts = "layers.1.mlp.experts.w_gate_EFD"
    assert model.state_dict()[experts].equal(old.state_dict()[experts])
    assert "memory.index_proj.weight" in fresh and "layers.0.self_attn.k_proj.weight" in fresh
    assert "embed_tokens.weight" not in fresh


def test_fresh_recurrent_layers_are_heard(tmp_path):
    folder = write_model(tmp_path / "old", tiny_transformer())
    model = Transformer(memory_config())
    model.init_weights(7)
    for block in model.lower:
        block.self_attn.o_norm.weight.data.mul_(1e-3)
    begin_with(model, folder)
    ids = torch.randint(0, 512, (1, 64))
    x, packing = model.embed(ids), model.packing(ids, None)
    for block in model.lower:
        y = block.self_attn(block.input_layernorm(x))[0]
        assert y.norm() > 0.05 * x.norm()
        x = block(x, packing)
