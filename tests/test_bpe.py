"""The vocabulary trainer: the file tiktoken reads gives the very segmentation that training saw."""

import json
from collections import Counter

import pytest

from perilune.errors import TokenizerError
from perilune.text import specials
from perilune.text.tokenizer import Tokenizer
from perilune.text.vocabulary import single_bytes, write_vocabulary
from perilune.train.bpe import count_words, merge, train_bpe, train_ranks

TEXT = 'the fox and the dog met near the old river. The fox said: "I\'m late!" 12 + 345 = 357, naïve 漢字 '


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    out = tmp_path_factory.mktemp("vocabulary")
    return out, train_bpe([TEXT * 3, "foxes and dogs\n\nrivers"], out, 300)


def test_all_single_bytes_come_first():
    assert sorted(single_bytes()) == [bytes([b]) for b in range(256)]
    assert single_bytes()[0] == b"!"


def test_loaded_by_the_tokenizer_and_lossless(small):
    out, tokens = small
    tokenizer = Tokenizer.load(out)
    assert tokenizer.n_vocab == 300 + 256
    assert len(set(tokens)) == 300
    assert tokenizer.decode(tokenizer.encode(TEXT)) == TEXT


def test_tiktoken_segments_as_the_trainer_does(small):
    out, tokens = small
    tokenizer, ranks = Tokenizer.load(out), {token: rank for rank, token in enumerate(tokens)}
    for word in count_words([TEXT, "foxes the there other"]):
        pieces = merge([bytes([b]) for b in word.encode()], ranks)
        assert tokenizer.encode(word) == [ranks[piece] for piece in pieces], word


def test_split_agrees_with_tiktoken(small):
    tokenizer, text = Tokenizer.load(small[0]), TEXT + "DON'T stop\r\n  x\t\ty 北京2026年 😀"
    pieces = [piece for word in regex_split(text) for piece in tokenizer.encode(word)]
    assert tokenizer.encode(text) == pieces


def regex_split(text):
    import regex

    from perilune.text.tokenizer import SPLIT_PATTERN

    return regex.findall(SPLIT_PATTERN, text, regex.VERSION1)


def test_digits_never_merge(small):
    tokenizer = Tokenizer.load(small[0])
    assert len(tokenizer.encode("357")) == 3


def test_most_frequent_pair_merges_first_and_ties_are_settled():
    tokens = train_ranks(Counter({"ab": 3, "cd": 3, "xyz": 9}), 259)
    assert tokens[256:] == [b"xy", b"xyz", b"ab"]


def test_training_twice_gives_the_same_ranks():
    words = count_words([TEXT])
    assert train_ranks(words, 290) == train_ranks(Counter(dict(reversed(words.items()))), 290)


def test_too_little_text_is_an_error():
    with pytest.raises(TokenizerError, match="give more text"):
        train_ranks(Counter({"ab": 1}), 300)
    with pytest.raises(TokenizerError, match="at least 256"):
        train_ranks(Counter(), 100)


def test_special_tokens_keep_the_published_offsets(tmp_path):
    write_vocabulary(tmp_path, single_bytes())
    added = json.loads((tmp_path / "tokenizer_config.json").read_text())["added_tokens_decoder"]
    assert {int(key) - 256: value["content"] for key, value in added.items()} == specials.OFFSETS
    assert [v["content"] for v in added.values() if not v["special"]] == [
        specials.SECTION_BEGIN,
        specials.SECTION_END,
        specials.CALL_BEGIN,
        specials.ARGUMENT_BEGIN,
        specials.CALL_END,
        specials.THINK,
        specials.END_THINK,
    ]
