"""Driving the network: fixed chunk borders, advancing states, the logits of the whole forward pass."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_models import prompt, tiny_transformer

import perilune
from perilune.engine.runner import Runner
from perilune.synth import synthesize

MODEL = tiny_transformer()


@pytest.mark.parametrize(("start", "end", "size"), [(0, 100, 16), (5, 100, 11), (16, 100, 16), (96, 100, 4)])
def test_chunk_borders_lie_at_multiples(start, end, size):
    assert Runner(MODEL, 16).chunk_size(start, end) == size


def test_chunks_and_single_tokens_give_the_logits_of_the_whole():
    runner, ids = Runner(MODEL), prompt(24)
    with torch.no_grad():
        whole_TV = MODEL(torch.tensor([ids]))[0].numpy()
    state, other = runner.new_state(), runner.new_state()
    runner.prefill(prompt(7, 1), other)
    logits_V = runner.prefill(ids[:10], state)
    assert state.length == 10 and np.allclose(logits_V, whole_TV[9], atol=1e-4)
    assert np.allclose(runner.prefill(ids[10:20], state), whole_TV[19], atol=1e-4)
    for position in range(20, 24):
        logits_BV = runner.decode([3, ids[position]], [other, state])
        assert np.allclose(logits_BV[1], whole_TV[position], atol=1e-4)
    assert (other.length, state.length) == (11, 24)


def test_a_chunk_has_at_least_one_token():
    with pytest.raises(ValueError, match="at least 1"):
        Runner(MODEL, 0)


def test_prompts_are_read_together_where_that_changes_no_bit(tmp_path):
    synthesize("tiny", tmp_path)
    opened = perilune.load(tmp_path)
    runner = Runner(opened.transformer)
    assert runner.reads_together and not Runner(tiny_transformer()).reads_together  # INT4 experts, float ones
    prompts = [[1, 2, 3], [*range(5, 75)], [7] * 9, [8]]
    together = runner.prefill_together([(ids, runner.new_state()) for ids in prompts])
    for ids, logits_V in zip(prompts, together, strict=True):
        assert np.array_equal(runner.prefill(ids, runner.new_state()), logits_V)
