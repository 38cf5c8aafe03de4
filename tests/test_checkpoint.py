"""A model written and opened again is the same model; INT4 experts compute what their values say."""

import dataclasses

import pytest
import torch

from perilune.config import ModelConfig, QuantConfig
from perilune.errors import ConfigError, WeightsError
from perilune.model.checkpoint import load_transformer, save_checkpoint
from perilune.model.model import Transformer

CONFIG = dataclasses.replace(ModelConfig.preset("tiny"), initializer_range=0.1)
IDS_BT = torch.arange(30)[None]


def saved(directory, **changes):
    model = Transformer(dataclasses.replace(CONFIG, **changes)).eval()
    model.init_weights(seed=1)
    save_checkpoint(directory, model)
    return model


def relative_error(a, b):
    return ((a - b).norm() / b.norm()).item()


@pytest.mark.parametrize("family", ["perilune", "kimi_k2", "kimi_k25", "deepseek_v3"])
def test_a_float32_model_comes_back_bit_for_bit(family, tmp_path):
    model = saved(tmp_path, model_type=family, quantization=None, dtype="float32")
    opened = load_transformer(tmp_path)
    assert opened.config.model_type == family
    with torch.inference_mode():
        torch.testing.assert_close(opened(IDS_BT), model(IDS_BT), rtol=1e-5, atol=1e-5)
    for name, tensor in opened.state_dict().items():
        assert tensor.equal(model.state_dict()[name]), name


@pytest.mark.parametrize("tied", [False, True])
def test_bfloat16_weights_are_read_as_they_lie(tied, tmp_path):
    model = saved(tmp_path, quantization=None, tie_word_embeddings=tied)
    opened = load_transformer(tmp_path)
    rounded = model.to(torch.bfloat16).float()
    with torch.inference_mode():
        assert relative_error(opened(IDS_BT), rounded(IDS_BT)) < 1e-5


def test_the_exact_mode_computes_the_stored_values(tmp_path):
    saved(tmp_path)
    definition = load_transformer(tmp_path, int4_mode="unpacked")
    with torch.inference_mode():
        expected = definition(IDS_BT)
        assert relative_error(load_transformer(tmp_path, int4_mode="float")(IDS_BT), expected) < 1e-5
        assert relative_error(load_transformer(tmp_path, int4_mode="int8")(IDS_BT), expected) < 3e-2


def test_an_unpacked_model_is_saved_to_the_same_bytes(tmp_path):
    saved(tmp_path / "first")
    save_checkpoint(tmp_path / "second", load_transformer(tmp_path / "first", int4_mode="unpacked"))
    first, second = (tmp_path / d / "model.safetensors" for d in ("first", "second"))
    assert first.read_bytes() == second.read_bytes()


def test_several_shards_open_like_one(tmp_path):
    model = saved(tmp_path / "one", quantization=None, dtype="float32")
    save_checkpoint(tmp_path / "many", model, max_shard_bytes=100_000)
    assert len(list((tmp_path / "many").glob("model-*-of-*.safetensors"))) > 2
    with torch.inference_mode():
        assert load_transformer(tmp_path / "many")(IDS_BT).equal(load_transformer(tmp_path / "one")(IDS_BT))


def test_a_config_that_does_not_fit_its_weights_is_refused(tmp_path):
    saved(tmp_path)
    text = (tmp_path / "config.json").read_text()
    (tmp_path / "config.json").write_text(text.replace('"num_hidden_layers": 3', '"num_hidden_layers": 4'))
    with pytest.raises(WeightsError, match="missing"):
        load_transformer(tmp_path)


def test_an_unknown_mode_lists_the_modes(tmp_path):
    saved(tmp_path)
    with pytest.raises(ConfigError, match="float, int8, unpacked"):
        load_transformer(tmp_path, int4_mode="int5")


def test_quantisation_is_part_of_the_config(tmp_path):
    saved(tmp_path)
    assert load_transformer(tmp_path).config.quantization == QuantConfig()
