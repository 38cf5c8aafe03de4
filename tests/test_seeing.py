"""Conversations with media as they are trained: rows, what stands at their placeholders, and what is learned."""

import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_hearing import CHUNKED
from tiny_models import TOKENIZER, memory_config
from tiny_vision import TOWER

from perilune.corpus.media import Medium
from perilune.corpus.sources import data_root
from perilune.model.model import Transformer
from perilune.model.tower_init import fresh_senses
from perilune.tasks.shown import Shown
from perilune.tasks.shown_families import FAMILIES
from perilune.text import specials as sp
from perilune.train import seeing
from perilune.train.loop import token_loss
from perilune.train.packed import Batch
from perilune.train.recipe import NANO_LIMITS
from perilune.train.seeing import Heard, Seen, ShownBatch, ShownRows, media_rows, prepare

PAD = TOKENIZER.special_id(sp.MEDIA_PAD)
CONFIG = replace(memory_config(), vision=TOWER, audio=CHUNKED, media_placeholder_token_id=PAD)
needs_data = pytest.mark.skipif(not os.environ.get("PERILUNE_SHARED"), reason="PERILUNE_SHARED names no data")


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def sensing(seed: int = 1) -> Transformer:
    model = Transformer(CONFIG)
    model.init_weights(seed)
    model.senses.update(fresh_senses(CONFIG, seed))
    return model


def media() -> tuple[Medium, ...]:
    rng = np.random.default_rng(3)
    return (
        Medium("image", rng.integers(0, 256, (40, 61, 3), np.uint8)),
        Medium("audio", rng.standard_normal(5000).astype(np.float32) * 0.1),
        Medium("video", rng.integers(0, 256, (20, 30, 30, 3), np.uint8), rate=4.0),
    )


def example() -> Shown:
    parts = [{"type": medium.kind} for medium in media()]
    messages = (
        {"role": "user", "content": [*parts, {"type": "text", "text": "What?"}]},
        {"role": "assistant", "content": "A cat."},
    )
    return Shown("test", messages, media(), "cat", False)


def test_every_placeholder_gets_one_row_in_the_order_of_the_prompt():
    items, pieces = prepare(example(), NANO_LIMITS, CHUNKED)
    assert [item["type"] for item in items] == ["image", "audio", "video"]
    assert isinstance(pieces[0], Seen) and isinstance(pieces[1], Heard) and len(pieces) == 2 + 3
    rows_ND = media_rows(sensing(), tuple(pieces))
    tokens = items[0]["tokens"] + items[1]["tokens"] + sum(chunk["tokens"] for chunk in items[2]["chunks"])
    assert rows_ND is not None and rows_ND.shape == (tokens, CONFIG.hidden_size)


def test_small_pictures_are_enlarged_by_whole_numbers():
    tiny = Shown("test", (), (Medium("image", np.zeros((28, 28, 3), np.uint8)),), "", False)
    (item,), (patches,) = prepare(tiny, NANO_LIMITS, None)
    assert item["tokens"] == 16 and patches.grid == (1, 8, 8)
    published = replace(NANO_LIMITS, enlarged_side=0)
    assert prepare(tiny, published, None)[0][0]["tokens"] == 1


@needs_data
def test_a_batch_is_a_pure_function_of_step_and_thread():
    def rows() -> ShownRows:
        return ShownRows(data_root(), TOKENIZER, CONFIG, NANO_LIMITS, 3, seed=1)

    first, again, other = rows().batch(4, 0), rows().batch(4, 0), rows().batch(4, 1)
    assert first.rows.ids_BT.equal(again.rows.ids_BT) and len(first.media) == len(again.media)
    assert not first.rows.ids_BT.equal(other.rows.ids_BT) or first.rows.trained == 0
    rows_ND = media_rows(sensing(), first.media)
    assert rows_ND is not None and int((first.rows.ids_BT == PAD).sum()) == len(rows_ND)


def wide(name: str, seed: int, *_: object) -> Shown:
    """A picture of 4 by 4 to 4 by 9 tokens."""
    picture = np.zeros((112, 112 + 28 * (seed % 6), 3), np.uint8)
    question = [{"type": "image"}, {"type": "text", "text": "What is it?"}]
    messages = ({"role": "user", "content": question}, {"role": "assistant", "content": "Nothing."})
    return Shown("test", messages, (Medium("image", picture),), "nothing", False)


def test_conversations_fill_their_rows_evenly_and_media_keep_to_them(monkeypatch, tmp_path):
    monkeypatch.setattr(seeing, "shown", wide)
    monkeypatch.setattr(seeing, "ROW", 500)
    batch = ShownRows(tmp_path, TOKENIZER, CONFIG, NANO_LIMITS, 24, seed=1, only={"clothing": 1.0}).batch(0, 0)
    used_B = (batch.rows.segments_BT >= 0).sum(1)
    assert len(used_B) > 3 and used_B.min() > 0.8 * used_B.max()
    placed = batch.rows.segments_BT[batch.rows.ids_BT == PAD]
    seen, tokens = torch.unique_consecutive(placed, return_counts=True)
    assert sorted(seen.tolist()) == list(range(24)) and len(set(tokens.tolist())) > 3
    assert tokens.tolist() == [len(piece.pixels_P3SS) // 4 for piece in batch.media if isinstance(piece, Seen)]


@needs_data
def test_without_a_speaking_program_nothing_that_needs_it_is_drawn(monkeypatch):
    monkeypatch.setattr(seeing, "has_speech", lambda: False)
    names, weights = ShownRows(data_root(), TOKENIZER, CONFIG, NANO_LIMITS, 1, seed=1).families
    assert len(names) == len(weights) == sum(not family.needs_speech for family in FAMILIES)


def told_apart(shade: int, answer: str) -> ShownBatch:
    picture = Medium("image", np.full((56, 56, 3), shade, np.uint8))
    messages = (
        {"role": "user", "content": [{"type": "image"}]},
        {"role": "assistant", "content": answer},
    )
    items, pieces = prepare(Shown("test", messages, (picture,), answer, False), NANO_LIMITS, None)
    options = {"tokenizer": TOKENIZER, "thinking": False, "add_generation_prompt": False}
    made = seeing.render(messages, None, media=items, **options)
    row = np.asarray([made.ids], np.int64), np.asarray([made.mask]), np.zeros((1, len(made.ids)), np.int32)
    return ShownBatch(Batch.of(row), tuple(pieces))


def test_towers_learn_to_tell_pictures_apart_under_a_decoder_that_does_not_move():
    model = sensing()
    for name, weight in model.named_parameters():
        weight.requires_grad_(name.startswith("senses.vision"))
    batches = [told_apart(20, "x"), told_apart(230, "y")]
    optimizer = torch.optim.Adam([w for w in model.parameters() if w.requires_grad], lr=3e-3)
    losses = []
    for _ in range(40):
        loss = torch.stack([token_loss(model, b.rows, 0.0, media_rows(model, b.media)) for b in batches]).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] / 2


def test_towers_may_multiply_in_bfloat16():
    model = sensing()
    shade = np.linspace(0, 255, 56 * 56 * 3).reshape(56, 56, 3).astype(np.uint8)
    waves = np.sin(np.arange(9_000) / 9).astype(np.float32)
    shapes = (Medium("image", shade), Medium("image", shade[:28]), Medium("audio", waves))
    media = prepare(Shown("test", (), shapes, "", False), NANO_LIMITS, CONFIG.audio)[1]
    exact_ND = media_rows(model, tuple(media))
    with torch.autocast("cpu", torch.bfloat16):
        rows_ND = media_rows(model, tuple(media))
    assert rows_ND.dtype == torch.float32 and not rows_ND.equal(exact_ND)
    assert torch.cosine_similarity(rows_ND, exact_ND).min() > 0.999
    rows_ND.sum().backward()
    assert all(weight.grad is not None for weight in model.senses.parameters())


def test_there_are_no_rows_where_there_are_no_media():
    assert media_rows(sensing(), ()) is None and fresh_senses(memory_config(), 1) == {}
