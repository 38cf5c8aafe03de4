"""The table of published names: complete, invertible, and strict about what a checkpoint holds."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from perilune.config import ModelConfig
from perilune.errors import WeightsError
from perilune.presets import PRESETS
from perilune.weights import int4
from perilune.weights.files import SINGLE_NAME, open_checkpoint
from perilune.weights.names import (
    check_stored_shapes,
    check_tensors,
    expected_tensors,
    expert_prefix,
    our_name,
    published_name,
)

TORCH = {"I32": torch.int32, "BF16": torch.bfloat16}
PREFIX = "layers.1.mlp.experts.3.down_proj"


def tiny_tensors(config):
    tensors = {}
    for name, expected in expected_tensors(config).items():
        dtype = TORCH["BF16" if "BF16" in expected.dtypes else "I32"]
        tensors[name] = torch.zeros(expected.shape, dtype=dtype)
        if name.endswith("weight_shape"):
            rows, words = tensors[name.replace("_shape", "_packed")].shape
            tensors[name] = torch.tensor([rows, words * 8], dtype=torch.int32)
    return tensors


def checkpoint_of(directory, tensors):
    save_file(tensors, directory / SINGLE_NAME)
    return open_checkpoint(directory)


@pytest.mark.parametrize("preset", PRESETS)
def test_our_names_lead_back_to_the_published_ones(preset):
    config = ModelConfig.preset(preset)
    if config.n_routed_experts > 64:
        config = replace(config, n_routed_experts=64)
    names = list(expected_tensors(config))
    assert [published_name(our_name(name, config), config) for name in names] == names


def test_published_names_and_shapes_of_k26():
    config = replace(ModelConfig.preset("k2.6"), n_routed_experts=8)
    table = expected_tensors(config)
    layer = "language_model.model.layers.1."
    for name, shape in {
        "language_model.lm_head.weight": (163840, 7168),
        layer + "self_attn.q_b_proj.weight": (12288, 1536),
        layer + "self_attn.kv_a_proj_with_mqa.weight": (576, 7168),
        layer + "self_attn.kv_b_proj.weight": (16384, 512),
        layer + "mlp.experts.7.down_proj.weight_packed": (7168, 256),
        layer + "mlp.experts.7.down_proj.weight_scale": (7168, 64),
        layer + "mlp.shared_experts.up_proj.weight": (2048, 7168),
        layer + "mlp.gate.e_score_correction_bias": (8,),
    }.items():
        assert table[name].shape == shape
    assert our_name(layer + "mlp.gate.weight", config) == "layers.1.mlp.gate.weight"
    assert "language_model.model.layers.0.mlp.down_proj.weight" in table


def test_kimi_linear_spells_its_experts_differently():
    config = ModelConfig.preset("kimi-linear")
    assert expert_prefix(config, 1, 2, "up_proj") == "model.layers.1.block_sparse_moe.experts.2.w3."
    assert our_name("model.layers.1.block_sparse_moe.experts.2.w3.weight", config) == (
        "layers.1.mlp.experts.2.up_proj.weight"
    )
    table = expected_tensors(config)
    assert table["model.layers.0.self_attn.A_log"].shape == (1, 1, 32, 1)
    assert table["model.layers.3.self_attn.q_proj.weight"].shape == (6144, 2304)


def test_a_checkpoint_that_fits_passes_with_its_known_extras(tmp_path):
    config = replace(ModelConfig.preset("tiny"), num_nextn_predict_layers=1)
    tensors = tiny_tensors(config)
    tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.zeros(16)
    tensors["model.layers.3.eh_proj.weight"] = torch.zeros(4)
    checkpoint = checkpoint_of(tmp_path, tensors)
    check_tensors(config, checkpoint)
    check_stored_shapes(config, checkpoint)
    with pytest.raises(WeightsError, match="eh_proj"):
        check_tensors(replace(config, num_nextn_predict_layers=0), checkpoint)


def test_a_tied_head_may_be_absent(tmp_path):
    config = ModelConfig.preset("tiny")
    tensors = tiny_tensors(config)
    del tensors["lm_head.weight"]
    checkpoint = checkpoint_of(tmp_path, tensors)
    check_tensors(replace(config, tie_word_embeddings=True), checkpoint)
    with pytest.raises(WeightsError, match=r"missing: 'lm_head\.weight'"):
        check_tensors(config, checkpoint)


@pytest.mark.parametrize(
    "name, tensor, words",
    [
        ("model.norm.weight", torch.zeros(65), ["norm", "[65]", "[64]"]),
        ("model.norm.weight", torch.zeros(64, dtype=torch.int64), ["norm", "I64", "BF16"]),
        ("model.norm.weight", None, ["missing", "model.norm.weight"]),
        ("model.extra.weight", torch.zeros(1), ["unknown", "model.extra.weight"]),
        (f"model.{PREFIX}.weight_packed", torch.zeros(64, 4), ["weight_packed", "F32", "I32"]),
        (
            f"model.{PREFIX}.weight_scale",
            torch.zeros(64, 2, dtype=torch.bfloat16),
            ["weight_scale", "[64, 1]"],
        ),
        (f"model.{PREFIX}.weight_scale", torch.zeros(64, 1), ["weight_scale", "F32", "BF16"]),
        (f"model.{PREFIX}.weight_scale_inv", torch.zeros(1), ["FP8"]),
    ],
)
def test_what_does_not_fit_the_config_is_named(tmp_path, name, tensor, words):
    config = ModelConfig.preset("tiny")
    tensors = tiny_tensors(config)
    tensors[name] = tensor
    checkpoint = checkpoint_of(tmp_path, {key: value for key, value in tensors.items() if value is not None})
    with pytest.raises(WeightsError) as caught:
        check_tensors(config, checkpoint)
    for word in words:
        assert word in str(caught.value)


def test_many_missing_names_are_counted_not_listed(tmp_path):
    config = ModelConfig.preset("tiny")
    checkpoint = checkpoint_of(tmp_path, {"model.norm.weight": torch.zeros(64)})
    with pytest.raises(WeightsError, match=r"and \d+ more") as caught:
        check_tensors(config, checkpoint)
    assert len(str(caught.value)) < 1000


def test_a_stored_shape_that_lies_is_refused(tmp_path):
    config = ModelConfig.preset("tiny")
    tensors = tiny_tensors(config)
    tensors[f"model.{PREFIX}.weight_shape"] = torch.tensor([32, 64])
    checkpoint = checkpoint_of(tmp_path, tensors)
    check_tensors(config, checkpoint)
    with pytest.raises(WeightsError, match="weight_shape"):
        check_stored_shapes(config, checkpoint)


def test_packed_shapes_are_what_int4_makes():
    config = ModelConfig.preset("tiny")
    q, scale = int4.quantize(torch.ones(config.hidden_size, config.moe_intermediate_size))
    table = expected_tensors(config)
    assert table[f"model.{PREFIX}.weight_packed"].shape == tuple(int4.pack(q).shape)
    assert table[f"model.{PREFIX}.weight_scale"].shape == tuple(scale.shape)
