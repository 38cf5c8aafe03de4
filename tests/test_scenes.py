"""Drawn scenes: what the answer says can be counted and measured in the picture."""

import random

import numpy as np
import pytest

from perilune.tasks import canvas, scenes
from perilune.tasks.scenes import Scene, Thing

# Colours that no other colour becomes where an edge is blended with the ground.
CLEAR = ("red", "green", "blue", "purple")


def mask(image, colour):
    away = np.abs(np.asarray(image).astype(int) - canvas.COLOURS[colour]).max(axis=2)
    return away <= 18


def regions(found):
    """The number of connected regions of at least six pixels."""
    left, number = found.copy(), 0
    while left.any():
        stack, size = [tuple(np.argwhere(left)[0])], 0
        left[stack[0]] = False
        while stack:
            y, x = stack.pop()
            size += 1
            for near in ((y + i, x + j) for i in (-1, 0, 1) for j in (-1, 0, 1)):
                if min(near) >= 0 and near[0] < left.shape[0] and near[1] < left.shape[1] and left[near]:
                    left[near] = False
                    stack.append(near)
        number += size >= 6
    return number


def box(image, thing):
    rows, columns = np.nonzero(mask(image, thing.colour))
    return columns.min(), columns.max(), rows.min(), rows.max()


def test_as_many_things_are_drawn_as_are_counted():
    for seed in range(60):
        rng = random.Random(seed)
        scene = scenes.crowd(rng)
        image = scene.drawn(rng)
        for colour in CLEAR:
            assert regions(mask(image, colour)) == scene.count(colour, None), (seed, colour)


@pytest.mark.parametrize("axis", [0, 1], ids=["left", "above"])
def test_pairs_stand_as_told_and_differ_in_size_as_told(axis):
    checked = 0
    for seed in range(200):
        rng = random.Random(seed)
        scene = scenes.pair(rng, axis)
        one, other = scene.things
        if one.colour == other.colour or {one.colour, other.colour} - set(CLEAR):
            continue
        checked += 1
        image = scene.drawn(rng)
        first, second = box(image, one), box(image, other)
        assert first[2 * axis + 1] < second[2 * axis]
        spans = [max(b[1] - b[0], b[3] - b[2]) for b in (first, second)]
        assert (spans[0] > spans[1]) == (one.radius > other.radius)
    assert checked > 10


@pytest.mark.parametrize("shape", canvas.SHAPES)
def test_a_shape_fills_its_box_and_no_more(shape):
    image = Scene((Thing(shape, "red", 50, 60, 30),)).drawn(random.Random(1))
    left, right, top, bottom = box(image, Thing(shape, "red", 0, 0, 0))
    assert left >= 19 and right <= 81 and top >= 29 and bottom <= 91
    assert right - left >= 40 and bottom - top >= 40


def test_shapes_differ_from_one_another():
    areas = {
        shape: mask(Scene((Thing(shape, "blue", 56, 56, 40),)).drawn(random.Random(2)), "blue")
        for shape in canvas.SHAPES
    }
    for one in canvas.SHAPES:
        for other in canvas.SHAPES:
            assert one == other or (areas[one] ^ areas[other]).mean() > 0.02


def test_things_do_not_touch():
    for seed in range(30):
        things = scenes.crowd(random.Random(seed)).things
        for i, one in enumerate(things):
            for other in things[:i]:
                assert np.hypot(one.x - other.x, one.y - other.y) > one.radius + other.radius
