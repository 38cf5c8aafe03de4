"""The fused decode step against the plain path it replaces: values, batches, threads, and when it stands aside."""

import dataclasses

import pytest
import torch

from perilune.config import ModelConfig, RopeConfig
from perilune.kernels.threads import max_threads, set_threads
from perilune.model.checkpoint import load_transformer, save_checkpoint
from perilune.model.model import Transformer
from perilune.model.state import SequenceState

BASE = dataclasses.replace(ModelConfig.preset("tiny"), initializer_range=0.1)
VARIANTS = {
    "plain": {},
    "yarn": {"rope": RopeConfig(50000.0, 8.0, 128, 32.0, 1.0, 1.0, 1.0)},
    "no-q-lora": {"q_lora_rank": None},
    "no-shared": {"n_shared_experts": 0},
    "two-shared": {"n_shared_experts": 2},
    "halves": {"rope_interleave": False},
    "nope": {"mla_use_nope": True},
    "scores-as-weights": {"norm_topk_prob": False},
    "dense": {"first_k_dense_replace": 3},
    "tied": {"tie_word_embeddings": True},
    "float32": {"dtype": "float32"},
    "three-heads": {"num_attention_heads": 3, "v_head_dim": 48, "qk_nope_head_dim": 16},
}


def opened(directory, int4="float", **changes):
    model = Transformer(dataclasses.replace(BASE, **changes))
    model.init_weights(seed=5)
    save_checkpoint(directory, model)
    return load_transformer(directory, int4_mode=int4)


def read(model, prompts):
    states = []
    for prompt in prompts:
        state = SequenceState(model.config.num_hidden_layers, model.config.kv_lora_rank + model.config.qk_rope_head_dim)
        model.extend(torch.tensor(prompt), state)
        state.advance(len(prompt))
        states.append(state)
    return states


def decode(model, prompts, steps=3):
    """Logits of a few steps on fixed ids, for every prompt at once."""
    states, logits = read(model, prompts), []
    for step in range(steps):
        logits.append(model.decode(torch.tensor([(7 * step + b) % 500 for b in range(len(prompts))]), states))
        for state in states:
            state.advance(1)
    return torch.stack(logits)


PROMPTS = [[1, 2, 3], [9] * 300, [5]]


@pytest.mark.parametrize("variant", VARIANTS)
def test_fused_equals_plain(variant, tmp_path):
    model = opened(tmp_path, **VARIANTS[variant])
    assert model.fused is not None
    fused = decode(model, PROMPTS)
    model.fused = None
    torch.testing.assert_close(fused, decode(model, PROMPTS), rtol=2e-4, atol=2e-4)


def test_neighbours_and_threads_change_no_bit(tmp_path):
    model = opened(tmp_path, int4="int8")
    together = decode(model, PROMPTS)
    before = max_threads()
    try:
        for threads in (1, 2):
            set_threads(threads)
            for i in range(len(PROMPTS)):
                states = read(model, PROMPTS[i : i + 1])
                alone = model.decode(torch.tensor([i]), states)
                assert alone[0].equal(together[0, i])
    finally:
        set_threads(before)


@pytest.mark.parametrize(
    "changes", [{"n_group": 2, "topk_group": 1}, {"kv_lora_rank": 24}, {"quantization": None}], ids=str
)
def test_what_the_kernel_cannot_read_keeps_the_plain_path(changes, tmp_path):
    model = opened(tmp_path, **changes)
    assert model.fused is None
    assert decode(model, PROMPTS).isfinite().all()
