"""Hearing beside a text model in one directory: saved, loaded lazily, checked; and what is not right refused."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_hearing import CHUNKED, random_hearing, random_mel, random_whisper

from perilune.config import ModelConfig
from perilune.errors import ConfigError, WeightsError
from perilune.model.checkpoint import load_transformer, save_checkpoint
from perilune.model.hearing_checkpoint import load_hearing, load_whisper_encoder
from perilune.model.model import Transformer
from perilune.show import summarize
from perilune.synth import synthesize
from perilune.weights.audio_names import audio_tensors

CONFIG = replace(ModelConfig.preset("tiny"), quantization=None, dtype="float32")
HEARS = replace(CONFIG, audio=CHUNKED)
FILE = "model.safetensors"


def saved(directory, config=HEARS, hearing=None):
    model = Transformer(config)
    model.init_weights(1)
    if hearing is not None:
        model.senses["hearing"] = hearing
    save_checkpoint(directory, model)
    return model


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("model_type", ["perilune", "kimi_k25"])
def test_a_model_that_hears_is_saved_and_loaded(tmp_path, dtype, model_type):
    hearing = random_hearing(hidden=64)
    config = replace(HEARS, dtype=dtype, model_type=model_type)
    model = saved(tmp_path, config, hearing)
    assert load_transformer(tmp_path).config == config
    loaded = load_hearing(tmp_path)
    for (name, mine), theirs in zip(hearing.named_parameters(), loaded.parameters(), strict=True):
        assert torch.equal(mine.to(getattr(torch, dtype)).float(), theirs), name
    with torch.inference_mode():
        assert loaded(random_mel(32)).shape == (1, 4, model.config.hidden_size)
    if dtype == "float32":
        assert torch.equal(loaded(random_mel(32)), hearing(random_mel(32)))


def test_the_names_in_the_file_are_whispers(tmp_path):
    theirs = random_whisper(tmp_path / "whisper", max_source_positions=24, d_model=32, encoder_ffn_dim=48)
    published = {name: tuple(w.shape) for name, w in theirs.state_dict().items() if name != "embed_positions.weight"}
    hearing = random_hearing(replace(CHUNKED, encoder_layers=3), hidden=64)
    saved(tmp_path / "model", replace(CONFIG, audio=hearing.config), hearing)
    tensors = load_file(tmp_path / "model" / FILE)
    tower = {n.removeprefix("audio_tower."): tuple(t.shape) for n, t in tensors.items() if n.startswith("audio_tower.")}
    assert tower == published
    assert audio_tensors(hearing.config, 64).items() <= {n: tuple(t.shape) for n, t in tensors.items()}.items()


def test_positions_that_are_stored_are_the_ones_that_count(tmp_path):
    hearing = random_hearing(hidden=64)
    saved(tmp_path, hearing=hearing)
    tensors = load_file(tmp_path / FILE)
    tensors["audio_tower.embed_positions.weight"] = torch.zeros(24, 32)
    save_file(tensors, tmp_path / FILE)
    load_transformer(tmp_path)
    loaded = load_hearing(tmp_path)
    assert loaded.audio_tower.embed_positions.weight.abs().max() == 0
    assert not torch.equal(loaded(random_mel(16)), hearing(random_mel(16)))


def test_a_directory_without_hearing_is_as_before(tmp_path):
    saved(tmp_path, CONFIG)
    assert "audio_config" not in json.loads((tmp_path / "config.json").read_text())
    load_transformer(tmp_path)
    with pytest.raises(ConfigError, match=r"does not hear: its config\.json has no audio_config"):
        load_hearing(tmp_path)


@pytest.mark.parametrize(
    ("name", "tensor", "message"),
    [
        ("audio_tower.conv1.weight", None, r"1 missing: 'audio_tower\.conv1\.weight'"),
        ("audio_tower.extra", torch.zeros(1), r"1 unknown: 'audio_tower\.extra'"),
        ("audio_projector.proj.0.bias", torch.zeros(63), r"has shape \[63\]; config\.json asks for \[64\]"),
        ("audio_projector.proj.0.bias", torch.zeros(64, dtype=torch.int64), "has dtype I64"),
        ("audio_tower.embed_positions.weight", torch.zeros(25, 32), r"has shape \[25, 32\]"),
    ],
)
def test_what_does_not_fit_audio_config_is_named(tmp_path, name, tensor, message):
    saved(tmp_path, hearing=random_hearing(hidden=64))
    tensors = load_file(tmp_path / FILE)
    tensors[name] = tensor
    save_file({key: value for key, value in tensors.items() if value is not None}, tmp_path / FILE)
    with pytest.raises(WeightsError, match=message):
        load_hearing(tmp_path)


def test_hearing_that_audio_config_does_not_tell_of_is_unknown(tmp_path):
    saved(tmp_path, hearing=random_hearing(hidden=64))
    (tmp_path / "config.json").write_text(CONFIG.to_json())
    with pytest.raises(WeightsError, match="unknown: 'audio_projector"):
        load_transformer(tmp_path)


def test_config_and_hearing_are_saved_together(tmp_path):
    for config, hearing in ((HEARS, None), (CONFIG, random_hearing(hidden=64))):
        with pytest.raises(ConfigError, match=r"names (hearing|no sense), but the model has"):
            saved(tmp_path, config, hearing)
    with pytest.raises(ConfigError, match="hearing makes tokens that are 32 wide; this model takes 64"):
        saved(tmp_path, HEARS, random_hearing(hidden=32))


def test_only_a_whisper_directory_has_a_whisper_encoder(tmp_path):
    saved(tmp_path, CONFIG)
    with pytest.raises(ConfigError, match="model_type = 'perilune' is no Whisper"):
        load_whisper_encoder(tmp_path)


def test_a_whisper_without_a_tensor_is_refused(tmp_path):
    random_whisper(tmp_path)
    tensors = load_file(tmp_path / FILE)
    del tensors["encoder.layers.1.fc2.bias"]
    save_file(tensors, tmp_path / FILE)
    with pytest.raises(WeightsError, match=r"1 missing: 'encoder\.layers\.1\.fc2\.bias'"):
        load_whisper_encoder(tmp_path)


def test_random_models_hear_too_and_show_says_how_much(tmp_path):
    made = synthesize(replace(ModelConfig.preset("tiny"), audio=CHUNKED), tmp_path)
    with torch.inference_mode():
        assert load_hearing(tmp_path)(random_mel(16)).isfinite().all()
    summary = summarize(made.directory)
    (hearing,) = (part for part in summary.kinds if part.name == "hearing")
    expected = sum(torch.Size(shape).numel() for shape in audio_tensors(CHUNKED, 64).values())
    assert hearing.parameters == expected
    assert summary.active_parameters < summary.parameters - expected
