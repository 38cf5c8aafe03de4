"""A model that listens: a turn has the bits that its sound would have as a file, and is not heard again."""

import numpy as np
import pytest
import torch
from sounds import noise
from tiny_models import TOKENIZER, tiny_transformer
from tiny_senses import sensing_model

from perilune.api import senses as rooms
from perilune.api.listening import Listener
from perilune.api.model import Model
from perilune.errors import MessageError
from perilune.media.pauses import Pauses
from perilune.model.hear import hear

SILENCE = np.zeros(16_000, np.float32)
SOUND = np.concatenate([noise(9_600), SILENCE, noise(12_345, seed=1)])


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return sensing_model(tmp_path_factory.mktemp("listening"))


def listened(model, size):
    listener = Listener(model.senses, Pauses())
    for at in range(0, len(SOUND), size):
        listener.feed(SOUND[at : at + size])
    listener.finish()
    return listener


@pytest.mark.parametrize("size", [100_000, 1600, 997])
def test_turns_are_what_their_sound_is_as_a_file(model, size):
    listener = listened(model, size)
    assert len(listener.turns) == 2
    for turn in listener.turns:
        sound_T = SOUND[round(turn.begin * 16_000) : round(turn.end * 16_000)]
        assert torch.equal(turn.perceived.rows[0], hear(model.senses.hearing(), sound_T))
        assert turn.perceived.tokens == len(turn.perceived.rows[0])
    assert listener.heard_seconds + listener.left_out_seconds == len(SOUND) / 16_000
    assert listener.open_seconds == pytest.approx(listener.heard_seconds) and listener.real_time_factor > 0


def test_a_turn_is_a_part_of_a_message_and_is_not_heard_again(model, monkeypatch):
    first, second = listened(model, 1600).turns
    monkeypatch.setattr(rooms, "hear", None)

    def reply(turn):
        asked = [{"role": "user", "content": [turn.item("what was said").part]}]
        return model.chat(asked, max_tokens=12, temperature=0, thinking=False)

    assert reply(first).media_tokens == (first.perceived.tokens,)
    assert reply(first).content == reply(first).content != reply(second).content


def test_a_model_without_ears_cannot_listen():
    with pytest.raises(MessageError, match="this model has no ears; listen with one that has"):
        Listener(Model(tiny_transformer(), TOKENIZER).senses, Pauses())
