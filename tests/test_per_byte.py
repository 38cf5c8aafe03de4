"""Loss per byte: an even guess costs the logarithm of the vocabulary; in a chat only replies count."""

from math import log

import pytest
import torch
from tiny_models import TOKENIZER, tiny_transformer

from perilune.api.model import Model
from perilune.corpus.document import Document
from perilune.errors import ConfigError
from perilune.score.per_byte import LossScore, score_documents, score_losses


@pytest.fixture(scope="module")
def even():
    transformer = tiny_transformer(context=1024)
    with torch.no_grad():
        transformer.lm_head.weight.zero_()
    return Model(transformer, TOKENIZER)


def test_an_even_guess(even):
    score = score_documents(even, "x", [Document("x", text="A fox met a dog."), Document("x", text="So.")])
    guess = log(even.config.vocab_size)
    # The first byte of a document is given; its end is predicted but stands for no byte of text.
    assert (score.documents, score.tokens, score.bytes) == (2, 19, 17)
    assert score.nats == pytest.approx(19 * guess, rel=1e-4)
    assert score.bits_per_byte == pytest.approx(score.nats / 17 / log(2))


def test_only_replies_count_in_a_chat(even):
    messages = ({"role": "user", "content": "a long question"}, {"role": "assistant", "content": "yes"})
    score = score_documents(even, "chat", [Document("chat", messages=messages)])
    assert (score.tokens, score.bytes) == (4, 3)


def test_generated_families_need_no_data(even):
    scores = score_losses(even, None, count=1)
    assert {s.name for s in scores} >= {"calculation", "tool_call", "passage_question"}
    assert all(s.nats > 0 for s in scores)


def test_a_model_without_tokenizer_is_refused():
    with pytest.raises(ConfigError, match="no tiktoken"):
        score_documents(Model(tiny_transformer()), "x", [])


def test_nothing_measured_is_zero():
    assert LossScore("x", 0, 0, 0, 0.0).bits_per_byte == 0.0
