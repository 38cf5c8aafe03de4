"""Sound at the pace at which it plays, on a clock that tests move, and a microphone that is not there."""

import importlib.util
import types

import numpy as np
import pytest
from sounds import noise

from perilune.errors import MediaError
from perilune.media import incoming
from perilune.media.incoming import BLOCK, Microphone, Paced


class Clock:
    """Time passes when somebody sleeps, or is told to."""

    def __init__(self, monkeypatch):
        self.now = 50.0
        monkeypatch.setattr(incoming, "monotonic", lambda: self.now)
        monkeypatch.setattr(incoming, "sleep", self.sleep)

    def sleep(self, seconds):
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


def test_a_file_takes_as_long_as_it_plays(clock):
    sound_T = noise(16_000 + 77)
    source, taken = Paced(sound_T), []
    while (piece_T := source.take(wait=True)) is not None:
        taken.append(piece_T)
    assert np.array_equal(np.concatenate(taken), sound_T)
    assert clock.now == pytest.approx(50 + len(sound_T) / 16_000) and source.behind == pytest.approx(0, abs=1e-6)


def test_what_has_not_been_played_cannot_be_taken(clock):
    source = Paced(noise(5 * BLOCK))
    assert source.take(wait=False).shape == (0,)
    clock.now += 0.25
    assert source.behind == pytest.approx(0.25)
    assert [len(source.take(wait=False)) for _ in range(3)] == [BLOCK, BLOCK, 0]
    clock.now += 100
    assert source.behind == pytest.approx(0.3)


def test_fast_does_not_wait_and_is_never_behind(clock):
    source, count = Paced(noise(3 * BLOCK), fast=True), 0
    while source.take(wait=True) is not None:
        count += 1
    assert count == 3 and clock.now == 50 and source.behind == 0


@pytest.mark.skipif(importlib.util.find_spec("sounddevice") is not None, reason="the package is installed")
def test_without_the_package_there_is_one_clear_error():
    with pytest.raises(MediaError, match=r"perilune\[mic\].*--file SOUND"), Microphone().opened():
        pass


def test_what_a_microphone_loses_is_counted():
    microphone = Microphone()
    microphone._waiting.maxsize = 2
    for index in range(3):
        overflow = types.SimpleNamespace(input_overflow=index == 0)
        microphone._came(np.full((BLOCK, 1), index, np.float32), BLOCK, None, overflow)
    assert microphone.lost_seconds == pytest.approx(0.2) and microphone.behind == pytest.approx(0.2)
    assert [microphone.take(wait=True)[0] for _ in range(2)] == [0, 1]
    assert microphone.take(wait=False).shape == (0,)
