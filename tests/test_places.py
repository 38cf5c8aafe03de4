"""Places: from a range of tokens back to the file, the lines and their text."""

import io
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_segments import BOOK, TEXT, normalised, piped
from test_segments import nano as nano_tokenizer

from perilune.documents.collect import collect
from perilune.documents.places import MAX_PLACE_CHARS, Places, read_lines
from perilune.documents.segments import segments
from perilune.errors import DocumentError, RequestError


def keep(sources, **settings):
    places = Places(nano_tokenizer())
    return places, list(places.keep(segments(sources, nano_tokenizer(), **settings)))


def range_of(segment, text):
    """The tokens that hold a text which stands once in a segment."""
    ends = [len(nano_tokenizer().decode_bytes(segment.ids[: end + 1])) for end in range(len(segment))]
    at = nano_tokenizer().decode_bytes(segment.ids).index(text.encode())
    start = next(i for i, end in enumerate(ends) if end > at)
    stop = next(i for i, end in enumerate(ends) if end >= at + len(text.encode()))
    return start, stop + 1


def test_a_place_in_a_file_and_in_a_pipe(tmp_path):
    (tmp_path / "book.txt").write_text(BOOK)
    sources = collect([tmp_path / "book.txt", "-"], stdin=io.BytesIO(BOOK.replace("\n", "\r\n").encode())).sources
    places, kept = keep(sources)
    assert len(places) == len(kept)
    for segment in (kept[3], kept[-2]):
        number = int(segment.lines[len(segment) // 2])
        place = places.place(segment.index, *range_of(segment, f"Line {number} of"))
        assert (place.name, place.path) == (segment.source.name, segment.source.path)
        assert (place.first_line, place.last_line) == (number, number)
        assert place.text == BOOK.split("\n")[number - 1]
    number = int(kept[3].lines[len(kept[3]) // 2])
    place = places.place(3, *range_of(kept[3], f"runs.\nLine {number} of"))
    assert (place.first_line, place.last_line) == (number - 1, number)
    assert place.text == "\n".join(BOOK.split("\n")[number - 2 : number])


@settings(deadline=None, max_examples=40)
@given(TEXT, st.data())
def test_any_range_of_any_text(text, data):
    text = normalised(text)
    places, kept = keep([piped(text)], segment_tokens=128)
    segment = data.draw(st.sampled_from(kept))
    start = data.draw(st.integers(0, len(segment) - 1))
    end = data.draw(st.integers(start + 1, len(segment)))
    place = places.place(segment.index, start, end)
    assert 1 <= place.first_line <= place.last_line <= text.count("\n") + 1
    assert place.text == "\n".join(text.split("\n")[place.first_line - 1 : place.last_line])
    tokens = nano_tokenizer().decode_bytes(segment.ids[max(start, segment.header_tokens) : end])
    assert tokens.rstrip(b"\n") in place.text.encode()


def test_the_header_stands_for_the_first_line_of_its_segment():
    places, kept = keep([piped(BOOK)])
    for segment in kept:
        assert places.lines(segment.index, 0, 1)[1:] == (int(segment.lines[segment.header_tokens]),) * 2


def test_lines_that_are_too_long_to_show_give_the_tokens(tmp_path):
    text = "first\n" + "".join(f"word{number} " for number in range(20_000)) + "\nlast"
    places, kept = keep([piped(text)])
    segment = kept[len(kept) // 2]
    place = places.place(segment.index, 100, 120)
    assert (place.first_line, place.last_line) == (2, 2)
    assert place.text == nano_tokenizer().decode(segment.ids[100:120])
    assert read_lines(piped(text), 3, 3) == "last"


@pytest.mark.parametrize("text", ["", "a", "a\n", "\n\n", "a\nb\nc", "é\n\n世界\n" * 40_000])
def test_lines_read_anew(text):
    lines = text.split("\n")
    for first in {1, len(lines) // 2 + 1, len(lines)}:
        for last in {first, min(first + 2, len(lines))}:
            assert read_lines(piped(text), first, last) == "\n".join(lines[first - 1 : last])
    assert read_lines(piped("x" * MAX_PLACE_CHARS), 1, 1) == "x" * MAX_PLACE_CHARS
    assert read_lines(piped("x" * (MAX_PLACE_CHARS + 1)), 1, 1) is None


def test_a_file_that_changed_since_gives_lines_but_no_text(tmp_path):
    path = tmp_path / "book.txt"
    path.write_text(BOOK)
    places, kept = keep(collect(path).sources)
    os.utime(path, ns=(1, 1))
    assert places.lines(0, 9, 10)[1] == kept[0].lines[9]
    with pytest.raises(DocumentError, match=r"book\.txt changed"):
        places.place(0, 9, 10)
    path.unlink()
    with pytest.raises(DocumentError, match=r"book\.txt cannot be read"):
        places.place(0, 9, 10)


@pytest.mark.parametrize(("index", "start", "end"), [(-1, 0, 1), (1, 0, 1), (0, -1, 1), (0, 3, 3), (0, 0, 10_000)])
def test_ranges_that_do_not_exist(index, start, end):
    places, _ = keep([piped("text")])
    with pytest.raises(RequestError, match=r"no segment|no range"):
        places.lines(index, start, end)


def test_segments_are_kept_in_order():
    _, kept = keep([piped(BOOK)])
    with pytest.raises(RequestError, match="segment 1 was added where 0 is next"):
        Places(nano_tokenizer()).add(kept[1])
