"""`perilune.load` and the Model it returns, on small models written in the published layout."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from tiny_models import TOKENIZER, prompt, tiny_transformer, write_model

import perilune
from perilune.api import Model
from perilune.engine.cache import PrefixCache
from perilune.engine.engine import Engine
from perilune.errors import (
    ConfigError,
    ContextError,
    MessageError,
    PeriluneError,
    RequestError,
    TokenizerError,
)
from perilune.synth import synthesize

MODEL = tiny_transformer()
ASK = [{"role": "user", "content": "Good morning"}]


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("models") / "tiny", MODEL)


@pytest.fixture(scope="module")
def model(directory):
    return perilune.load(directory)


def test_a_directory_loads_and_answers(model):
    reply = model.chat(ASK, max_tokens=8, seed=1)
    assert reply.finish_reason in ("length", "stop", "tool_calls")
    assert reply.usage.completion_tokens == len(reply.tokens) <= 8
    assert reply.usage.prompt_tokens == len(model.render(ASK).ids)


def test_logits_are_those_of_the_network(model):
    ids = prompt(30)
    with torch.no_grad():
        expected = MODEL(torch.tensor([ids]))[0]
    logits = model.logits(ids)
    assert logits.shape == (30, 512) and torch.allclose(logits, expected, atol=1e-4)
    logits += 1  # an ordinary tensor


def test_logits_work_without_a_tokenizer(tmp_path):
    bare = perilune.load(write_model(tmp_path, MODEL, tokenizer=False))
    assert bare.tokenizer is None and bare.logits(np.array([1, 2, 3])).shape == (3, 512)
    assert len(bare.generate([1, 2, 3], max_tokens=4, temperature=0).ids) == 4
    for call in (lambda: bare.chat(ASK), lambda: bare.generate("text"), lambda: bare.generate([1], stop="x")):
        with pytest.raises(TokenizerError, match=r"needs a tokenizer.*tiktoken\.model"):
            call()


@pytest.mark.parametrize("ids", [[], [512], [-1], ["a"], range(513), "text"], ids=str)
def test_ids_that_cannot_be_are_refused(model, ids):
    with pytest.raises((RequestError, ContextError)):
        model.logits(ids)


def test_seeds_repeat(model):
    first, second = (model.chat(ASK, max_tokens=12, seed=9) for _ in range(2))
    assert [t.id for t in first.tokens] == [t.id for t in second.tokens]


def test_a_batch_gives_what_each_would_get_alone(model):
    prompts = ["one", "two and more", prompt(40)]
    together = model.generate_batch(prompts, max_tokens=10, seed=3)
    alone = [model.generate(one, max_tokens=10, seed=3) for one in prompts]
    assert [one.ids for one in together] == [one.ids for one in alone]


def test_int4_experts_give_the_same_tokens_alone_and_together(tmp_path):
    synthesize("tiny", tmp_path / "int4", seed=1)
    model = perilune.load(tmp_path / "int4")
    prompts = [prompt(5 + 7 * i, i) for i in range(3)]
    together = model.generate_batch(prompts, max_tokens=8, seed=3)
    assert [one.ids for one in together] == [model.generate(p, max_tokens=8, seed=3).ids for p in prompts]


def test_one_refused_prompt_of_a_batch_leaves_nothing_behind(model):
    with pytest.raises(RequestError):
        model.generate_batch(["fine", [9999]])
    assert not model.engine.has_work


def test_the_next_turn_reuses_the_conversation(directory):
    model = perilune.load(directory)
    cold = Model(MODEL, TOKENIZER, engine=Engine(MODEL, prefix_cache=PrefixCache(max_entries=0)))
    first = model.chat(ASK, thinking=False, max_tokens=10, temperature=0)
    messages = [*ASK, {"role": "assistant", "content": first.content}, {"role": "user", "content": "And?"}]
    warm, fresh = (one.chat(messages, thinking=False, max_tokens=10, temperature=0) for one in (model, cold))
    assert warm.usage.cached_tokens > 10 and fresh.usage.cached_tokens == 0
    assert [t.id for t in warm.tokens] == [t.id for t in fresh.tokens]


def test_generation_config_sets_defaults_that_options_override(tmp_path):
    write_model(tmp_path, MODEL)
    (tmp_path / "generation_config.json").write_text('{"temperature": 0.0}')
    greedy = perilune.load(tmp_path)
    once = greedy.generate("a", max_tokens=9)
    assert once.ids == greedy.generate("a", max_tokens=9).ids == greedy.generate("a", max_tokens=9, seed=4).ids
    assert once.ids != greedy.generate("a", max_tokens=9, temperature=2.0, seed=4).ids


def test_progress_of_the_prompt_is_reported(directory):
    seen = []
    perilune.load(directory).chat(ASK, max_tokens=1, on_prefill=lambda *done: seen.append(done))
    assert seen and seen[-1][0] == seen[-1][1]


def test_logprobs_come_with_the_reply(model):
    reply = model.chat(ASK, max_tokens=2, temperature=0, logprobs=2)
    assert all(len(token.top_logprobs) == 2 for token in reply.tokens)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"temperature": 9}, "temperature"),
        ({"temprature": 1}, "unknown sampling option 'temprature'"),
        ({"max_tokens": 600}, "context holds 512"),
        ({"seed": "a"}, "seed"),
    ],
    ids=str,
)
def test_bad_options_are_refused_before_anything_runs(model, options, says):
    with pytest.raises(PeriluneError, match=says):
        model.stream(ASK, **options)
    assert not model.engine.has_work


def test_pictures_are_refused_not_dropped(model):
    content = [{"type": "image_url", "image_url": {"url": "data:"}}]
    with pytest.raises(MessageError, match=r"^messages\[0\]\.content\[0\]: this model has no eyes"):
        model.chat([{"role": "user", "content": content}])


@pytest.mark.parametrize("options", [{"device": "cuda"}, {"int4": "int3"}, {"ram": "lots"}, {"threads": 0}], ids=str)
def test_load_refuses_what_it_cannot_honour(directory, options):
    with pytest.raises(RequestError):
        perilune.load(directory, **options)


def test_a_tokenizer_of_another_model_is_refused(tmp_path):
    config = json.loads((write_model(tmp_path, MODEL) / "config.json").read_text())
    assert config["vocab_size"] == 512
    extra = (tmp_path / "tiktoken.model").read_bytes() + b"YWI= 256\n"
    (tmp_path / "tiktoken.model").write_bytes(extra)
    with pytest.raises(ConfigError, match="513 ids but the model's vocab_size is 512"):
        perilune.load(tmp_path)


def test_the_public_names_are_there():
    assert all(getattr(perilune, name) is not None for name in perilune.__all__)
    assert set(perilune.__all__) <= set(dir(perilune))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = perilune.nothing
