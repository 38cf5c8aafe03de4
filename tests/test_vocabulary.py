"""Vocabularies that we write are read back, have the published special layout, and lose nothing."""

import pytest

from perilune.text import specials
from perilune.text.tokenizer import Tokenizer
from perilune.text.vocabulary import filler_tokens, single_bytes, write_vocabulary


@pytest.mark.parametrize("count", [256, 300, 70_000])
def test_a_filler_vocabulary_has_the_asked_size_and_loses_nothing(count, tmp_path):
    write_vocabulary(tmp_path, filler_tokens(count))
    tokenizer = Tokenizer.load(tmp_path)
    assert tokenizer.n_vocab == count + specials.SPECIAL_COUNT
    text = "Hello, wörld! 你好 \x00\n 12345"
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_the_special_tokens_keep_their_published_offsets(tmp_path):
    write_vocabulary(tmp_path, single_bytes())
    tokenizer = Tokenizer.load(tmp_path)
    assert {name: token_id - 256 for name, token_id in tokenizer.special.items() if "reserved" not in name} == {
        name: offset for offset, name in specials.OFFSETS.items()
    }
