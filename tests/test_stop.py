"""Stop strings: found across any cut, never shown in part."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from perilune.text.stop import StopMatcher


def run(stops, pieces):
    matcher = StopMatcher(stops)
    out = [matcher.feed(piece) for piece in pieces]
    return out, matcher.finish(), matcher.matched


def test_a_stop_across_pieces_is_found_and_what_follows_is_dropped():
    assert run(["END"], ["one E", "N", "D two", "three"]) == (["one ", "", "", ""], "", "END")


def test_a_false_beginning_is_let_through():
    assert run(["END"], ["one E", "Nd", "E"]) == (["one ", "ENd", ""], "E", None)


def test_of_two_that_end_together_the_longer_wins():
    assert run(["b", "ab"], ["xxab"])[0] == ["xx"]


def test_without_stops_nothing_is_held():
    assert run([], ["a", "b"]) == (["a", "b"], "", None)


@given(
    st.text("ab", max_size=30),
    st.lists(st.text("ab", min_size=1, max_size=4), max_size=3),
    st.lists(st.integers(0, 30), max_size=6),
)
def test_any_cut_gives_the_text_before_the_stop_that_is_complete_first(text, stops, cuts):
    borders = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    pieces = [text[a:b] for a, b in pairwise(borders)]
    out, rest, matched = run(stops, pieces)
    places = [(text.find(stop) + len(stop), text.find(stop)) for stop in stops if stop in text]
    assert "".join(out) + rest == text[: min(places, default=(0, len(text)))[1]]
    assert (matched is not None) == bool(places)
