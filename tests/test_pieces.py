"""Pieces: the same for any reads, stable at the end, cut at line ends and spaces before anywhere else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_vocab import tiny_tokenizer

from perilune.documents.pieces import pieces

TEXT = st.lists(st.sampled_from(["a", "bc", " ", "\n", "\n\n", "\t", "é", "word" * 9, "x = {}\n", "\u2028"])).map(
    "".join
)


@pytest.mark.parametrize(
    ("text", "limit", "expected"),
    [
        ("", 10, []),
        ("one\ntwo\n", 10, ["one\n", "two\n"]),
        ("one\n\n  \n  two", 10, ["one\n\n  \n", "  two"]),
        ("\n\none", 10, ["\n\n", "one"]),
        ("a long line\nx", 8, ["a long", " line\n", "x"]),
        ("exactly\nx", 8, ["exactly\n", "x"]),
        ("unbroken words", 4, ["unbr", "oken", " wor", "ds"]),
        ("ab\n          c", 4, ["ab\n", "    ", "    ", "  c"]),
        ("\n" * 9, 4, ["\n" * 4, "\n" * 4, "\n"]),
        ("世界" * 3, 4, ["世界世界", "世界"]),
    ],
)
def test_where_pieces_end(text, limit, expected):
    assert list(pieces([text], limit)) == expected


@given(TEXT, st.integers(1, 40), st.integers(1, 50))
def test_reads_do_not_matter(text, limit, size):
    whole = list(pieces([text], limit))
    assert list(pieces((text[start : start + size] for start in range(0, len(text), size)), limit)) == whole
    assert "".join(whole) == text
    assert all(0 < len(piece) <= limit for piece in whole)


@given(TEXT, TEXT, st.integers(1, 40))
def test_more_text_changes_only_the_last_piece(text, more, limit):
    before = list(pieces([text], limit))[:-1]
    assert list(pieces([text + more], limit))[: len(before)] == before


@given(
    st.lists(st.sampled_from(["word", " two", "\n", "\n\n", "  if x:", "é!", "12345", "\t", ";"]), max_size=60).map(
        "".join
    )
)
def test_the_ids_are_those_of_the_whole_text(text):
    tokenizer = tiny_tokenizer()
    limit = 1 + max((len(line) for line in text.split("\n")), default=0) + text.count("\n")
    ids = [token_id for piece in pieces([text], limit + 40) for token_id in tokenizer.encode(piece)]
    assert ids == tokenizer.encode(text)
