"""Random checkpoints: the published layout, repeatable, bounded, and refused where they would not fit."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_vision import CLIPS, TOWER, random_pixels

from perilune.config import ModelConfig
from perilune.errors import ConfigError, WeightsError
from perilune.model.vision_checkpoint import load_vision
from perilune.show import summarize
from perilune.synth import bfloat16_bits, first_layers, synthesize
from perilune.weights import int4
from perilune.weights.files import INDEX_NAME, open_checkpoint
from perilune.weights.names import check_stored_shapes, check_tensors

EXPERT = "layers.1.mlp.experts.3.up_proj."


def test_the_layout_is_the_published_one(tmp_path):
    steps = []
    made = synthesize("tiny", tmp_path, progress=lambda done, total, name: steps.append((done, total)))
    config = ModelConfig.load(tmp_path)
    assert config == ModelConfig.preset("tiny")
    checkpoint = open_checkpoint(tmp_path)
    check_tensors(config, checkpoint)
    check_stored_shapes(config, checkpoint)
    assert made.shards == len(checkpoint.headers) >= 4 and (tmp_path / INDEX_NAME).exists()
    assert steps[-1] == (made.bytes, made.bytes) and steps == sorted(steps)


def test_weights_have_the_size_a_model_starts_with(tmp_path):
    synthesize("tiny", tmp_path)
    checkpoint = open_checkpoint(tmp_path)

    def tensor(name):
        return checkpoint.tensor("model." + name).float()

    expert = int4.dequantize(
        checkpoint.tensor(f"model.{EXPERT}weight_packed"), checkpoint.tensor(f"model.{EXPERT}weight_scale")
    )
    assert expert.std() == pytest.approx(0.02, rel=0.1)
    assert tensor("embed_tokens.weight").std() == pytest.approx(0.02, rel=0.05)
    assert torch.equal(tensor("norm.weight"), torch.ones(64))
    bias = tensor("layers.1.mlp.gate.e_score_correction_bias")
    assert bias.any() and bias.abs().max() < 0.1
    assert not torch.equal(tensor("layers.1.mlp.gate.weight"), tensor("layers.2.mlp.gate.weight"))


def test_same_seed_same_bytes_and_fewer_layers_are_a_prefix(tmp_path):
    for name, options in {"a": {}, "b": {}, "c": {"seed": 1}, "d": {"layers": 2}}.items():
        synthesize("tiny", tmp_path / name, **options)
    a, b, c, d = (open_checkpoint(tmp_path / name) for name in "abcd")
    for name in a.names():
        assert torch.equal(a.tensor(name), b.tensor(name))
    assert not torch.equal(a.tensor("lm_head.weight"), c.tensor("lm_head.weight"))
    assert all(torch.equal(a.tensor(name), d.tensor(name)) for name in d.names())
    assert len(d.names()) < len(a.names())


def test_a_kimi_linear_shape_is_cut_with_its_layer_lists(tmp_path):
    small = replace(
        first_layers(ModelConfig.preset("kimi-linear"), 4),
        vocab_size=256,
        hidden_size=64,
        intermediate_size=64,
        moe_intermediate_size=32,
        n_routed_experts=8,
    )
    synthesize(small, tmp_path)
    config = ModelConfig.load(tmp_path)
    assert config == small and [config.is_kda_layer(i) for i in range(4)] == [True, True, True, False]
    check_tensors(config, open_checkpoint(tmp_path))


def test_vision_tensors_are_written_for_a_multimodal_shape(tmp_path):
    config = replace(ModelConfig.preset("tiny"), model_type="kimi_k25", vision=TOWER)
    made = synthesize(config, tmp_path)
    checkpoint = open_checkpoint(tmp_path)
    assert checkpoint.info("mm_projector.proj.2.weight").shape == (64, 4 * TOWER.vt_hidden_size)
    assert json.loads((tmp_path / "config.json").read_text())["text_config"]["hidden_size"] == 64
    with torch.inference_mode():
        assert load_vision(tmp_path)(random_pixels(CLIPS), CLIPS)[0].isfinite().all()
    (part,) = (part for part in summarize(made.directory).kinds if part.name == "vision")
    assert part.tensors == 3 * 12 + 11


def test_a_tokenizer_is_copied_when_asked(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    with pytest.raises(ConfigError, match=r"tiktoken\.model"):
        synthesize("tiny", tmp_path / "out", tokenizer=source)
    (source / "tiktoken.model").write_text("IQ== 0\n")
    (source / "tokenization_kimi.py").write_text("")
    synthesize("tiny", tmp_path / "out", tokenizer=source)
    assert (tmp_path / "out" / "tiktoken.model").read_text() == "IQ== 0\n"
    assert not list((tmp_path / "out").glob("*.py"))


def test_a_tokenizer_that_is_there_already_stays(tmp_path):
    (tmp_path / "tiktoken.model").write_text("IQ== 0\n")
    synthesize("tiny", tmp_path, tokenizer=tmp_path)
    assert (tmp_path / "tiktoken.model").read_text() == "IQ== 0\n"
    assert (tmp_path / "config.json").exists()


def test_bad_requests_are_refused_before_anything_is_written(tmp_path):
    for options in ({"layers": 0}, {"layers": 4}, {"seed": -1}):
        with pytest.raises(ConfigError):
            synthesize("tiny", tmp_path / "out", **options)
    with pytest.raises(ConfigError, match=r"k2\.6"):
        synthesize("k9", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    synthesize("tiny", tmp_path / "out")
    with pytest.raises(WeightsError, match="already holds"):
        synthesize("tiny", tmp_path / "out")


def test_a_full_disk_is_seen_before_writing(tmp_path):
    giant = replace(ModelConfig.preset("tiny"), vocab_size=1 << 24, hidden_size=1 << 20)
    with pytest.raises(WeightsError, match="GB free"):
        synthesize(giant, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_bfloat16_bits_round_to_nearest_even():
    values = torch.randn(10_000)
    expected = values.to(torch.bfloat16).view(torch.int16).numpy().view(np.uint16)
    assert np.array_equal(bfloat16_bits(values.numpy()), expected)
