"""Greedy samples equal the best token of the full forward, and end at a stop token."""

import dataclasses

import torch
from tiny_vocab import tiny_tokenizer

from perilune.config import ModelConfig
from perilune.model.model import Transformer
from perilune.train.samples import greedy, sample_replies


def model(vocab_size=519):
    made = Transformer(dataclasses.replace(ModelConfig.preset("tiny"), vocab_size=vocab_size, initializer_range=0.2))
    made.init_weights(0)
    return made


def test_greedy_takes_the_best_token_each_time():
    made, ids = model(), [5, 6, 7]
    reply = greedy(made, ids, 5, ())
    with torch.no_grad():
        for n in range(5):
            assert int(made(torch.tensor([ids + reply[:n]]))[0, -1].argmax()) == reply[n]


def test_a_stop_token_ends_the_reply():
    made, ids = model(), [5, 6, 7]
    reply = greedy(made, ids, 5, ())
    assert greedy(made, ids, 5, (reply[2],)) == reply[: reply.index(reply[2])]


def test_every_prompt_gets_a_reply():
    replies = sample_replies(model(tiny_tokenizer().n_vocab), tiny_tokenizer(), ("the", "in"), new_tokens=3)
    assert list(replies) == ["the", "in"] and all(isinstance(reply, str) for reply in replies.values())
