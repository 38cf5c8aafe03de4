"""Training end to end on a tiny model: it learns, and stopping in the middle changes not a single bit."""

import dataclasses
import json
import os
import signal
from pathlib import Path

import pytest
import torch
from tiny_corpus import tiny_training

from perilune.errors import ConfigError
from perilune.train import loop, snapshot
from perilune.train.loop import Batch, Trainer, stop_signals, token_loss, train


def weights(path):
    return snapshot.load(path).tensors


def records(config):
    return [json.loads(line) for line in (Path(config.out) / "metrics.jsonl").read_text().splitlines()]


def same(a, b):
    return a.keys() == b.keys() and all(a[name].equal(b[name]) for name in a)


def test_loss_falls(tmp_path):
    config = tiny_training(tmp_path, steps=30, lr=0.02, prompts=())
    train(config)
    losses = [record["loss"] for record in records(config)]
    assert losses[-1] < losses[0] / 2
    assert records(config)[-1]["held_out"] < losses[0] / 2


def test_ten_steps_equal_five_and_five(tmp_path, monkeypatch):
    whole = tiny_training(tmp_path / "whole", prompts=(), qat_from=0.3)
    expected = weights(train(whole))

    halves = dataclasses.replace(whole, out=str(tmp_path / "halves"))
    original, stopped = loop.Trainer.step, []

    def step_and_stop(self, step, made):
        if step == 4 and not stopped:
            stopped.append(step)
            os.kill(os.getpid(), signal.SIGTERM)
        return original(self, step, made)

    monkeypatch.setattr(loop.Trainer, "step", step_and_stop)
    first = train(halves)
    assert first.name == "step-0000005.safetensors"
    torch.manual_seed(99)
    assert same(weights(train(halves)), expected)
    assert [r["step"] for r in records(halves)] == list(range(1, 11))
    assert [r["loss"] for r in records(halves)] == [r["loss"] for r in records(whole)]


def test_a_run_leaves_a_trail(tmp_path):
    config = tiny_training(tmp_path, steps=2, prompts=("the cat",))
    train(config)
    out = Path(config.out)
    run = json.loads((out / "run.json").read_text())
    assert run["settings"]["steps"] == 2 and run["model"]["vocab_size"] == 519 and len(run["data"]) == 64
    assert json.loads((out / "data_index.json").read_text())["context"] == 32
    assert list(json.loads((out / "samples.jsonl").read_text())["replies"]) == ["the cat"]
    assert {"loss", "lr", "grad_norm", "max_violation", "dead_share", "held_out"} <= records(config)[-1].keys()


def test_a_finished_run_stays_as_it_is(tmp_path):
    config = tiny_training(tmp_path, steps=2, prompts=())
    path = train(config)
    before = path.read_bytes()
    assert train(config) == path
    assert path.read_bytes() == before


def test_only_what_shall_learn_learns(tmp_path):
    config = tiny_training(tmp_path, steps=3, prompts=(), learn="layers.0.self_attn, norm.")
    before = {name: weight.clone() for name, weight in Trainer(config).model.named_parameters()}
    after = weights(train(config))
    learned = {name for name, weight in before.items() if not after[f"model.{name}"].equal(weight)}
    assert learned == {name for name in before if name.startswith(("layers.0.self_attn.", "norm."))}
    with pytest.raises(ConfigError, match="learn = 'ears' names no weight"):
        Trainer(dataclasses.replace(config, learn="ears"))


def test_time_is_up(tmp_path):
    config = tiny_training(tmp_path, prompts=(), minutes=1e-6)
    assert train(config).name == "step-0000001.safetensors"


def test_a_constant_part_can_be_prolonged(tmp_path):
    config = tiny_training(tmp_path, prompts=(), minutes=1e-6)
    train(config)
    longer = dataclasses.replace(config, steps=20, minutes=0.0)
    assert train(longer).name == "step-0000020.safetensors"


def test_other_settings_or_data_are_refused(tmp_path):
    config = tiny_training(tmp_path, prompts=(), minutes=1e-6)
    train(config)
    with pytest.raises(ConfigError, match=r"lr was 0\.01, is 0\.5"):
        train(dataclasses.replace(config, lr=0.5))
    index = Path(config.data) / "index.json"
    index.write_text(index.read_text() + " ")
    with pytest.raises(ConfigError, match="other data"):
        train(config)


def test_a_foreign_tokenizer_is_refused(tmp_path):
    config = tiny_training(tmp_path)
    index = Path(config.data) / "index.json"
    index.write_text(index.read_text().replace('"tokenizer_sha256": "', '"tokenizer_sha256": "0'))
    with pytest.raises(ConfigError, match="another tokenizer"):
        train(config)


def test_loss_counts_only_trained_targets(tmp_path):
    trainer = Trainer(tiny_training(tmp_path))
    batch = Batch.of(trainer.packed.batch(0, 4))
    logits = trainer.model(batch.ids_BT, batch.segments_BT)[batch.mask_BT]
    expected = torch.nn.functional.cross_entropy(logits, batch.target_BT[batch.mask_BT], reduction="sum")
    torch.testing.assert_close(token_loss(trainer.model, batch), expected, rtol=1e-4, atol=1e-3)
    trainer.replicas.close()


def test_shares_hold_every_row_once(tmp_path):
    trainer = Trainer(tiny_training(tmp_path))
    batch = Batch.of(trainer.packed.batch(0, 4))
    shares = [batch.share(i, 2) for i in range(2)]
    assert torch.stack([s.ids_BT for s in shares], 1).flatten(0, 1).equal(batch.ids_BT)
    trainer.replicas.close()


def test_signals_are_given_back():
    before = signal.getsignal(signal.SIGTERM)
    with stop_signals() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.wait(5)
    assert signal.getsignal(signal.SIGTERM) is before
