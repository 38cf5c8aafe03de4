"""Packing: documents stay whole and apart, first tokens are never targets, nothing is lost."""

import json
import random

import numpy as np
import pytest

from perilune.corpus.document import Document
from perilune.corpus.encode import Encoded, encode, plain_text
from perilune.tasks.families import family
from perilune.text.tokenizer import Tokenizer
from perilune.text.vocabulary import single_bytes, write_vocabulary
from perilune.train.mixture import Part, conversation
from perilune.train.pack import pack_rows, write_packed
from perilune.train.packed import CONTEXT, Packed


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    out = tmp_path_factory.mktemp("bytes")
    write_vocabulary(out, single_bytes())
    return Tokenizer.load(out)


def shown(encoded, tokenizer):
    return tokenizer.decode([i for i, learned in zip(encoded.ids, encoded.mask, strict=True) if learned])


def test_rows_keep_documents_whole_and_apart():
    rng = random.Random(0)
    lengths = [rng.randrange(2, 60) for _ in range(500)]
    documents = [Encoded([n] * length, [True] * length) for n, length in enumerate(lengths)]
    rows = list(pack_rows(iter(documents), 65))
    assert sum(len(row.ids) for row in rows) == sum(lengths)
    assert sum(len(row.ids) for row in rows) / (65 * len(rows)) > 0.9
    for row in rows:
        assert len(row.ids) <= 65
        for segment in set(row.segments):
            places = [i for i, s in enumerate(row.segments) if s == segment]
            assert len({row.ids[i] for i in places}) == 1
            assert len(places) == lengths[row.ids[places[0]]]
            assert not row.mask[places[0]] and all(row.mask[i] for i in places[1:])


def test_long_documents_are_cut_without_loss():
    rows = list(pack_rows(iter([Encoded(list(range(150)), [True] * 150)]), 64))
    assert sorted(i for row in rows for i in row.ids) == list(range(150))


def test_only_replies_are_learned(tokenizer):
    example = next(e for e in family("calculation").examples(range(50)) if e.thinking)
    document = Document("generated", messages=example.messages, thinking=True)
    last = example.messages[-1]
    expected = f"{last['reasoning_content']}</think>{last['content']}<|im_end|>"
    assert shown(encode(document, tokenizer), tokenizer) == expected


def test_plain_text_is_learned_to_its_end(tokenizer):
    encoded = encode(Document("stories", text="A fox."), tokenizer)
    assert shown(encoded, tokenizer) == " fox.[EOS]"


def test_replies_that_lost_their_reasoning_are_not_learned(tokenizer):
    first, second = [e for e in family("calculation").examples(range(50)) if e.thinking][:2]
    document = conversation([first, second])
    learned = shown(encode(document, tokenizer), tokenizer)
    assert learned.startswith(second.messages[-1]["reasoning_content"])
    assert all("reasoning_content" not in message for message in document.messages[:-1])


def test_plain_text_of_a_call_has_declaration_and_arguments():
    example = family("tool_call").example(5)
    text = plain_text(Document("generated", messages=example.messages, tools=example.tools))
    assert "namespace functions" in text
    assert example.messages[-1]["tool_calls"][0]["function"]["arguments"] in text


HELD_OUT = [Document("stories", text="An owl."), Document("stories", text="A bear.")]


def generated(name, group):
    def documents(root, rng):
        return (Document(name, text=f"{group} {rng.random()} " * rng.randrange(5, 30)) for _ in range(400))

    return Part(name, group, 60_000, 1, documents)


@pytest.fixture(scope="module")
def corpus(tokenizer, tmp_path_factory):
    out = tmp_path_factory.mktemp("packed")
    parts = (generated("generated_a", "language"), generated("generated_b", "chat"))
    return out, write_packed(out, tokenizer, out, parts=parts, held_out=HELD_OUT), parts


def test_the_index_accounts_for_every_token(corpus, tokenizer):
    out, index, _ = corpus
    packed = Packed.open(out)
    assert packed.n_vocab == tokenizer.n_vocab and packed.context == CONTEXT
    for name in ("language", "chat"):
        used = int((packed.groups[name].segments_RS != 65_535).sum())
        assert used == index["groups"][name]["tokens"]
    assert sum(s["tokens"] for s in index["sources"].values()) == sum(
        index["groups"][name]["tokens"] for name in ("language", "chat")
    )
    assert index["groups"]["held_out"]["rows"] == 1
    assert json.loads((out / "index.json").read_text()) == index


def test_packing_again_gives_the_same_bytes(corpus, tokenizer, tmp_path):
    out, _, parts = corpus
    write_packed(tmp_path, tokenizer, out, parts=parts, held_out=HELD_OUT)
    for name in ("language.ids", "chat.mask", "index.json"):
        assert (tmp_path / name).read_bytes() == (out / name).read_bytes()
    assert np.all(Packed.open(out).batch(0, 1)[0] >= 0)


def test_rows_are_as_long_as_asked(corpus, tokenizer, tmp_path):
    _, usual, parts = corpus
    index = write_packed(tmp_path, tokenizer, tmp_path, parts=parts, context=256, held_out=HELD_OUT)
    packed = Packed.open(tmp_path)
    assert packed.context == 256 and packed.batch(0, 2)[0].shape == (2, 257)
    assert index["groups"]["language"]["tokens"] == usual["groups"]["language"]["tokens"]
    assert index["groups"]["language"]["rows"] > 3 * usual["groups"]["language"]["rows"]
