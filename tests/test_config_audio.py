"""audio_config: read, checked and written again; a config without it stays as it was."""

import json
from dataclasses import replace

import pytest

from perilune.config import ModelConfig
from perilune.config_audio import AudioConfig
from perilune.errors import ConfigError
from perilune.presets import NANO_AUDIO

PUBLISHED = AudioConfig(d_model=384, encoder_layers=4, encoder_attention_heads=6, encoder_ffn_dim=1536)


@pytest.mark.parametrize("preset", ["tiny", "k2.6"])
@pytest.mark.parametrize("audio", [PUBLISHED, NANO_AUDIO])
def test_a_config_that_hears_survives_a_round_trip(preset, audio):
    config = replace(ModelConfig.preset(preset), audio=audio)
    assert ModelConfig.from_dict(json.loads(config.to_json())) == config
    assert "audio_config" in config.to_dict()


@pytest.mark.parametrize("preset", ["tiny", "k2.6", "kimi-linear", "k2-0711"])
def test_a_config_without_hearing_writes_no_audio_config(preset):
    assert "audio_config" not in ModelConfig.preset(preset).to_dict()


def test_only_what_is_set_is_written():
    written = replace(ModelConfig.preset("tiny"), audio=PUBLISHED).to_dict()["audio_config"]
    assert "chunk_seconds" not in written and "mel_floor" not in written
    assert written["max_source_positions"] == 1500


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"d_model": None}, r"audio_config\.d_model is missing"),
        ({"d_model": "192"}, r"audio_config\.d_model = '192' is not possible"),
        ({"d_model": 190}, r"d_model = 190 must be even, above 2 and a multiple of encoder_attention_heads = 4"),
        ({"d_model": 1 << 20}, r"audio_config\.d_model = 1048576 is not possible"),
        ({"encoder_layers": 0}, "encoder_layers = 0"),
        ({"num_mel_bins": 81}, "num_mel_bins = 81 must be 80 or 128"),
        ({"activation_function": "relu"}, "must be 'gelu'"),
        ({"scale_embedding": True}, "scale_embedding = true is not supported"),
        ({"frames_per_token": 5}, "max_source_positions = 1536 must be a multiple of frames_per_token = 5"),
        ({"chunk_seconds": 0.65}, r"chunk_seconds = 0\.65 must be whole frames of 0\.02 s"),
        ({"chunk_seconds": 0.62}, r"chunk_seconds = 0\.62 is 31 frames: it must be a multiple of frames_per_token = 4"),
        ({"chunk_seconds": 0.8}, "divide max_source_positions = 1536"),
        ({"chunk_seconds": 100}, "at most max_source_positions = 1536"),
        ({"chunk_seconds": float("nan")}, "chunk_seconds = nan is not possible"),
        ({"mel_floor": None}, "chunk_seconds and mel_floor belong together"),
        ({"chunk_seconds": None}, "chunk_seconds and mel_floor belong together"),
        ({"chunk_seconds": None, "mel_floor": None}, "left_chunks = 8 needs chunk_seconds"),
        ({"left_chunks": -1}, r"audio_config\.left_chunks = -1"),
        ({"mel_floor": 1e9}, r"audio_config\.mel_floor"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes, message):
    raw = replace(ModelConfig.preset("tiny"), audio=NANO_AUDIO).to_dict()
    raw["audio_config"] |= changes
    with pytest.raises(ConfigError, match=message):
        ModelConfig.from_dict(raw)


def test_an_audio_config_that_is_no_object_is_refused():
    with pytest.raises(ConfigError, match="audio_config = 'whisper' is not possible here; it must be a JSON object"):
        ModelConfig.from_dict(ModelConfig.preset("tiny").to_dict() | {"audio_config": "whisper"})


@pytest.mark.parametrize(
    ("seconds", "tokens"),
    [(0, 0), (1 / 16000, 1), (0.08, 1), (1281 / 16000, 2), (1.0, 13), (30.0, 375), (3600.0, 45_000)],
)
def test_a_second_of_sound_is_twelve_and_a_half_tokens(seconds, tokens):
    assert PUBLISHED.num_tokens(seconds) == NANO_AUDIO.num_tokens(seconds) == tokens


@pytest.mark.parametrize("seconds", [-1.0, float("nan"), float("inf")])
def test_a_length_that_is_none_is_refused(seconds):
    with pytest.raises(ValueError, match="is no length of a sound"):
        PUBLISHED.num_tokens(seconds)
