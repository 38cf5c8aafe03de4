"""Checkpoints of a run: complete or absent, the last two kept, refused when they are something else."""

import pytest
import torch
from safetensors.torch import save_file

from perilune.config import ModelConfig
from perilune.errors import WeightsError
from perilune.model.model import Transformer
from perilune.train import snapshot
from perilune.train.optim import Optimizer


@pytest.fixture
def trained():
    model = Transformer(ModelConfig.preset("tiny"))
    model.init_weights(0)
    return model, Optimizer(model, heads=2)


def test_save_and_restore(tmp_path, trained):
    model, optimizer = trained
    path = snapshot.save(tmp_path, 7, model, optimizer, {"note": "é"})
    drawn = torch.rand(3)
    other = Transformer(model.config)
    other.init_weights(1)
    saved = snapshot.load(path)
    assert saved.meta == {"note": "é", "step": 7}
    assert snapshot.restore(saved, other, Optimizer(other, heads=2)) == 7
    assert all(a.equal(b) for a, b in zip(model.parameters(), other.parameters(), strict=True))
    assert torch.rand(3).equal(drawn)


def test_the_last_two_are_kept(tmp_path, trained):
    for step in (1, 2, 3):
        snapshot.save(tmp_path, step, *trained, {})
    assert [p.name for p in snapshot.checkpoints(tmp_path)] == [
        "step-0000002.safetensors",
        "step-0000003.safetensors",
    ]


def test_an_unfinished_file_is_no_checkpoint(tmp_path, trained):
    snapshot.save(tmp_path, 1, *trained, {})
    (tmp_path / "step-0000002.part").write_bytes(b"half")
    assert [p.name for p in snapshot.checkpoints(tmp_path)] == ["step-0000001.safetensors"]


def test_other_safetensors_are_refused(tmp_path):
    path = tmp_path / "step-0000001.safetensors"
    save_file({"x": torch.zeros(1)}, path)
    with pytest.raises(WeightsError, match="no run record"):
        snapshot.load(path)
