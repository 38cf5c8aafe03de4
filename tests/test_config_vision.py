"""vision_config: read, checked and written again in the published spelling."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from perilune.config import ModelConfig
from perilune.config_vision import VisionConfig
from perilune.errors import ConfigError
from perilune.presets import NANO_VISION

SHARED = os.environ.get("PERILUNE_SHARED")


def seeing(preset="tiny", **changes):
    raw = replace(ModelConfig.preset(preset), model_type="kimi_k25", vision=NANO_VISION).to_dict()
    raw["vision_config"] |= changes
    return raw


@pytest.mark.parametrize("model_type", ["perilune", "kimi_k25"])
@pytest.mark.parametrize("vision", [VisionConfig(), NANO_VISION, replace(NANO_VISION, merge_kernel_size=(1, 4))])
def test_a_config_that_sees_survives_a_round_trip(model_type, vision):
    config = replace(ModelConfig.preset("tiny"), model_type=model_type, vision=vision)
    assert ModelConfig.from_dict(json.loads(config.to_json())) == config


@pytest.mark.skipif(not SHARED, reason="PERILUNE_SHARED is not set")
def test_the_published_table_is_written_back_unchanged():
    published = json.loads((Path(SHARED or "") / "reference" / "k26" / "config.json").read_text())["vision_config"]
    written = ModelConfig.preset("k2.6").to_dict()["vision_config"]
    assert written == {key: value for key, value in published.items() if key != "_attn_implementation"}


def test_what_is_absent_has_its_published_value():
    raw = seeing()
    raw["vision_config"] = {"vt_num_hidden_layers": 2, "a key of tomorrow": [1]}
    assert ModelConfig.from_dict(raw).vision == VisionConfig(vt_num_hidden_layers=2)


@pytest.mark.parametrize("table", [{}, None])
def test_no_table_is_no_vision(table):
    config = ModelConfig.from_dict(seeing() | {"vision_config": table})
    assert config.vision is None and "vision_config" not in config.to_dict()


def test_the_names_of_transformers_mean_the_same():
    raw = seeing()
    published = raw["vision_config"]
    raw["vision_config"] = {key.removeprefix("vt_").removeprefix("init_"): value for key, value in published.items()}
    assert "hidden_size" in raw["vision_config"] and "pos_emb_time" in raw["vision_config"]
    assert ModelConfig.from_dict(raw).vision == NANO_VISION
    raw["vision_config"] |= published | {"hidden_size": 200}
    with pytest.raises(ConfigError, match=r"vt_hidden_size = 192 but vision_config\.hidden_size = 200"):
        ModelConfig.from_dict(raw)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vt_hidden_size": 1 << 20}, r"vision_config\.vt_hidden_size = 1048576 is not possible"),
        ({"vt_hidden_size": 200, "mm_hidden_size": 200}, "vt_hidden_size = 200 must be a multiple of 4 x vt_num_att"),
        ({"vt_num_hidden_layers": 0}, "vt_num_hidden_layers = 0"),
        ({"vt_intermediate_size": "768"}, "vt_intermediate_size = '768'"),
        ({"patch_size": 14.0}, "patch_size = 14"),
        ({"init_pos_emb_time": 1 << 20}, "init_pos_emb_time = 1048576"),
        ({"init_pos_emb_height": -1}, "init_pos_emb_height = -1"),
        ({"merge_kernel_size": 2}, "merge_kernel_size = 2 is not possible here; it must be two integers from 1 to 8"),
        ({"merge_kernel_size": [2, 9]}, r"merge_kernel_size = \[2, 9\]"),
        ({"merge_kernel_size": [2.0, True]}, r"merge_kernel_size = \[2\.0, True\]"),
        ({"projector_ln_eps": 0}, "projector_ln_eps = 0"),
        ({"mm_hidden_size": 1152}, "mm_hidden_size = 1152 is not possible here; it must be an integer from 192 to 192"),
        ({"text_hidden_size": 7168}, "text_hidden_size = 7168"),
        ({"merge_type": "sd2"}, "merge_type = 'sd2' is not possible here; it must be 'sd2_tpool'"),
        ({"mm_projector_type": "patchmergerv2"}, "mm_projector_type = 'patchmergerv2'"),
        ({"pos_emb_type": "learned"}, "pos_emb_type = 'learned'"),
        ({"video_attn_type": "spatial"}, "video_attn_type = 'spatial'"),
        ({"projector_hidden_act": "relu"}, "projector_hidden_act = 'relu'"),
        ({"hidden_act": "gelu"}, "hidden_act = 'gelu'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        ModelConfig.from_dict(seeing(**changes))


def test_a_vision_config_that_is_no_object_is_refused():
    with pytest.raises(ConfigError, match="vision_config = 'moonvit' is not possible here; it must be a JSON object"):
        ModelConfig.from_dict(seeing() | {"vision_config": "moonvit"})


@pytest.mark.parametrize("changes", [{"merge_kernel_size": (2, 0)}, {"merge_kernel_size": (2,)}, {"patch_size": 0}])
def test_code_is_checked_like_files(changes):
    with pytest.raises(ConfigError, match=r"vision_config\."):
        replace(NANO_VISION, **changes)
