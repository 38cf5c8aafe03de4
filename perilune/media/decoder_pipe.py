"""What a decoder says of a file: records, read as if whoever writes them had been taken over.

A record is a kind (1 byte), the length of what follows (4 bytes), and that many bytes. Of pictures and clips sizes come
first, then frames; of a sound, its samples piece by piece. Nothing is read beyond the limits, and nothing but plain
bytes is taken.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from perilune.errors import MediaError

MAX_FRAMES = 1 << 14
MAX_FRAME_SIDE = 1 << 18  # of a picture; the limits of a vision tower cannot ask for more
MAX_PIECE_BYTES = 1 << 22  # of samples
MAX_ERROR_BYTES = 1000
MAX_JOB_BYTES = 1 << 14  # of what it is asked

ERROR, SIZES, FRAME, AGAIN, SAMPLES, END = b"E", b"S", b"F", b"R", b"A", b"Z"
_HEAD = struct.Struct("<cI")
_SIZES = struct.Struct("<IId")
_INDEX = struct.Struct("<Q")


class Answer(Protocol):
    """What records are read from, such as a file."""

    def read(self, count: int, /) -> bytes | bytearray:
        """So many bytes; fewer where it ends."""
        ...


class Refused(MediaError):
    """What the decoder says is wrong with a file. It goes on with the next one."""


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame, uint8 [H, W, 3], its index among all frames, and how many of those come in a second."""

    index: int
    fps: float
    pixels_HWC: np.ndarray

    @property
    def seconds(self) -> float:
        """When it is seen."""
        return self.index / self.fps


@dataclass
class Frames:
    """Frames as they came: uint8 [H, W, 3] of one size, each with its index among all frames of the clip."""

    fps: float
    indices: list[int]
    frames: list[np.ndarray]


def record(kind: bytes, content: bytes = b"") -> bytes:
    return _HEAD.pack(kind, len(content)) + content


def error(said: str) -> bytes:
    return record(ERROR, said.encode(errors="replace")[:MAX_ERROR_BYTES])


def sizes(width: int, height: int, fps: float) -> bytes:
    """The record that comes before all frames."""
    return record(SIZES, _SIZES.pack(width, height, fps))


def frame(index: int, pixels_HWC: np.ndarray) -> bytes:
    return record(FRAME, _INDEX.pack(index) + pixels_HWC.tobytes())


def pieces(samples_T: np.ndarray) -> Iterator[bytes]:
    """The records of a sound, float32 [T]."""
    step = MAX_PIECE_BYTES // samples_T.itemsize
    for start in range(0, samples_T.shape[0], step):
        yield record(SAMPLES, samples_T[start : start + step].tobytes())


def read_frames(stream: Answer, max_bytes: int) -> Frames:
    """What the decoder found of a picture or a clip. EOFError where it stopped before its last record, MediaError for
    what it reports, and for frames of more than `max_bytes`."""
    found = Frames(0.0, [], [])
    for frame in each_frame(stream, max_bytes):
        if frame is None:
            found = Frames(0.0, [], [])
            continue
        height, width = frame.pixels_HWC.shape[:2]
        check_room(len(found.frames) + 1, width, height, max_bytes)
        found.fps = frame.fps
        found.indices.append(frame.index)
        found.frames.append(frame.pixels_HWC)
    return found


def each_frame(stream: Answer, max_bytes: int) -> Iterator[Frame | None]:
    """The frames as they come, at least one, each of `max_bytes` at most; None where the decoder begins again. Raises
    as read_frames does."""
    width, height, fps = _read_sizes(stream)
    check_room(1, width, height, max_bytes)
    last = -1
    for kind, content in _records(stream, _INDEX.size + width * height * 3):
        if kind == END and last >= 0:
            return
        if kind == AGAIN:
            last = -1
            yield None
        elif kind == FRAME and len(content) == _INDEX.size + width * height * 3:
            index = _INDEX.unpack_from(content)[0]
            if index <= last:
                raise _confused()
            last = index
            yield Frame(index, fps, np.frombuffer(content, np.uint8, offset=_INDEX.size).reshape(height, width, 3))
        else:
            raise _confused()
    raise EOFError


def read_samples(stream: Answer, max_samples: int) -> np.ndarray:
    """What the decoder found of a sound, finite float32 [T]; raises as read_frames does."""
    parts, count = [], 0
    for kind, content in _records(stream, MAX_PIECE_BYTES):
        if kind == END:
            return np.concatenate([np.zeros(0, np.float32), *parts])
        part_T = np.frombuffer(content, np.float32) if kind == SAMPLES and len(content) % 4 == 0 else None
        if part_T is None or not np.isfinite(part_T).all() or count + part_T.size > max_samples:
            raise _confused()
        parts.append(part_T)
        count += part_T.size
    raise EOFError


def check_room(frames: int, width: int, height: int, max_bytes: int) -> None:
    """Refuses more frames than are held at once."""
    if frames > MAX_FRAMES:
        raise MediaError(f"the clip has {frames:,} frames to look at; at most {MAX_FRAMES:,} are: a shorter one fits")
    if frames * width * height * 3 > max_bytes:
        raise MediaError(
            f"the clip has {frames:,} frames of {width} × {height} pixels to look at, more than {max_bytes:,} "
            "bytes; a shorter or smaller one fits, or fewer frames a second"
        )


def _read_sizes(stream: Answer) -> tuple[int, int, float]:
    for kind, content in _records(stream, _SIZES.size):
        if kind != SIZES or len(content) != _SIZES.size:
            break
        width, height, fps = _SIZES.unpack(content)
        if 1 <= width <= MAX_FRAME_SIDE and 1 <= height <= MAX_FRAME_SIDE and 0 < fps < float("inf"):
            return width, height, fps
        break
    raise _confused()


def _records(stream: Answer, max_bytes: int) -> Iterator[tuple[bytes, bytes | bytearray]]:
    while True:
        kind, length = _HEAD.unpack(_exactly(stream, _HEAD.size))
        if length > (MAX_ERROR_BYTES if kind == ERROR else max_bytes):
            raise _confused()
        content = _exactly(stream, length)
        if kind == ERROR:
            told = "".join(letter if letter.isprintable() else " " for letter in content.decode(errors="replace"))
            raise Refused(told)
        yield kind, content


def _exactly(stream: Answer, count: int) -> bytes | bytearray:
    content = stream.read(count)
    if len(content) < count:
        raise EOFError
    return content


def _confused() -> MediaError:
    return MediaError("the decoder's answer makes no sense: the file is damaged")
