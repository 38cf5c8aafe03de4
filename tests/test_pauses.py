"""Turns of speech by energy alone: the same whatever the pieces, and every sample is in a turn or counted."""

import numpy as np
import pytest
from sounds import noise

from perilune.errors import RequestError
from perilune.media import pauses as rules
from perilune.media.pauses import FRAME, Pauses

SECOND = 16_000


def silence(seconds):
    return np.zeros(round(SECOND * seconds), np.float32)


def speech(seconds, seed=0):
    return noise(round(SECOND * seconds), seed)


def turns(sound_T, sizes=(), **settings):
    """What each turn holds and where it begins, and the samples left out."""
    cut, made, at, open_now = Pauses(**settings), [], 0, False
    pieces = []
    for size in sizes:
        pieces += cut.feed(sound_T[at : at + size])
        at += size
    for piece in [*pieces, *cut.feed(sound_T[at:]), *cut.finish()]:
        if not open_now:
            made.append((piece.first, []))
        assert piece.first == made[-1][0] + sum(map(len, made[-1][1]))
        made[-1][1].append(piece.samples_T)
        open_now = not piece.ends
    assert not open_now
    return [(first, np.concatenate(held)) for first, held in made], cut.left_out


SOUND = np.concatenate([silence(2), speech(0.7), silence(0.3), speech(0.4, 1), silence(1.7), speech(0.613, 2)])


def test_a_short_gap_stays_in_its_turn_and_a_pause_ends_it():
    made, left_out = turns(SOUND)
    assert [first for first, _ in made] == [round(1.5 * SECOND), round(4.6 * SECOND)]
    assert [len(held) for _, held in made] == [round(2.4 * SECOND), round(1.113 * SECOND)]
    assert left_out == round(2.2 * SECOND)


@pytest.mark.parametrize("sizes", [[1] * 400, [FRAME] * 60, [1600] * 70, [777, 0, 33_333, 5]])
def test_pieces_of_any_size_give_the_same_turns(sizes):
    whole, left_out = turns(SOUND)
    parts, also_left_out = turns(SOUND, sizes)
    assert left_out == also_left_out and len(parts) == len(whole)
    for (first, held_T), (also, same_T) in zip(whole, parts, strict=True):
        assert (
            first == also
            and np.array_equal(held_T, same_T)
            and np.array_equal(SOUND[first : first + len(held_T)], held_T)
        )
    assert left_out + sum(len(held_T) for _, held_T in whole) == len(SOUND)


def test_silence_is_no_turn_and_is_counted_to_the_last_sample():
    assert turns(silence(1.01)[:-7]) == ([], round(1.01 * SECOND) - 7)
    assert turns(silence(0)) == ([], 0)


def test_what_is_loud_is_a_matter_of_the_floor():
    assert len(turns(speech(1))[0]) == 1  # about −20 dB
    assert len(turns(speech(1), floor_db=-10.0)[0]) == 0


def test_speech_without_a_pause_is_cut_and_nothing_of_it_is_lost(monkeypatch):
    monkeypatch.setattr(rules, "MAX_TURN_SECONDS", 0.5)
    made, left_out = turns(speech(1.2))
    assert [len(held) / SECOND for _, held in made] == [0.5, 0.5, pytest.approx(0.2)] and left_out == 0


@pytest.mark.parametrize("settings", [{"floor_db": 3.0}, {"floor_db": float("nan")}, {"pause_seconds": 0.0}])
def test_settings_that_make_no_sense_are_refused(settings):
    with pytest.raises(RequestError, match="must be from"):
        Pauses(**settings)
