"""Vectors of texts: the mean of the whole pass's hidden states, the same bits in any company, on all models."""

import threading

import numpy as np
import pytest
import torch
from tiny_models import TOKENIZER, memory_transformer, prompt, tiny_transformer

import perilune
from perilune.api.budget import STREAMED_CHUNK
from perilune.api.embeddings import MOST_TEXTS, MOST_TOKENS, TOGETHER, EmbeddingStream
from perilune.api.model import Model
from perilune.engine.engine import Engine
from perilune.engine.types import Request, SamplingParams
from perilune.errors import ContextError, RequestError
from perilune.model.checkpoint import load_transformer
from perilune.synth import synthesize

TEXTS = [prompt(length, seed) for seed, length in enumerate((1, 3, 70, 20, 130, 7, 64, 5, 40, 33, 2))]


def defined(transformer, ids):
    """The vector of a text by its definition, from one pass over the whole."""
    with torch.no_grad():
        y_TD = transformer.norm(transformer.hidden(torch.tensor([ids])))[0]
    mean_D = y_TD.double().mean(0)
    return (mean_D / mean_D.norm()).float().numpy()


@pytest.fixture(scope="module", params=["latent", "memory"])
def transformer(request):
    return tiny_transformer() if request.param == "latent" else memory_transformer()


@pytest.fixture(scope="module")
def model(transformer):
    return Model(transformer, TOKENIZER)


def test_a_vector_is_the_mean_of_what_the_whole_pass_gives(model):
    vectors_ND = model.embed(TEXTS)
    assert vectors_ND.dtype == np.float32 and vectors_ND.shape == (len(TEXTS), model.config.hidden_size)
    for vector_D, ids in zip(vectors_ND, TEXTS, strict=True):
        assert np.allclose(vector_D, defined(model.transformer, ids), atol=1e-5)
    assert np.allclose(np.linalg.norm(vectors_ND, axis=1), 1.0, atol=1e-6)


def test_the_same_text_gives_the_same_bits_in_any_company(model):
    together = model.embed(TEXTS)
    for vector_D, ids in zip(together, TEXTS, strict=True):
        assert np.array_equal(model.embed([ids])[0], vector_D)


def test_texts_are_encoded_as_they_are(model):
    texts = ["hello there", "<|im_end|> is text"]
    assert np.array_equal(model.embed(texts), model.embed([TOKENIZER.encode(text) for text in texts]))
    assert np.array_equal(model.embed(texts[0]), model.embed(texts)[:1])
    assert np.array_equal(model.embed(TOKENIZER.encode(texts[0])), model.embed(texts)[:1])


def test_fewer_dimensions_are_the_first_ones_normed_again(model):
    whole, cut = model.embed(TEXTS), model.embed(TEXTS, dimensions=8)
    first = whole[:, :8] / np.linalg.norm(whole[:, :8], axis=1, keepdims=True)
    assert cut.shape == (len(TEXTS), 8) and np.allclose(cut, first, atol=1e-6)


def test_streamed_experts_give_the_bits_of_experts_in_memory(tmp_path):
    synthesize("tiny", tmp_path / "model", seed=3)
    texts = [*TEXTS, prompt(700)]  # the last one in several chunks, or in one
    whole = Model(load_transformer(tmp_path / "model")).embed(texts)
    streamed = load_transformer(tmp_path / "model", expert_cache=1 << 18)
    assert streamed.fused is not None and streamed.fused.streamed
    made = Model(streamed, engine=Engine(streamed, prefill_chunk=STREAMED_CHUNK)).embed(texts)
    assert np.array_equal(made, whole)


def test_replies_go_on_beside_it_and_are_what_they_are_alone(model):
    def chat():
        return Request(prompt(30, 9), SamplingParams(max_tokens=40, temperature=0.0))

    alone = [token.id for token in Engine(model.transformer).stream(chat())]
    wanted = model.embed(TEXTS)
    engine = Engine(model.transformer)
    sequence = engine.submit(chat())
    while not sequence.tokens:
        engine.step()
    before = len(sequence.tokens)
    with EmbeddingStream(engine, TEXTS) as stream:
        vectors = list(stream)
        assert len(sequence.tokens) > before  # it was written on while texts were read
    assert np.array_equal(np.stack(vectors), wanted)
    assert [token.id for token in engine.follow(sequence)] == alone
    assert not engine.has_work


def test_nothing_of_it_is_kept_for_prompts(model):
    engine = Engine(model.transformer)
    with EmbeddingStream(engine, [prompt(100)] * 2) as stream:
        assert len(list(stream)) == 2
    assert len(engine.prefix_cache) == 0


def test_what_is_left_is_not_computed(model):
    engine = Engine(model.transformer)
    stream = EmbeddingStream(engine, TEXTS * 10)
    vectors = iter(stream)
    for _ in range(3):
        next(vectors)
    assert 0 < len(engine.scheduler.running) + len(engine.scheduler.waiting) <= TOGETHER
    del vectors
    assert not engine.has_work and list(stream) == []
    assert stream.reply.finish_reason == "cancelled" and len(stream.reply.vectors_ND) == 3


def test_closing_from_another_thread_ends_it(model):
    stream = EmbeddingStream(model.engine, [prompt(200, seed) for seed in range(200)])
    seen, made = threading.Event(), []

    def follow():
        for vector_D in stream:
            made.append(vector_D)
            seen.set()

    thread = threading.Thread(target=follow)
    thread.start()
    assert seen.wait(60)
    stream.close()
    thread.join(60)
    assert not thread.is_alive() and not model.engine.has_work and len(made) < 200


def test_progress_counts_the_tokens_of_all_texts(model):
    told = []
    with model.embed_stream([prompt(200), prompt(50)], on_prefill=lambda *done: told.append(done)) as stream:
        list(stream)
    assert told == [(200, 250), (250, 250)]
    assert stream.usage.prompt_tokens == 250 and stream.reply.usage.completion_tokens == 0


@pytest.mark.parametrize(
    ("texts", "told"),
    [
        ([], "1 to 2048 texts"),
        ("", r"input\[0\] is empty"),
        (["a", ""], r"input\[1\] is empty"),
        ([[]], r"input\[0\] is empty"),
        (["a"] * (MOST_TEXTS + 1), "got 2049"),
        ([1, -1], "not negative"),
        ([1, "a"], r"input\[0\]\[1\] must be an integer"),
        ([[1, 2.5]], r"input\[0\]\[1\] must be an integer"),
        (["a", {}], r"input\[1\] must be a text or a list"),
        (5, "input must be a text"),
        ([[10**9]], "outside this model's vocabulary"),
    ],
)
def test_what_cannot_be_embedded_is_refused(model, texts, told):
    with pytest.raises(RequestError, match=told):
        model.embed(texts)


@pytest.mark.parametrize("dimensions", [0, -1, 10**6, 2.5, True])
def test_dimensions_that_a_vector_does_not_have_are_refused(model, dimensions):
    with pytest.raises(RequestError, match="dimensions must be an integer from 1 to"):
        model.embed("a", dimensions=dimensions)


def test_a_text_of_the_whole_context_is_the_longest_one():
    model = Model(tiny_transformer(context=64), TOKENIZER)
    assert model.embed([prompt(64)]).shape[0] == 1
    with pytest.raises(ContextError, match="has 65 tokens, but this model's context holds 64"):
        model.embed([prompt(3), prompt(65)])
    with pytest.raises(ContextError, match="more than 300,000 tokens"):
        model.embed([[1] * (MOST_TOKENS + 1)])


def test_a_model_without_a_tokenizer_embeds_ids():
    model = Model(tiny_transformer())
    assert model.embed([1, 2, 3]).shape == (1, model.config.hidden_size)
    with pytest.raises(RequestError, match="no tokenizer"):
        model.embed("a")


def test_nano_finds_a_sentence_by_its_words():
    """It does not find one by its meaning: the README says so."""
    sentences = [
        "The cat sleeps on the sofa in the kitchen.",
        "Heavy rain flooded the streets of the town.",
        "He plays the violin in a large orchestra.",
        "The museum opens at nine in the morning.",
    ]
    again = [f"It is true: {sentence[0].lower()}{sentence[1:]}" for sentence in sentences]
    vectors = perilune.load("nano").embed([*sentences, *again])
    nearest = (vectors[4:] @ vectors[:4].T).argmax(1)
    assert nearest.tolist() == [0, 1, 2, 3]
