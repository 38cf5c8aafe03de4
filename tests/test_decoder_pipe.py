"""What a decoder says: whatever comes, only frames and samples within the limits are taken."""

import io
import struct

import numpy as np
import pytest

from perilune.errors import MediaError
from perilune.media import decoder_pipe as pipe

SIZES = pipe.sizes(4, 2, 30.0)
END = pipe.record(pipe.END)


def pixels(value=0):
    return np.full((2, 4, 3), value, np.uint8)


def read(*records):
    return pipe.read_frames(io.BytesIO(b"".join(records)), 1 << 20)


def test_frames_come_out_as_they_went_in():
    decoded = read(SIZES, pipe.frame(0, pixels(7)), pipe.frame(15, pixels(9)), END, b"whatever follows")
    assert (decoded.fps, decoded.indices) == (30.0, [0, 15])
    assert [frame[0, 0, 0] for frame in decoded.frames] == [7, 9]
    assert all(frame.shape == (2, 4, 3) for frame in decoded.frames)


def test_beginning_again_drops_what_came_before():
    decoded = read(SIZES, pipe.frame(5, pixels()), pipe.record(pipe.AGAIN), pipe.frame(2, pixels()), END)
    assert decoded.indices == [2]


def test_frames_can_be_taken_one_by_one_before_the_others_are_there():
    stream = io.BytesIO(SIZES + pipe.frame(3, pixels(7)) + pipe.record(pipe.AGAIN) + pipe.frame(0, pixels(9)))
    frames = pipe.each_frame(stream, 1 << 20)
    first = next(frames)
    assert (first.index, first.seconds, first.pixels_HWC[0, 0, 0]) == (3, 0.1, 7)
    assert next(frames) is None and next(frames).index == 0
    with pytest.raises(EOFError):
        next(frames)


@pytest.mark.parametrize(
    "said", [b"", SIZES[:3], SIZES, SIZES + pipe.frame(0, pixels()), SIZES + pipe.frame(0, pixels())[:-1], SIZES + b"F"]
)
def test_a_decoder_that_stops_has_not_answered(said):
    with pytest.raises(EOFError):
        read(said)


@pytest.mark.parametrize(
    "records",
    [
        [b"garbage that is long enough"],
        [pipe.frame(0, pixels())],
        [END],
        [SIZES, SIZES],
        [SIZES, END],
        [pipe.sizes(0, 2, 30.0)],
        [pipe.sizes(1 << 20, 2, 30.0)],
        [pipe.sizes(4, 2, float("nan"))],
        [pipe.sizes(4, 2, float("inf"))],
        [pipe.sizes(4, 2, -1.0)],
        [SIZES, pipe.record(pipe.FRAME, bytes(31))],
        [SIZES, struct.pack("<cI", pipe.FRAME, 0xFFFFFFFF)],
        [struct.pack("<cI", pipe.ERROR, 0xFFFFFFFF)],
        [SIZES, pipe.frame(3, pixels()), pipe.frame(3, pixels())],
        [SIZES, pipe.frame(0, pixels()), pipe.record(b"X")],
    ],
)
def test_an_answer_that_makes_no_sense_is_refused(records):
    with pytest.raises(MediaError, match="makes no sense"):
        read(*records)


def test_an_error_is_told_on_in_one_plain_line():
    with pytest.raises(MediaError) as caught:
        read(pipe.record(pipe.ERROR, b"no\x1b[31m video\nstream \xff"))
    assert str(caught.value) == "no [31m video stream \ufffd"


def test_frames_without_end_are_cut_off(monkeypatch):
    frames = b"".join(pipe.frame(index, pixels()) for index in range(20))
    monkeypatch.setattr(pipe, "MAX_FRAMES", 10)
    with pytest.raises(MediaError, match="at most 10"):
        read(SIZES, frames)
    monkeypatch.setattr(pipe, "MAX_FRAMES", 100)
    with pytest.raises(MediaError, match="more than 288 bytes"):
        pipe.read_frames(io.BytesIO(SIZES + frames), 12 * 24)
    assert len(list(pipe.each_frame(io.BytesIO(SIZES + frames + END), 24))) == 20  # not held together
    with pytest.raises(MediaError, match="more than 23 bytes"):
        next(pipe.each_frame(io.BytesIO(SIZES), 23))
