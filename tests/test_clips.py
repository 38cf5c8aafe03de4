"""Clips: what moves, blinks and changes colour does so in the frames as it is told."""

import os
import random
import re
from pathlib import Path

import numpy as np
import pytest

from perilune.corpus.sources import data_root
from perilune.tasks import canvas, clips
from perilune.tasks.shown import Draw

needs_data = pytest.mark.skipif(
    not os.environ.get("PERILUNE_SHARED"), reason="PERILUNE_SHARED names no folder with the licensed data"
)


def told(make, seed, root=Path(".")):
    """A held-out example: its frames are as they were drawn."""
    made = make(Draw(random.Random(seed), True, root))
    return made, next(part for part in made.content if not isinstance(part, str)).data


def lit(frames):
    """Where each frame differs from the ground, which the first corner shows."""
    return np.abs(frames.astype(int) - frames[0, 0, 0]).max(axis=3) > 20


def centres(found):
    return [(np.nonzero(frame)[1].mean(), np.nonzero(frame)[0].mean()) for frame in found]


@needs_data
def test_things_move_as_told():
    seen = set()
    for seed in range(60):
        made, frames = told(clips.motion, seed, data_root())
        (direction,) = re.findall(r"to the left|to the right|up|down", made.reply[made.reply.index("moves") :])
        seen.add(direction)
        step = np.diff(np.array(centres(lit(frames))), axis=0)
        along, across = (step[:, 0], step[:, 1]) if "the" in direction else (step[:, 1], step[:, 0])
        sign = -1 if direction in ("to the left", "up") else 1
        assert (sign * along > 2).all() and np.abs(across).max() < 2
    assert len(seen) == 4


@needs_data
def test_things_grow_shrink_and_stand_still_as_told():
    for seed in range(60):
        made, frames = told(clips.change, seed, data_root())
        area = lit(frames).sum(axis=(1, 2))
        if "grows" in made.reply:
            assert area[-1] > 2 * area[0]
        elif "shrinks" in made.reply:
            assert area[-1] < area[0] / 2
        elif "still" in made.reply:
            assert (frames == frames[0]).all()
        else:
            assert "turns" in made.reply and (frames[0] != frames[2]).any()


def test_things_blink_as_often_as_told():
    for seed in range(60):
        made, frames = told(clips.blink, seed)
        shown = lit(frames).any(axis=(1, 2))
        assert not shown[0]
        assert str((shown[1:] & ~shown[:-1]).sum()) == re.search(r"\d", made.reply).group()


def test_colours_change_as_told():
    for seed in range(40):
        made, frames = told(clips.recolour, seed)
        before, after = re.search(r"from (\w+) to (\w+)", made.reply).groups()
        for frame, colour in ((0, before), (-1, after)):
            inside = frames[frame][lit(frames[frame : frame + 1 or None])[0]].astype(int)
            assert np.abs(np.median(inside, axis=0) - canvas.COLOURS[colour]).max() <= 15


def test_of_two_things_one_moves_and_one_stands():
    for seed in range(40):
        made, frames = told(clips.meet, seed)
        moved = (frames != frames[0]).any(axis=(0, 3))
        tall = np.ptp(np.nonzero(moved)[0]) > np.ptp(np.nonzero(moved)[1])
        assert tall == (" up " in made.reply or " down " in made.reply)
        still = lit(frames).all(axis=0) & ~moved
        assert still.sum() > 40


@needs_data
def test_real_clips_stir():
    for held_out in (False, True):
        table = clips.stirring(data_root(), held_out)
        assert len(table) == 4
        assert all(clips.stirs(piece.array) for pieces in table.values() for piece in pieces)
