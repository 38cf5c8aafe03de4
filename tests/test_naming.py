"""Media named by the words of their replies: rare words count, and towers learn to tell pictures apart."""

from dataclasses import replace

import numpy as np
import torch
from tiny_hearing import CHUNKED
from tiny_models import TOKENIZER, memory_config
from tiny_vision import TOWER

from perilune.corpus.media import Medium
from perilune.model.model import Transformer
from perilune.model.tower_init import fresh_senses
from perilune.tasks.shown import Shown
from perilune.text import specials as sp
from perilune.train.naming import naming_loss, rarity
from perilune.train.recipe import NANO_LIMITS
from perilune.train.seeing import ShownRows, media_rows

PAD = TOKENIZER.special_id(sp.MEDIA_PAD)
CONFIG = replace(memory_config(), vision=TOWER, audio=CHUNKED, media_placeholder_token_id=PAD)
COLOURS = {"red": (200, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 200), "grey": (120, 120, 120)}


def painted(name: str, seed: int, *_: object) -> Shown:
    """A picture of one colour, and its name."""
    colour = list(COLOURS)[seed % len(COLOURS)]
    noise = np.random.default_rng(seed).integers(-25, 25, (28, 28, 3))
    picture = (np.array(COLOURS[colour]) + noise).astype(np.uint8)
    question = [{"type": "image"}, {"type": "text", "text": "Which colour?"}]
    messages = ({"role": "user", "content": question}, {"role": "assistant", "content": f"The colour is {colour}."})
    return Shown("colour", messages, (Medium("image", picture),), colour, False)


def test_a_word_that_all_replies_have_says_nothing():
    word_A = torch.tensor([7, 3, 7, 4, 7, 3])
    example_A = torch.tensor([0, 0, 1, 1, 2, 2])
    expected = torch.tensor([0.0, np.log(3 / 2), 0.0, np.log(3), 0.0, np.log(3 / 2)])
    torch.testing.assert_close(rarity(word_A, example_A, 3, 10), expected.float())


def test_towers_learn_the_names_without_the_decoder(monkeypatch, tmp_path):
    monkeypatch.setattr("perilune.train.seeing.shown", painted)
    rows = ShownRows(tmp_path, TOKENIZER, CONFIG, NANO_LIMITS, 12, seed=1, only={"clothing": 1.0})
    model = Transformer(CONFIG)
    model.init_weights(1)
    model.senses.update(fresh_senses(CONFIG, 1))
    vision = list(model.senses["vision"].parameters())
    optimizer = torch.optim.AdamW(vision, lr=3e-3)
    losses = []
    for step in range(90):
        batch = rows.batch(step, 0)
        loss = naming_loss(model, batch.rows, media_rows(model, batch.media))
        model.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert np.mean(losses[-5:]) < 0.5 * np.mean(losses[:3])
    rows_ND = media_rows(model, rows.batch(90, 0).media)
    ratio = rows_ND.norm(dim=-1).mean() / model.embed_tokens.weight.norm(dim=-1).mean()
    assert 0.5 < float(ratio.detach()) < 2.5, "as long as words, for the layers that read them"
    assert model.layers[0].input_layernorm.weight.grad is None and model.embed_tokens.weight.grad is None
