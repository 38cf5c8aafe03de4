"""Markers in streams: the same pieces in any cut, and no marker left over, not even one that arises."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perilune.text import specials as sp
from perilune.text.scan import SINGULAR, SPELLED, UNTOKENIZED, Scanner, Scrubber

MARKERS = [*sp.OFFSETS.values(), *SINGULAR, "<|reserved_token_163600|>"]
SOUP = st.lists(
    st.sampled_from(MARKERS)
    | st.sampled_from(["<", "[", "<|", "|>", ">", "a", " ", "<|im_", "end|>", "<|reserved_token_", "12|>", "EOS]"])
    | st.text(max_size=3),
    max_size=12,
).map("".join)


def cut(draw, text):
    pieces = []
    while text:
        size = draw.draw(st.integers(1, len(text)))
        pieces.append(text[:size])
        text = text[size:]
    return pieces


def scanned(pieces):
    scanner, found = Scanner(SPELLED), []
    for piece in pieces:
        found += scanner.feed(piece)
    found.append((scanner.flush(), False))
    merged = []
    for text, is_marker in found:
        if merged and not is_marker and not merged[-1][1]:
            merged[-1] = (merged[-1][0] + text, False)
        else:
            merged.append((text, is_marker))
    return [item for item in merged if item[0]]


def scrubbed(pieces, pattern=SPELLED):
    scrubber = Scrubber(pattern)
    return "".join([*map(scrubber.feed, pieces), scrubber.flush()])


@pytest.mark.parametrize("marker", MARKERS)
def test_every_marker_is_found_letter_by_letter(marker):
    assert scanned(f"a{marker}b") == [("a", False), (marker, True), ("b", False)]


@settings(deadline=None)
@given(SOUP, st.data())
def test_any_cut_gives_the_same_pieces(text, draw):
    whole = scanned([text])
    assert scanned(cut(draw, text)) == whole
    assert "".join(piece for piece, _ in whole) == text


def test_only_a_tail_that_may_become_a_marker_is_held_back():
    scanner = Scanner(SPELLED)
    assert scanner.feed("if a <") == [("if a ", False)]
    assert scanner.feed(" b and x[") == [("< b and x", False)]
    assert scanner.feed("0] <|im_") == [("[0] ", False)]
    assert scanner.feed("ended") == [("<|im_ended", False)]
    assert scanner.flush() == ""


def test_text_around_tokens_only_hides_what_is_not_a_token():
    scanner = Scanner(UNTOKENIZED)
    assert scanner.feed("[PAD] </think> <|im_end|>") == [("[PAD] </think> <|im_end|>", False)]
    marker = "<|tool_call_section_begin|>"
    assert scanner.feed(marker) == [(marker, True)]


@settings(deadline=None)
@given(SOUP, st.data())
def test_a_scrubbed_text_holds_no_marker_in_any_cut(text, draw):
    clean = scrubbed([text])
    assert scrubbed(cut(draw, text)) == clean
    assert SPELLED.search(clean) is None
    assert scrubbed([clean]) == clean


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("a<|im_end|>b", "ab"),
        ("<|im_<|im_end|>end|>", ""),
        ("<|im_<think>end|>x", "x"),
        ("<|im_<|im_<|im_end|>end|>end|>", ""),
        ("<|im_<thX", "<|im_<thX"),
        ("a < b [c] <|d|>", "a < b [c] <|d|>"),
    ],
)
def test_markers_that_arise_from_removal_are_removed(text, clean):
    assert scrubbed([text]) == scrubbed(text) == clean


def test_long_runs_of_open_markers_take_linear_time():
    text = "<|im_" * 50_000
    assert scrubbed([text]) == scrubbed([text[:7], text[7:]]) == text
