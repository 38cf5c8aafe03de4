"""Reading through the store, and asking about it: the same pages in any order of work, from memory or from disk."""

import logging

import numpy as np
import pytest
import torch
from tiny_models import TOKENIZER, memory_transformer, tiny_transformer

from perilune.api import Model
from perilune.engine.reading import Piece, Reader
from perilune.engine.store import PrefixStore
from perilune.errors import ContextError, RequestError


def pieces(count=6, length=64, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, length) for _ in range(count)]


def same(a, b):
    return a.latents_CSL.equal(b.latents_CSL) and a.packed.equal(b.packed) and a.ids_CS.equal(b.ids_CS)


@pytest.fixture
def store(tmp_path):
    return PrefixStore(tmp_path / "store", 1 << 30)


def test_threads_do_not_change_a_page():
    model = memory_transformer()
    assert same(Reader(model, threads=1).read(pieces()), Reader(model, threads=3).read(pieces()))


def test_every_chunk_knows_the_first_one_of_its_piece():
    pages = Reader(memory_transformer()).read([*pieces(2), np.arange(20)])
    assert pages.heads_C.tolist() == [0, 0, 0, 0, 4, 4, 4, 4, 8, 8]


def test_what_was_read_comes_from_the_store(store):
    model, seen = memory_transformer(), []
    first = Reader(model, store, "weights").read(pieces())
    again = Reader(model, store, "weights").read(pieces(), lambda done, known: seen.append((done, known)))
    assert same(first, again)
    assert seen[-1] == (384, 384)


def test_other_weights_read_anew(store):
    Reader(memory_transformer(1), store, "one").read(pieces())
    seen = []
    pages = Reader(memory_transformer(2), store, "two").read(pieces(), lambda *now: seen.append(now))
    assert seen[-1] == (384, 0)
    assert same(pages, Reader(memory_transformer(2)).read(pieces()))


def test_a_changed_piece_is_read_and_the_others_are_not(store):
    model, text = memory_transformer(), pieces()
    Reader(model, store, "w").read(text)
    text[4] = text[4][::-1].copy()
    seen = []
    pages = Reader(model, store, "w").read(text, lambda *now: seen.append(now))
    assert seen[-1] == (384, 320)
    assert same(pages, Reader(model).read(text))


def test_a_piece_that_goes_on_depends_on_what_stands_before_it(store):
    model, text = memory_transformer(), pieces(2)
    cold = Reader(model, store, "w").read([text[0], text[1]])
    warm = Reader(model, store, "w").read([Piece(text[0]), Piece(text[1], goes_on=True)])
    assert warm.ids_CS.equal(cold.ids_CS)
    assert not warm.latents_CSL[4].equal(cold.latents_CSL[4])
    assert same(warm, Reader(model).read([Piece(text[0]), Piece(text[1], goes_on=True)]))


def test_a_damaged_node_is_read_anew(store, caplog):
    model = memory_transformer()
    first = Reader(model, store, "w").read(pieces())
    path = next(store.directory.rglob("*.node"))
    path.write_bytes(path.read_bytes()[:-7])
    with caplog.at_level(logging.WARNING, "perilune.store"):
        again = Reader(model, PrefixStore(store.directory, 1 << 30), "w").read(pieces())
    assert same(first, again)
    assert len(caplog.records) == 1


def test_stopping_keeps_what_was_read(store):
    model = memory_transformer()

    def stop(done, known):
        if done >= 128:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Reader(model, store, "w", threads=1).read(pieces(), stop)
    seen = []
    Reader(model, store, "w", threads=1).read(pieces(), lambda *now: seen.append(now))
    assert seen[-1][1] >= 128


def test_limits_say_what_would_be_right():
    model = memory_transformer(context=256)
    with pytest.raises(ContextError, match="256"):
        Reader(model).read(pieces(5))
    with pytest.raises(RequestError, match="1 to 64 tokens, got 65"):
        Reader(model).read([np.zeros(65, np.int64)])
    with pytest.raises(RequestError, match="nothing to read"):
        Reader(model).read([])
    with pytest.raises(RequestError, match="no chunk memory"):
        Reader(tiny_transformer())


def test_a_reading_answers_and_says_where_from():
    model = Model(memory_transformer(), TOKENIZER)
    text = [*pieces(3), np.arange(10)]
    reading = model.read(text)
    assert reading.length == 202
    found = reading.ask("where?", temperature=0.0, max_tokens=12, gold=[(0, 5), (194, 202)])
    again = reading.ask("where?", temperature=0.0, max_tokens=12)
    assert found.text == again.text and found.passages == again.passages
    assert set(found.recall) == {"layer 2", "layer 3"}
    for passage in found.passages:
        assert 0 <= passage.start < passage.end <= len(text[passage.piece])
        assert 0 < passage.share <= 1


def test_chunks_of_short_pieces_are_counted_apart():
    reading = Model(memory_transformer(), TOKENIZER).read([np.arange(5), np.arange(40), np.arange(20)])
    assert [reading.chunk_of(token) for token in (0, 4, 5, 20, 21, 44, 45, 64)] == [0, 0, 1, 1, 2, 3, 4, 5]


def test_what_was_read_counts_as_context():
    model = Model(memory_transformer(context=256), TOKENIZER)
    reading = model.read(pieces(3))
    with pytest.raises(ContextError, match="192 tokens were read"):
        reading.ask("x" * 60)


def test_a_conversation_goes_on_where_it_was():
    """A recurrent state cannot go back, so whole chunks of a prompt are kept for the next turn."""
    model = Model(memory_transformer(context=4096), TOKENIZER)
    model.engine.runner.prefill_chunk = 32
    messages = [{"role": "user", "content": "a" * 50}]
    first = model.chat(messages, temperature=0.0, max_tokens=4, thinking=False)
    more = [*messages, {"role": "assistant", "content": first.content}, {"role": "user", "content": "b"}]
    second = model.chat(more, temperature=0.0, max_tokens=4, thinking=False)
    assert second.usage.cached_tokens >= 32
    cold = Model(memory_transformer(context=4096), TOKENIZER)
    cold.engine.runner.prefill_chunk = 32
    assert cold.chat(more, temperature=0.0, max_tokens=4, thinking=False).tokens == second.tokens


def test_neighbours_do_not_change_a_reply():
    model = Model(memory_transformer(context=4096), TOKENIZER)
    prompts = [torch.randint(0, 256, (n,)).tolist() for n in (5, 30, 70)]
    together = [c.ids for c in model.generate_batch(prompts, temperature=0.0, max_tokens=6)]
    alone = [
        Model(memory_transformer(context=4096), TOKENIZER).generate(p, temperature=0.0, max_tokens=6).ids
        for p in prompts
    ]
    assert together == alone
