"""Tones and recordings: beeps can be counted, tones measured, parts hold the loudest moment."""

import os
import random
import re
from pathlib import Path

import numpy as np
import pytest

from perilune.corpus.media_sources import media_source
from perilune.corpus.sources import data_root
from perilune.tasks import sounds
from perilune.tasks.shown import Draw


def told(make, seed):
    made = make(Draw(random.Random(seed), True, Path(".")))
    return made, next(part for part in made.content if not isinstance(part, str)).data


def loud_runs(samples, window=320):
    """Start and end, in samples, of what is louder than silence."""
    level = np.abs(samples[: len(samples) // window * window].reshape(-1, window)).max(axis=1) > 0.02
    edges = np.flatnonzero(np.diff(np.concatenate([[0], level.astype(int), [0]])))
    return [(a * window, b * window) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def pitch(samples):
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return spectrum.argmax() * 16_000 / len(samples)


def test_as_many_beeps_sound_as_are_told():
    for seed in range(60):
        made, samples = told(sounds.beeps, seed)
        assert str(len(loud_runs(samples))) == re.search(r"\d", made.reply).group()


def test_the_second_tone_is_higher_or_lower_as_told():
    for seed in range(60):
        made, samples = told(sounds.pitch, seed)
        first, second = (pitch(samples[a:b]) for a, b in loud_runs(samples))
        assert ("higher" in made.reply) == (second > first)
        assert max(first, second) > 1.1 * min(first, second)


@pytest.mark.parametrize("sharp", [False, True])
def test_a_tone_has_its_pitch_and_soft_ends(sharp):
    samples = sounds.tone(440, 0.5, sharp)
    assert pitch(samples) == pytest.approx(440, abs=2)
    assert abs(samples[0]) < 1e-3 and abs(samples[-1]) < 0.05 and np.abs(samples).max() <= 1


def test_a_part_holds_the_loudest_moment():
    samples = np.zeros(80_000, np.float32)
    samples[70_000] = 0.9
    draw = Draw(random.Random(1), True, Path("."))
    for _ in range(20):
        cut = sounds.part(draw, samples, 2.0)
        assert len(cut) == 32_000 and cut.max() == samples.max()
    assert len(sounds.part(draw, samples[:100], 2.0)) == 100


@pytest.mark.skipif(not os.environ.get("PERILUNE_SHARED"), reason="PERILUNE_SHARED names no licensed data")
@pytest.mark.parametrize(("source", "label"), [("spoken_digits_fsdd", "7"), ("speech_commands_sample", "seven")])
def test_digits_to_train_on_come_from_both_sets_and_held_out_ones_from_their_own(source, label):
    for held_out in (False, True):
        own = media_source(source).pieces(data_root(), held_out)
        piece = next(piece for piece in own if piece.label == label)
        draw = Draw(random.Random(3), held_out, data_root())
        others = [other for _ in range(60) if (other := sounds._by_others(draw, piece)) is not piece]
        assert (8 < len(others) < 40) if not held_out else not others
        assert {other.label for other in others} <= {sounds.IN_THE_OTHER_SET[label][1]}
