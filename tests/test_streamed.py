"""Streamed experts: the bits of experts in memory, whatever the size of the cache, and faults that end a request only."""

import numpy as np
import pytest
import torch

from perilune.engine.runner import Runner
from perilune.model import streamed
from perilune.model.checkpoint import load_transformer
from perilune.synth import synthesize


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    out = tmp_path_factory.mktemp("streamed") / "model"
    synthesize("tiny", out, seed=3)
    return out


def slots(directory, count):
    """A cache budget of so many experts."""
    one = load_transformer(directory, expert_cache=1 << 30).layers[-1].mlp.experts.store
    return (one.config.num_experts_per_tok + count) * one.slot_bytes


def outputs(model, prefill_chunk=512):
    runner = Runner(model, prefill_chunk)
    states, made = [runner.new_state() for _ in range(2)], []
    for seed, state in enumerate(states):
        ids = np.random.default_rng(seed).integers(0, model.config.vocab_size, 70 + seed).tolist()
        made.append(runner.extend(ids, state, last_only=False))
    made += [torch.from_numpy(runner.decode([step, step + 7], states)) for step in range(5)]
    return torch.cat(made)


@pytest.mark.parametrize("int4", ["float", "int8"])
@pytest.mark.parametrize("count", [0, 3, 10_000])
@pytest.mark.parametrize("kept", [0, 1 << 30], ids=["in order", "as they come"])
def test_every_cache_gives_the_bits_of_experts_in_memory(directory, monkeypatch, count, int4, kept):
    monkeypatch.setattr(streamed, "KEPT_BYTES", kept)
    whole = outputs(load_transformer(directory, int4_mode=int4))
    model = load_transformer(directory, int4_mode=int4, expert_cache=slots(directory, count))
    assert outputs(model).equal(whole)
    store = model.layers[-1].mlp.experts.store
    assert len(store.slots) == min(count + model.config.num_experts_per_tok, store.experts) and store.stats.misses > 0
    assert all(slot.users == 0 for slot in store.slots)
