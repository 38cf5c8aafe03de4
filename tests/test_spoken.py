"""What synthetic speech says: plain sentences whose sides are apart, and answers that fit what is said."""

import os
import random

import pytest

from perilune.corpus.sources import data_root
from perilune.corpus.speech import has_speech
from perilune.tasks import spoken
from perilune.tasks.shown import Draw

needs_data = pytest.mark.skipif(
    not os.environ.get("PERILUNE_SHARED"), reason="PERILUNE_SHARED names no folder with the licensed data"
)
needs_speech = pytest.mark.skipif(not has_speech(), reason="espeak-ng is not installed")


@needs_data
@pytest.mark.parametrize("name", ["stories_cc_by", "self_dialogue"])
def test_real_sentences_are_plain_and_the_held_out_ones_are_new(name):
    trained, held_out = (spoken.real_sentences(name, data_root(), side) for side in (False, True))
    assert len(trained) > 5_000 and len(held_out) > 100
    assert not set(trained) & set(held_out)
    for sentence in trained:
        assert 2 <= len(sentence.split()) <= 12 and sentence.isascii() and not any(c.isdigit() for c in sentence)
        assert not sentence.startswith(("A: ", "B: "))


def test_requests_and_grammar_sentences_have_no_figures():
    rng = random.Random(4)
    for make in (spoken.request, spoken.plain_sentence):
        made = {make(rng) for _ in range(200)}
        assert len(made) > 60
        assert not any(c.isdigit() or c in "{}" for text in made for c in text)


@needs_data
@needs_speech
def test_voices_and_sentences_of_one_side_are_not_heard_on_the_other(monkeypatch):
    heard = {}
    real = spoken.speak

    def listen(text, voice, cache):
        heard.setdefault(side, []).append((text, voice.variant))
        return real(text, voice, cache)

    monkeypatch.setattr(spoken, "speak", listen)
    for side in (False, True):
        for seed in range(25):
            spoken.sentence(Draw(random.Random(seed), side, data_root()))
    trained, held_out = heard[False], heard[True]
    assert not {voice for _, voice in trained} & {voice for _, voice in held_out}
    assert not {text for text, _ in trained} & {text for text, _ in held_out}


@needs_data
@needs_speech
def test_more_digits_take_longer_to_say():
    lengths = {}
    for seed in range(30):
        made = spoken.digits(Draw(random.Random(seed), True, data_root()))
        samples = next(part for part in made.content if not isinstance(part, str)).data
        lengths.setdefault(len(made.answer.split()), []).append(len(samples))
    assert sum(lengths[6]) / len(lengths[6]) > 1.5 * sum(lengths[2]) / len(lengths[2])
