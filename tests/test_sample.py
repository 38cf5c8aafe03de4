"""Choosing a token: the fast path equals the plain definition, and each rule does what its name says."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perilune.engine.sample import LogitsError, Sampler, log_softmax, penalise, pick, pick_plain
from perilune.engine.types import SamplingParams


def row(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def drawn(logits_V: np.ndarray, **options) -> set[int]:
    """Every token that can come out."""
    params = SamplingParams(**options)
    return {pick(logits_V, params, u) for u in np.linspace(0, 1, 4001, endpoint=False)}


@given(
    logits=st.lists(st.floats(-20, 20, width=16), min_size=1, max_size=40),
    temperature=st.sampled_from([1e-3, 0.3, 1.0, 2.0]),
    top_k=st.integers(0, 45),
    top_p=st.sampled_from([1e-6, 0.1, 0.5, 0.9, 0.999, 1.0]),
    min_p=st.sampled_from([0.0, 0.01, 0.3, 1.0]),
    uniform=st.floats(0, 1, exclude_max=True),
)
@settings(max_examples=400, deadline=None)
def test_fast_equals_plain(logits, temperature, top_k, top_p, min_p, uniform):
    params = SamplingParams(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)
    fast, plain = pick(row(*logits), params, uniform), pick_plain(logits, params, uniform)
    if fast != plain:  # sums in another order may move a border by a rounding error, never more
        nearby = {pick_plain(logits, params, min(max(uniform + d, 0), 1 - 1e-12)) for d in (-1e-9, 1e-9)}
        assert fast in nearby


def test_temperature_zero_is_greedy_and_ties_go_to_the_lower_id():
    assert Sampler(SamplingParams(temperature=0))(row(1, 5, 5, 2)).id == 1


def test_fast_equals_plain_on_a_large_vocabulary():
    generator = np.random.default_rng(0)
    logits = (generator.standard_normal(3000) * 2).astype(np.float32)
    params = SamplingParams(top_p=0.95)
    for uniform in generator.random(20):
        assert pick(logits, params, uniform) == pick_plain(logits.tolist(), params, uniform)


def test_the_ends_of_the_range_are_possible_tokens():
    logits = np.full(1000, -np.inf, np.float32)
    logits[[300, 700]] = 1.0
    assert pick(logits, SamplingParams(), 0.0) == 300
    assert pick(logits, SamplingParams(), np.nextafter(1.0, 0.0)) == 700


def test_top_k_keeps_the_k_best_and_ties_at_the_border():
    assert drawn(row(3, 1, 2, 0), top_k=2) == {0, 2}
    assert drawn(row(3, 2, 2, 0), top_k=2) == {0, 1, 2}
    assert drawn(row(3, 2, 1), top_k=99) == {0, 1, 2}


def test_top_p_keeps_the_smallest_nucleus():
    logits = np.log(row(0.5, 0.3, 0.15, 0.05))
    assert drawn(logits, top_p=0.49) == {0}
    assert drawn(logits, top_p=0.7) == {0, 1}
    assert drawn(logits, top_p=0.9) == {0, 1, 2}
    assert drawn(logits, top_p=1.0) == {0, 1, 2, 3}


def test_min_p_is_relative_to_the_most_likely_token():
    logits = np.log(row(0.5, 0.3, 0.15, 0.05))
    assert drawn(logits, min_p=0.25) == {0, 1, 2}
    assert drawn(logits, min_p=1.0) == {0}


def test_forbidden_tokens_never_come():
    assert drawn(row(-np.inf, 1, -np.inf, 1)) == {1, 3}


def test_a_tiny_temperature_is_greedy_without_a_warning():
    assert drawn(row(1, 2, -np.inf), temperature=1e-300) == {1}


def test_frequencies_follow_the_softmax():
    logits = np.log(row(0.6, 0.3, 0.1))
    sampler = Sampler(SamplingParams(seed=7))
    counts = np.bincount([sampler(logits).id for _ in range(6000)], minlength=3) / 6000
    assert np.allclose(counts, [0.6, 0.3, 0.1], atol=0.03)


def test_a_seed_repeats_its_stream_and_others_differ():
    logits = np.zeros(1000, np.float32)

    def stream(seed):
        sampler = Sampler(SamplingParams(seed=seed))
        return [sampler(logits).id for _ in range(20)]

    assert stream(1) == stream(1) != stream(2)
    assert stream(None) != stream(None)


def test_the_stream_of_a_seed_is_the_documented_one():
    uniform = random.Random(5).random()
    assert Sampler(SamplingParams(seed=5))(np.zeros(100, np.float32)).id == int(uniform * 100)


def test_repetition_penalty_covers_prompt_and_reply_and_always_lowers():
    params = SamplingParams(repetition_penalty=2.0)
    out = penalise(row(4, -4, 4, 4), params, frozenset({0, 1}), {2: 3})
    assert out.tolist() == [2, -8, 2, 4]


def test_presence_and_frequency_cover_the_reply_only():
    params = SamplingParams(presence_penalty=0.5, frequency_penalty=0.25)
    assert penalise(row(1, 1, 1), params, frozenset({0}), {1: 1, 2: 4}).tolist() == [1, 0.25, -0.5]


def test_penalties_leave_the_models_row_alone():
    logits = row(1, 1, 1)
    penalise(logits, SamplingParams(presence_penalty=1), frozenset(), {0: 1})
    assert logits.tolist() == [1, 1, 1]


def test_penalties_move_greedy_on():
    sampler = Sampler(SamplingParams(temperature=0, presence_penalty=2.0))
    assert [sampler(row(3.0, 2.0, 1.5)).id for _ in range(3)] == [0, 1, 2]


@pytest.mark.parametrize("bad", [math.nan, math.inf, None], ids=["nan", "inf", "nothing allowed"])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_impossible_logits_are_an_error(bad, temperature):
    logits = row(1, 2, bad) if bad is not None else row(-np.inf, -np.inf)
    with pytest.raises(LogitsError, match="as a logit"):
        Sampler(SamplingParams(temperature=temperature))(logits)


def test_logprobs_are_the_models_own_and_sorted():
    logits = np.log(row(0.1, 0.6, 0.3))
    token = Sampler(SamplingParams(temperature=0, presence_penalty=1, logprobs=2))(logits)
    assert token.id == 1 and token.logprob == pytest.approx(math.log(0.6), abs=1e-6)
    assert [i for i, _ in token.top_logprobs] == [1, 2]
    assert np.exp([p for _, p in token.top_logprobs]) == pytest.approx([0.6, 0.3], abs=1e-6)


def test_more_logprobs_than_tokens_are_all_of_them():
    token = Sampler(SamplingParams(temperature=0, logprobs=20))(row(1, 1, 1))
    assert [i for i, _ in token.top_logprobs] == [0, 1, 2]


def test_a_bias_moves_the_choice_and_not_what_the_model_said():
    token = Sampler(SamplingParams(temperature=0, logit_bias={2: 1.5, 0: -100}, logprobs=1))(row(3.0, 2.0, 1.0))
    assert token.id == 2 and token.top_logprobs[0][0] == 0


def test_no_logprobs_unless_asked():
    token = Sampler(SamplingParams(temperature=0))(row(1, 2))
    assert token.logprob is None and token.top_logprobs == ()


def test_log_softmax_survives_large_logits():
    assert np.exp(log_softmax(row(1e30, 1e30))).tolist() == [0.5, 0.5]
