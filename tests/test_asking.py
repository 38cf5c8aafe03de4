"""Rows of reading and asking: what is learned, which chunks hold it, and that training on them learns it."""

import random

import pytest
import torch
from tiny_models import memory_config

from perilune.model import live
from perilune.model.copy_head import Pointing
from perilune.model.model import Transformer
from perilune.tasks.lookup import Laid, Lookup
from perilune.tasks.lookup_types import question
from perilune.text.tokenizer import Tokenizer
from perilune.train import asking
from perilune.train.asking import AskRows, Bank, ask_loss

TOKENIZER = Tokenizer({bytes([byte]): byte for byte in range(256)})


@pytest.fixture(autouse=True)
def short_lookups(monkeypatch):
    """Six short needles a document, so that a byte vocabulary and a tiny network are enough."""

    def make(rng: random.Random, needles: int, held_out: bool) -> Lookup:
        keys = rng.sample("abcdefghijklmnop", 6)
        values = [str(rng.randrange(10, 100)) for _ in keys]
        lines = tuple(f"{key} = {value};" for key, value in zip(keys, values, strict=True))
        return Lookup(
            "toy",
            lines,
            tuple(question(f"{k}?", (v,), (i,)) for i, (k, v) in enumerate(zip(keys, values, strict=True))),
            "noise",
        )

    monkeypatch.setattr(asking, "LOOKUPS", {"toy": make})
    monkeypatch.setattr(asking, "WEIGHTS", {"toy": 1.0})
    monkeypatch.setattr(asking, "LENGTHS", (128,))
    monkeypatch.setattr(asking, "filler", lambda *_: iter(lambda: " The wind is cold.", None))


def rows(tokens=512, questions=8):
    return AskRows(None, TOKENIZER, 0, 16, tokens, questions)


def test_rows_are_a_function_of_the_step():
    a, b, other = rows().batch(3, 0), rows().batch(3, 0), rows().batch(4, 0)
    assert a.read_BT.equal(b.read_BT) and a.live_QL.equal(b.live_QL) and a.gold_QC.equal(b.gold_QC)
    assert not a.read_BT.equal(other.read_BT)
    assert not a.read_BT.equal(rows().batch(3, 1).read_BT)


def test_gold_chunks_hold_the_answers():
    batch = rows().batch(0, 0)
    chunks = batch.read_BT.view(-1, 16)
    for live_ids, mask, gold in zip(batch.live_QL, batch.mask_QL, batch.gold_QC, strict=True):
        reply = TOKENIZER.decode(live_ids[mask].tolist()[:-1])
        inside = [i for i in chunks[gold].flatten().tolist() if i >= 0]
        assert reply in TOKENIZER.decode(inside)


def test_a_value_follows_every_place_where_what_answers_begins():
    batch = rows().batch(0, 0)
    for live_ids, mask, begins in zip(batch.live_QL, batch.mask_QL, batch.begins_QCS.flatten(1), strict=True):
        reply = TOKENIZER.decode(live_ids[mask].tolist()[:-1]).strip()
        assert begins.any()
        for place in begins.nonzero().flatten().tolist():
            after = batch.read_BT.flatten()[place + 1 : place + 30]
            assert TOKENIZER.decode(after[after >= 0].tolist()).strip()[:2] in reply


def test_begins_insides_and_ends_are_those_of_values():
    batch = rows().batch(0, 0)
    for marks in zip(batch.begins_QCS, batch.inside_QCS, batch.ends_QCS, strict=True):
        begins, inside, ends = (mark.flatten() for mark in marks)
        assert ends.any() and (inside | ~ends).all()
        after = torch.cat((torch.zeros(1, dtype=torch.bool), begins[:-1]))
        assert (inside | ~after).all()


def test_only_replies_are_learned_and_reading_begins_with_the_assistant():
    batch = rows().batch(0, 0)
    assert (batch.live_QL.gather(1, batch.first_Q.unsqueeze(1)) == TOKENIZER.special_id("<|im_assistant|>")).all()
    assert (batch.mask_QL.int().argmax(1) > batch.first_Q).all()


def test_a_needle_that_does_not_fit_is_drawn_again(monkeypatch):
    calls = []

    def lay(rng, lookup, filler, tokens, encode):
        calls.append(tokens)
        length = 400 if len(calls) == 1 else 100
        return Laid(torch.zeros(length, dtype=torch.int32).numpy(), tuple((0, 5) for _ in lookup.needles))

    monkeypatch.setattr(asking, "lay", lay)
    batch = rows(tokens=128).batch(0, 0)
    assert len(calls) == 2 and batch.read_BT.shape == (1, 128)


def test_the_bank_keeps_the_newest_chunks():
    model = Transformer(memory_config())
    model.init_weights(0)
    bank = Bank(40)
    for step in range(3):
        made = ask_loss(model, rows().batch(step, 0), bank.pages)
        bank.add(made.pages)
    assert bank.pages.ids_CS.shape[0] == 40
    assert bank.pages.ids_CS[:32].equal(made.pages.ids_CS)
    assert not bank.pages.keys_CSGI.requires_grad


def test_a_tiny_network_learns_to_find_and_copy():
    """The whole road at once: reading, choosing, pointing and the loss that joins them."""
    torch.manual_seed(0)
    model = Transformer(memory_config())
    model.init_weights(0)
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    losses = []
    for step in range(60):
        batch = rows(tokens=256).batch(step, 0)
        made = ask_loss(model, batch)
        loss = made.replies / batch.trained + 0.3 * made.selection
        optimizer.zero_grad()
        loss.backward()
        assert all(w.grad.isfinite().all() for w in model.parameters() if w.grad is not None)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(float(loss.detach()))
    assert sum(losses[-10:]) < 0.6 * sum(losses[:10])


def test_given_chunks_take_no_gradient():
    model = Transformer(memory_config())
    model.init_weights(0)
    own = live.read(model, rows(tokens=128).batch(0, 0).read_BT)
    with torch.no_grad():
        given = live.read(model, rows(tokens=128).batch(1, 0).read_BT)
    both = live.joined(own, given)
    assert both.fixed == 8 and both.ids_CS.shape[0] == 16


def test_layers_that_read_can_be_left_as_they_are():
    model = Transformer(memory_config())
    model.init_weights(0)
    made = ask_loss(model, rows().batch(0, 0), learn_lower=False)
    (made.replies + made.selection).backward()
    assert all(weight.grad is None for block in model.lower for weight in block.parameters())
    assert all(weight.grad is not None for weight in model.second_look.parameters())


def test_a_document_is_called_what_the_answer_says(monkeypatch):
    def make(rng: random.Random, needles: int, held_out: bool) -> Lookup:
        asked = question("Where is f?", ("a/b.py",), (0,))
        return Lookup("toy", ("def f(): pass",), (asked,), "noise", file="a/b.py")

    monkeypatch.setattr(asking, "LOOKUPS", {"toy": make})
    batch = rows(tokens=128).batch(0, 0)
    text = TOKENIZER.decode([i for i in batch.read_BT[0].tolist() if i >= 0])
    assert text.startswith("File: a/b.py\n") and "def f(): pass" in text
    start = text.index("def f")
    assert batch.gold_QC[0].nonzero().flatten().tolist() == list(range(start // 16, (start + 12) // 16 + 1))
    gold = batch.read_BT.view(-1, 16)[batch.gold_tokens_QCS[0]]
    assert TOKENIZER.decode(gold.tolist()) == "File: a/b.py\n"


def test_a_target_is_learned_from_the_needle_where_it_stands_there():
    """The same value elsewhere teaches nothing, unless no needle holds it."""
    torch.manual_seed(0)
    pointing = Pointing(torch.randn(1, 2, 5), torch.tensor([[7, 8, 7, 9, 8]]), torch.zeros(1, 2))
    gold = torch.tensor([[False, False, True, False, False]])
    p = pointing.logits_BTA.softmax(-1)[0] * 0.5
    got = pointing.log_copy(torch.tensor([[7, 8]]), gold)[0].exp()
    torch.testing.assert_close(got, torch.stack((p[0, 2], p[1, 1] + p[1, 4])))
