"""Filler: endless, seeded, parted by spaces and lines, and another text for scoring than for training."""

import os
import random
from itertools import islice

import pytest

from perilune.corpus.filler import KINDS, NOISE, filler
from perilune.corpus.sources import data_root
from perilune.errors import ConfigError

SOME = ("text", "code", "noise")


def some(kind, seed=0, held_out=False, count=300, root=None):
    return list(islice(filler(kind, root, random.Random(seed), held_out), count))


@pytest.mark.parametrize("kind", SOME)
@pytest.mark.parametrize("held_out", [False, True], ids=["train", "held-out"])
def test_pieces_never_end_and_begin_with_what_parts_them(kind, held_out):
    pieces = some(kind, 1, held_out)
    assert len(pieces) == 300 and pieces == some(kind, 1, held_out)
    assert pieces != some(kind, 2, held_out)
    assert all(piece[0] in " \n" and piece.strip() for piece in pieces)
    assert pieces[0].startswith("\n")


def test_noise_of_scoring_is_not_that_of_training():
    assert not set(NOISE[True]) & set(NOISE[False])
    assert {piece.strip() for piece in some("noise", 3, True)} == set(NOISE[True])


def test_programs_of_scoring_are_not_those_of_training():
    train, held_out = (
        {piece for seed in range(9) for piece in some("code", seed, side) if len(piece) > 160} for side in (False, True)
    )
    assert len(train & held_out) < 0.02 * len(train)


def test_nothing_stands_between_needles_and_an_unknown_kind_is_refused():
    assert some("needles") == []
    with pytest.raises(ConfigError, match=", ".join(KINDS)):
        filler("poems", None, random.Random(0), False)


@pytest.mark.skipif(not os.environ.get("PERILUNE_SHARED"), reason="PERILUNE_SHARED names no folder with licensed data")
def test_licensed_texts_are_split():
    root = data_root()
    held_out = {piece for piece in some("text", 0, True, 4_000, root) if len(piece) > 120}
    train = {piece for piece in some("text", 0, False, 4_000, root) if len(piece) > 120}
    assert len(held_out) > 300 and len(train) > 300
    assert len(held_out & train) <= 2
