"""Every number a request carries is checked at the engine's border."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from perilune.engine.types import MAX_SEED, Request, SamplingParams, Usage, token_ids
from perilune.errors import RequestError

GOOD = [
    {"max_tokens": 1},
    {"temperature": 0},
    {"temperature": 2.0},
    {"top_p": 1e-9},
    {"min_p": 1.0},
    {"top_k": 0},
    {"top_k": 10**9},
    {"seed": 0},
    {"seed": MAX_SEED},
    {"repetition_penalty": 0.1},
    {"presence_penalty": -2},
    {"frequency_penalty": 2.0},
    {"logprobs": 0},
    {"logprobs": 20},
    {"logit_bias": {0: -100, 7: 100}},
    {"logit_bias": None},
    {"stop": ["a"] * 16},
]

BAD = [
    ("max_tokens", 0),
    ("max_tokens", -1),
    ("max_tokens", 10**30),
    ("max_tokens", 1.0),
    ("max_tokens", True),
    ("temperature", -0.1),
    ("temperature", 2.1),
    ("temperature", math.nan),
    ("temperature", math.inf),
    ("temperature", "hot"),
    ("temperature", None),
    ("temperature", True),
    ("top_p", 0),
    ("top_p", 1.01),
    ("top_p", math.nan),
    ("min_p", -0.01),
    ("min_p", 2),
    ("top_k", -1),
    ("top_k", 2.5),
    ("top_k", None),
    ("seed", -1),
    ("seed", 2**63),
    ("seed", "1"),
    ("repetition_penalty", 0),
    ("repetition_penalty", 11),
    ("presence_penalty", -2.5),
    ("frequency_penalty", math.inf),
    ("logprobs", 21),
    ("logprobs", -1),
    ("logprobs", True),
    ("logit_bias", {"a": 1}),
    ("logit_bias", {-1: 1}),
    ("logit_bias", {True: 1}),
    ("logit_bias", {1: 101}),
    ("logit_bias", {1: math.nan}),
    ("logit_bias", [3]),
    ("logit_bias", {i: 0 for i in range(1025)}),
    ("stop", [1]),
    ("stop", {"a": 1}),
    ("stop", [""]),
    ("stop", "x" * 257),
    ("stop", ["a"] * 17),
]


@pytest.mark.parametrize("options", GOOD, ids=str)
def test_values_at_the_borders_are_taken(options):
    SamplingParams(**options)


@pytest.mark.parametrize(("name", "value"), BAD, ids=str)
def test_values_beyond_the_borders_are_refused_by_name(name, value):
    with pytest.raises(RequestError, match=name):
        SamplingParams(**{name: value})


def test_a_refusal_says_what_would_be_right():
    with pytest.raises(RequestError, match=r"temperature .* number from 0 to 2 \(0 is greedy\), got 3"):
        SamplingParams(temperature=3)


@pytest.mark.parametrize("value", [10**5000, -(10**5000), "x" * 10**6], ids=["huge", "tiny", "long"])
def test_a_refusal_is_short_whatever_was_sent(value):
    with pytest.raises(RequestError) as caught:
        SamplingParams(seed=value)
    assert len(str(caught.value)) < 200


def test_one_stop_string_is_a_list_of_one():
    assert SamplingParams(stop="END").stop == ("END",)
    assert SamplingParams(stop=None).stop == ()


def test_options_go_over_defaults_and_unknown_ones_are_refused():
    params = SamplingParams.from_options({"top_k": 5}, {"top_k": 3, "temperature": 0.5})
    assert (params.top_k, params.temperature) == (5, 0.5)
    with pytest.raises(RequestError, match="unknown sampling option 'temprature'; known options: max_tokens"):
        SamplingParams.from_options({"temprature": 1})


@pytest.mark.parametrize(
    "ids", [[1, 2], (1, 2), np.array([1, 2]), torch.tensor([1, 2]), range(1, 3), iter([1, 2])], ids=repr
)
def test_ids_of_any_integer_type_become_plain_ints(ids):
    assert token_ids(ids, "prompt_ids") == (1, 2)


@pytest.mark.parametrize("ids", [[-1], [1.0], ["1"], [True], [None], "12", b"12", 7, [[1]]], ids=repr)
def test_other_ids_are_refused(ids):
    with pytest.raises(RequestError, match="prompt_ids"):
        Request(ids)


def test_an_empty_prompt_is_refused():
    with pytest.raises(RequestError, match="prompt is empty"):
        Request(())


def test_rates_leave_out_cached_tokens_and_the_first_one():
    usage = Usage(10, cached_tokens=4, completion_tokens=5, prefill_seconds=2.0, decode_seconds=2.0)
    assert usage.prefill_tokens_per_second == 3.0
    assert usage.decode_tokens_per_second == 2.0
    assert Usage(10).decode_tokens_per_second == 0.0


def test_ignore_eos_drops_the_ends_of_a_reply():
    assert Request((1,), SamplingParams(ignore_eos=True), frozenset({2})).stop_ids == frozenset()
    with pytest.raises(RequestError, match="ignore_eos must be true or false"):
        SamplingParams(ignore_eos=1)
