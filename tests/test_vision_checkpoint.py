"""Vision beside a text model in one directory: saved, loaded when it is needed, checked; what is not right refused."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_vision import CLIPS, PICTURES, TOWER, random_pixels, random_vision

import perilune
from perilune.bench.senses_peer import write_seeing
from perilune.config import ModelConfig
from perilune.errors import ConfigError, WeightsError
from perilune.model.checkpoint import load_transformer, save_checkpoint
from perilune.model.model import Transformer
from perilune.model.vision_checkpoint import load_vision
from perilune.weights.files import open_checkpoint
from perilune.weights.vision_names import VISION_PREFIXES

CONFIG = replace(ModelConfig.preset("tiny"), quantization=None, dtype="float32")
FILE = "model.safetensors"


def saved(directory, config, vision=None):
    model = Transformer(config)
    model.init_weights(1)
    if vision is not None:
        model.senses["vision"] = vision
    save_checkpoint(directory, model)
    return model


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_what_was_saved_sees_the_same(tmp_path, dtype):
    vision = random_vision()
    loaded = load_vision(write_seeing(tmp_path, vision, dtype))
    for (name, mine), theirs in zip(vision.named_parameters(), loaded.parameters(), strict=True):
        assert torch.equal(mine.to(getattr(torch, dtype)), theirs), name
        mine.data = theirs.float()
    pixels = random_pixels(PICTURES + CLIPS)
    with torch.inference_mode():
        for mine, theirs in zip(vision(pixels, PICTURES + CLIPS), loaded(pixels, PICTURES + CLIPS), strict=True):
            assert mine.shape[1] == 64 and (mine - theirs).abs().max() < 1e-5


def test_a_perilune_model_may_see(tmp_path):
    model = saved(tmp_path, replace(CONFIG, vision=TOWER), random_vision())
    assert load_transformer(tmp_path).config == model.config
    assert load_vision(tmp_path).config == TOWER


def test_text_alone_neither_reads_nor_needs_what_sees(tmp_path, monkeypatch):
    write_seeing(tmp_path / "whole", random_vision())
    tensors = load_file(tmp_path / "whole" / FILE)
    assert sum(name.startswith(VISION_PREFIXES) for name in tensors) == 3 * 12 + 11
    read = []
    checkpoint = open_checkpoint(tmp_path / "whole")
    tensor = checkpoint.tensor
    monkeypatch.setattr(checkpoint, "tensor", lambda name: read.append(name) or tensor(name))
    load_transformer(tmp_path / "whole", checkpoint=checkpoint)
    assert read and not any(name.startswith(VISION_PREFIXES) for name in read)
    (tmp_path / "blind").mkdir()
    text = {name: tensor for name, tensor in tensors.items() if not name.startswith(VISION_PREFIXES)}
    save_file(text, tmp_path / "blind" / FILE)
    (tmp_path / "blind" / "config.json").write_text((tmp_path / "whole" / "config.json").read_text())
    logits = [perilune.load(tmp_path / name).logits([1, 2, 3]) for name in ("whole", "blind")]
    assert torch.equal(*map(torch.as_tensor, logits))
    with pytest.raises(WeightsError, match=r"47 missing: 'mm_projector\.pre_norm\.bias'"):
        load_vision(tmp_path / "blind")


def test_the_projector_may_have_the_names_of_kimi_vl(tmp_path):
    vision = random_vision()
    write_seeing(tmp_path, vision)
    renamed = {
        name.replace("mm_projector.proj.0", "multi_modal_projector.linear_1")
        .replace("mm_projector.proj.2", "multi_modal_projector.linear_2")
        .replace("mm_projector.pre_norm", "multi_modal_projector.pre_norm"): tensor
        for name, tensor in load_file(tmp_path / FILE).items()
    }
    save_file(renamed, tmp_path / FILE)
    load_transformer(tmp_path)
    pixels = random_pixels(CLIPS)
    with torch.inference_mode():
        assert all(map(torch.equal, load_vision(tmp_path)(pixels, CLIPS), vision(pixels, CLIPS)))
    renamed["mm_projector.proj.0.bias"] = renamed["multi_modal_projector.linear_1.bias"].clone()
    save_file(renamed, tmp_path / FILE)
    with pytest.raises(WeightsError, match="1 unknown: "):
        load_vision(tmp_path)


@pytest.mark.parametrize(
    ("name", "tensor", "message"),
    [
        ("vision_tower.encoder.blocks.1.wo.bias", None, r"1 missing: 'vision_tower\.encoder\.blocks\.1\.wo\.bias'"),
        ("vision_tower.encoder.blocks.3.wo.bias", torch.zeros(96), r"1 unknown: 'vision_tower\.encoder\.blocks\.3"),
        ("mm_projector.proj.0.bias", torch.zeros(63), r"has shape \[63\]; config\.json asks for \[384\]"),
        ("mm_projector.proj.0.bias", torch.zeros(384, dtype=torch.int64), "has dtype I64"),
    ],
)
def test_what_does_not_fit_vision_config_is_named(tmp_path, name, tensor, message):
    write_seeing(tmp_path, random_vision())
    tensors = load_file(tmp_path / FILE)
    tensors[name] = tensor
    save_file({key: value for key, value in tensors.items() if value is not None}, tmp_path / FILE)
    load_transformer(tmp_path)
    with pytest.raises(WeightsError, match=message):
        load_vision(tmp_path)


def test_a_model_that_does_not_see_says_so(tmp_path):
    saved(tmp_path, CONFIG)
    assert "vision_config" not in json.loads((tmp_path / "config.json").read_text())
    with pytest.raises(ConfigError, match=r"does not see: its config\.json has no vision_config"):
        load_vision(tmp_path)


def test_config_and_vision_are_saved_together(tmp_path):
    sees = replace(CONFIG, vision=TOWER)
    for config, vision in ((sees, None), (CONFIG, random_vision())):
        with pytest.raises(ConfigError, match=r"names (vision|no sense), but the model has"):
            saved(tmp_path, config, vision)
    with pytest.raises(ConfigError, match="vision makes tokens that are 32 wide; this model takes 64"):
        saved(tmp_path, sees, random_vision(hidden=32))
    with pytest.raises(ConfigError, match=r"the vision that config\.json tells of is not the one that the model has"):
        saved(tmp_path, sees, random_vision(replace(TOWER, vt_num_hidden_layers=1)))
