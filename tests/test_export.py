"""A trained run becomes a model folder that loads, computes like its weights and names its sources."""

import json
from pathlib import Path

import pytest
import torch
from tiny_corpus import tiny_training

from perilune.config import ModelConfig
from perilune.errors import ConfigError
from perilune.model.checkpoint import load_transformer
from perilune.model.model import Transformer
from perilune.text.tokenizer import Tokenizer
from perilune.train import snapshot
from perilune.train.export import export_run
from perilune.train.loop import train
from perilune.weights.int4 import fake_quantize


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    root = tmp_path_factory.mktemp("export")
    config = tiny_training(root, steps=3, prompts=())
    path = train(config)
    return path, export_run(Path(config.out), root / "model"), config


def test_the_folder_loads_and_equals_the_trained_weights(exported):
    path, folder, _ = exported
    saved = snapshot.load(path)
    trained = Transformer(ModelConfig.from_dict(saved.meta["model"]))
    state = {
        name: fake_quantize(t) if ".experts." in name else t.to(torch.bfloat16).float()
        for name, t in saved.room("model").items()
    }
    trained.load_state_dict(state)
    ids = torch.arange(20)[None]
    loaded = load_transformer(folder, int4_mode="unpacked")
    with torch.no_grad():
        torch.testing.assert_close(loaded(ids), trained(ids), rtol=0.02, atol=0.02)


def test_tokenizer_and_generation_settings_come_along(exported):
    _, folder, config = exported
    assert Tokenizer.load(folder).sha256 == Tokenizer.load(config.tokenizer).sha256
    generation = json.loads((folder / "generation_config.json").read_text())
    assert generation["eos_token_id"] == [Tokenizer.load(folder).eos]


def test_card_and_manifest_carry_numbers(exported):
    _, folder, config = exported
    manifest = json.loads((folder / "data_manifest.json").read_text())
    assert manifest["tokens_seen"] == 3 * config.rows * 32
    card = (folder / "README.md").read_text()
    assert "license: apache-2.0" in card and "| 3, 384 (" in card and "nats a token" in card


def test_a_run_without_checkpoint_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="no checkpoint"):
        export_run(tmp_path, tmp_path / "model")


def test_a_moved_tokenizer_is_asked_for(exported, tmp_path):
    _, _, config = exported
    with pytest.raises(ConfigError, match="tokenizer"):
        export_run(Path(config.out), tmp_path / "model", tmp_path)
