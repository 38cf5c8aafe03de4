"""Print, clocks and charts: the ink stands where the answer says, and all of it inside the picture."""

import random

import numpy as np
import pytest

from perilune.tasks import canvas, printed


def ink(image):
    """What differs from the colour of the corner."""
    pixels = np.asarray(image.convert("RGB")).astype(int)
    return np.abs(pixels - pixels[0, 0]).max(axis=2) > 60


@pytest.mark.parametrize("text", ["Wig", "quay", "MAMMOTH", "31415", "lighthouse"])
def test_words_stand_inside_the_picture(text):
    for seed in range(20):
        found = ink(printed.printed(random.Random(seed), [text], 112))
        assert found.sum() > 20
        assert not found[0].any() and not found[-1].any() and not found[:, 0].any() and not found[:, -1].any()


def test_lines_stand_below_one_another():
    found = ink(printed.printed(random.Random(3), ["One two", "three four", "five"], 196, 26)).any(axis=1)
    starts = np.flatnonzero(found[1:] & ~found[:-1])
    assert len(starts) >= 3


def test_long_words_are_written_smaller():
    rng = random.Random(5)
    assert canvas.text_size("m" * 12, canvas.fitting(rng, "m" * 12, 100, 40))[0] <= 100


@pytest.mark.parametrize("hour, minute", [(3, 0), (9, 0), (12, 30), (6, 15), (1, 50), (10, 20)])
def test_the_hands_point_to_the_time(hour, minute):
    hands = (30 * (hour % 12) + minute / 2, 6 * minute)
    for seed in range(10):
        image = printed.clock_face(random.Random(seed), hour, minute)
        found = np.asarray(image).astype(int).min(axis=2) < 120
        middle = canvas.SIZE / 2 - 0.5
        y, x = np.nonzero(found)
        far = np.hypot(x - middle, y - middle)
        angles = np.degrees(np.arctan2(x - middle, middle - y))[(far > 10) & (far < 18)]
        off = np.min([np.abs((angles - hand + 180) % 360 - 180) for hand in hands], axis=0)
        assert off.max() < 25
        for hand in hands:
            assert np.abs((angles - hand + 180) % 360 - 180).min() < 10


def test_bars_are_as_high_as_told():
    heights = [3, 10, 1, 7]
    for seed in range(10):
        image = np.asarray(printed.bars(random.Random(seed), heights, ["Ann", "Ben", "Cy", "Di"])).astype(int)
        ground = image[1, 1]
        for i, height in enumerate(heights):
            column = np.abs(image[:98, 8 + 40 * i + 20] - ground).max(axis=1) > 20
            assert column.sum() == pytest.approx(8 * height, abs=3)
