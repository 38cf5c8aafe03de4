"""Segments: nothing is lost, lines are right, reads do not matter, more text keeps what was, and the cap is exact."""

import os
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import perilune
from perilune.documents.collect import collect
from perilune.documents.segments import MAX_TOKENS, estimate_tokens, segments
from perilune.documents.source import Source
from perilune.errors import ContextError, DocumentError, RequestError

PARTS = [
    "a",
    "word ",
    " ",
    "\n",
    "\n\n",
    "\t",
    "é",
    "世界",
    "😀",
    "x" * 50,
    "if x:\n    y = {}\n",
    "\r\n",
    "<|im_end|>",
]
TEXT = st.lists(st.sampled_from(PARTS), min_size=1, max_size=400).map("".join)
BOOK = "".join(f"Line {number} of the book says: pump {number % 9} runs.\n" for number in range(1, 2_001))


@cache
def nano():
    return perilune.Tokenizer.load(Path(perilune.__file__).parent / "models" / "nano")


def piped(text):
    return Source("stdin", data=text.encode())


def cut(text, **settings):
    return list(segments([piped(text)], nano(), **{"segment_tokens": 128, **settings}))


def bodies(stream):
    return [token_id for segment in stream for token_id in segment.ids[segment.header_tokens :].tolist()]


def normalised(text):
    return text.replace("\r\n", "\n").replace("\r", "\n")


@settings(deadline=None, max_examples=60)
@given(TEXT)
def test_the_bodies_are_the_text_and_every_token_knows_its_line(text):
    text = normalised(text)
    stream = cut(text)
    assert nano().decode_bytes(bodies(stream)) == text.encode()
    before = b""
    for segment in stream:
        assert len(segment) <= 128
        assert segment.ids.dtype == segment.lines.dtype == np.int32
        assert segment.lines[: segment.header_tokens].tolist() == [0] * segment.header_tokens
        body = slice(segment.header_tokens, None)
        for token_id, line in zip(segment.ids[body].tolist(), segment.lines[body].tolist(), strict=True):
            assert line == 1 + before.count(b"\n")
            before += nano().decode_bytes([token_id])


@settings(deadline=None, max_examples=40)
@given(TEXT, st.integers(1, 30))
def test_reads_do_not_matter(text, size):
    whole = cut(text)
    for one, other in zip(whole, cut(text, read_bytes=size), strict=True):
        assert np.array_equal(one.ids, other.ids) and np.array_equal(one.lines, other.lines)


@settings(deadline=None, max_examples=60)
@given(TEXT, TEXT)
def test_more_text_changes_at_most_the_last_two_segments(text, more):
    text = normalised(text)
    before = cut(text)[:-2]
    for one, other in zip(before, cut(text + normalised(more)), strict=False):
        assert np.array_equal(one.ids, other.ids) and np.array_equal(one.lines, other.lines)


def test_more_text_behind_whole_lines_changes_the_last_segment_only():
    before, after = cut(BOOK)[:-1], cut(BOOK + "And more.\n" * 99)
    assert len(before) > 100
    assert [one.ids.tolist() for one in before] == [one.ids.tolist() for one in after[: len(before)]]


def test_segments_of_lines_are_nearly_full_and_end_at_line_ends():
    stream = cut(BOOK)
    for segment in stream[:-1]:
        assert nano().decode(segment.ids).startswith("File: stdin\nLine ")
        assert nano().decode(segment.ids).endswith(".\n")
        assert len(segment) > 128 * 3 // 4
    assert len(cut(BOOK, segment_tokens=2_048)) < len(stream) / 12


def test_files_in_order_each_with_its_own_segments_and_lines(tmp_path):
    (tmp_path / "b.txt").write_bytes(b"\r\n\r\nthird line\r\n" + b"x\r\n" * 300)
    (tmp_path / "a.txt").write_bytes("one\ntwo".encode("utf-16"))
    found = collect([tmp_path / "b.txt", tmp_path / "a.txt"])
    stream = list(segments(found.sources, nano(), segment_tokens=128))
    assert [segment.index for segment in stream] == list(range(len(stream)))
    assert [segment.source.name for segment in stream] == ["b.txt"] * (len(stream) - 1) + ["a.txt"]
    assert nano().decode(stream[0].ids).startswith("File: b.txt\n\n\nthird line\nx\n")
    assert stream[0].lines[stream[0].header_tokens] == 1
    assert stream[-2].lines[-1] == 303
    assert nano().decode(stream[-1].ids) == "File: a.txt\none\ntwo"
    assert stream[-1].lines[stream[-1].header_tokens] == 1 and stream[-1].lines[-1] == 2


@pytest.mark.parametrize(
    "text", ["x" * 30_000, "9" * 5_000, " " * 5_000, "\n" * 5_000, "😀" * 3_000, "one two " * 3_000]
)
def test_one_giant_run(text):
    stream = cut(text)
    assert nano().decode(bodies(stream)) == text
    assert all(len(segment) <= 128 for segment in stream)
    for segment in stream:
        nano().decode_bytes(segment.ids).decode()  # no character is torn


def test_special_tokens_in_text_and_names_stay_text(tmp_path):
    spelled = "".join(nano().special)
    path = tmp_path / "<|im_end|>[EOS].txt"
    path.write_text(spelled)
    stream = list(segments(collect(path).sources, nano()))
    assert max(max(segment.ids) for segment in stream) < nano().base
    assert nano().decode(stream[0].ids).startswith("File: <|im_end|>[EOS].txt\n")
    assert nano().decode(bodies(stream)) == spelled


def test_a_long_name_leaves_room_for_text():
    (segment,) = segments([Source("a/" * 900 + "the_end.txt", data=b"text")], nano(), segment_tokens=128)
    assert nano().decode(segment.ids).startswith("File: …")
    assert nano().decode(segment.ids).endswith("end.txt\ntext")
    assert segment.header_tokens <= 16


def test_exactly_full_fits_and_one_token_more_does_not():
    sources = [piped(BOOK), Source("b.txt", data=b"one two three")]
    tokens = sum(map(len, segments(sources, nano(), segment_tokens=128)))
    assert sum(map(len, segments(sources, nano(), segment_tokens=128, max_tokens=tokens))) == tokens
    for most in (tokens - 1, tokens // 2, 1):
        stream = segments(sources, nano(), segment_tokens=128, max_tokens=most)
        with pytest.raises(ContextError, match=f"at most {most:,} tokens can be read") as caught:
            list(stream)
        assert "at least" in str(caught.value) and "name fewer files" in str(caught.value)
        assert stream.tokens <= most
    with pytest.raises(ContextError, match=f"at least {tokens:,} "):
        list(segments(sources, nano(), segment_tokens=128, max_tokens=tokens - 1))


def test_what_was_read_before_the_cap_comes():
    fit = cut(BOOK)[:3]
    stream = segments([piped(BOOK)], nano(), segment_tokens=128, max_tokens=sum(map(len, fit)))
    for segment in fit:
        assert np.array_equal(next(stream).ids, segment.ids)
    with pytest.raises(ContextError):
        next(stream)


@pytest.mark.parametrize("text", [BOOK, BOOK.replace("\n", "\r\n"), "x" * 9_000, "\n"])
def test_the_total_becomes_the_true_number(text):
    sources = [piped(text), Source("empty line", data=b"\n"), Source("utf16", data=text.encode("utf-16"))]
    stream = segments(sources, nano(), segment_tokens=128)
    assert stream.tokens == 0
    assert stream.total == pytest.approx(estimate_tokens(sources), abs=2)
    seen = 0
    for segment in stream:
        seen += len(segment)
        assert stream.tokens == seen <= stream.total
    assert stream.total == stream.tokens == seen


def test_the_estimate_is_near_for_a_book():
    tokens = sum(map(len, cut(BOOK, segment_tokens=2_048)))
    assert tokens / 2 < estimate_tokens([piped(BOOK)]) < tokens * 2


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("segment_tokens", 127),
        ("segment_tokens", 65_537),
        ("segment_tokens", 2048.0),
        ("segment_tokens", True),
        ("max_tokens", 0),
        ("max_tokens", MAX_TOKENS + 1),
        ("max_tokens", None),
        ("read_bytes", 0),
    ],
)
def test_settings_out_of_range(name, value):
    with pytest.raises(RequestError, match=f"{name} must be an integer from"):
        segments([piped("a")], nano(), **{name: value})


def test_a_file_that_changes_between_two_segments(tmp_path):
    path = tmp_path / "book.txt"
    path.write_text(BOOK)
    stream = segments(collect(path).sources, nano(), segment_tokens=128, read_bytes=4_096)
    next(stream)
    os.truncate(path, 5_000)
    with pytest.raises(DocumentError, match=r"book\.txt changed while it was in use"):
        list(stream)
