"""The pipe between a clip's decoder and us: the decoder runs in its own process, and what it says is checked.

The decoder (video_worker.py for a file on its standard input, camera_worker.py for a camera) writes records: a kind
(1 byte), the length of what follows (4 bytes), and that many bytes. Sizes come first, then frames; whoever writes them
may be a taken-over process, so nothing is read beyond the limits and nothing but plain bytes is taken.
"""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

import numpy as np

from perilune.errors import MediaError

MAX_SECONDS = 4 * 3600
MAX_FRAMES = 1 << 14
MAX_FRAME_SIDE = 1 << 14
# About 900 frames of the largest published size, which is 230,000 tokens: about the published context.
MAX_CLIP_BYTES = 2 << 30
MAX_PROCESS_BYTES = 2 << 30
MAX_ERROR_BYTES = 1000
DECODER_THREADS = 2

ERROR, SIZES, FRAME, AGAIN, END = b"E", b"S", b"F", b"R", b"Z"
_HEAD = struct.Struct("<cI")
_SIZES = struct.Struct("<IId")
_INDEX = struct.Struct("<Q")
_PASSED_ON = ("LD_LIBRARY_PATH", "PATH", "SYSTEMROOT")
_OUT_OF_TIME = -signal.SIGXCPU if hasattr(signal, "SIGXCPU") else None
FILE_WORKER = "perilune.media.video_worker"


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
class Decoded:
    """Frames as they came: uint8 [H, W, 3] of one size, each with its index among all frames of the clip."""

    fps: float
    indices: list[int]
    frames: list[np.ndarray]


def decode_apart(file: IO[bytes], job: dict[str, Any], seconds: float) -> Decoded:
    """Decode a file on disk in a process of its own, which ends after `seconds` at the latest."""
    with decoder(FILE_WORKER, file, job, seconds) as records:
        return read_records(records)


@contextmanager
def decoder(
    worker: str, file: IO[bytes] | None, job: dict[str, Any], seconds: float
) -> Generator[IO[bytes], None, None]:
    """A decoder's records, as long as the context is open and for `seconds` at most. It waits while nobody reads them.

    An EOFError inside the context says that they stopped too early, and leaves it as a MediaError that says why.
    """
    limits = {"bytes": MAX_PROCESS_BYTES, "seconds": int(seconds * DECODER_THREADS) + 1, "threads": DECODER_THREADS}
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", worker, json.dumps(job | {"limits": limits})],
        stdin=subprocess.DEVNULL if file is None else file,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=decoder_environment(),
    )
    late = threading.Event()
    clock = threading.Timer(seconds, lambda: (late.set(), process.kill()))
    clock.daemon = True
    clock.start()
    try:
        assert process.stdout is not None
        yield process.stdout
    except EOFError:
        if late.is_set() or process.wait() == _OUT_OF_TIME:
            raise MediaError(f"the clip took more than {seconds:g} s to decode; a shorter one is needed") from None
        raise MediaError(
            f"the decoder stopped without an answer: the clip is damaged, or needs more than {MAX_PROCESS_BYTES:,} "
            "bytes to decode"
        ) from None
    finally:
        clock.cancel()
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()


def decoder_environment() -> dict[str, str]:
    """The same modules, wherever they come from, and little of our environment: keys may lie there."""
    modules = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path), "OMP_NUM_THREADS": "1"}
    return modules | {name: os.environ[name] for name in _PASSED_ON if name in os.environ}


def record(kind: bytes, content: bytes = b"") -> bytes:
    return _HEAD.pack(kind, len(content)) + content


def sizes(width: int, height: int, fps: float) -> bytes:
    """The record that comes before all frames."""
    return record(SIZES, _SIZES.pack(width, height, fps))


def frame(index: int, pixels_HWC: np.ndarray) -> bytes:
    return record(FRAME, _INDEX.pack(index) + pixels_HWC.tobytes())


def read_records(stream: IO[bytes]) -> Decoded:
    """What the decoder found. EOFError where it stopped before its last record, MediaError for what it reports."""
    decoded = Decoded(0.0, [], [])
    for frame in each_frame(stream):
        if frame is None:
            decoded = Decoded(0.0, [], [])
            continue
        height, width = frame.pixels_HWC.shape[:2]
        check_room(len(decoded.frames) + 1, width, height)
        decoded.fps = frame.fps
        decoded.indices.append(frame.index)
        decoded.frames.append(frame.pixels_HWC)
    return decoded


def each_frame(stream: IO[bytes]) -> Iterator[Frame | None]:
    """The decoder's frames as they come, at least one; None where it begins again. Raises what `read_records` does."""
    width, height, fps = _read_sizes(stream)
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
            pixels_HWC = np.frombuffer(content, np.uint8, offset=_INDEX.size).reshape(height, width, 3)
            yield Frame(index, fps, pixels_HWC)
        else:
            raise _confused()
    raise EOFError


def check_room(frames: int, width: int, height: int) -> None:
    """Refuses more frames than are held at once."""
    if frames > MAX_FRAMES:
        raise MediaError(f"the clip has {frames:,} frames to look at; at most {MAX_FRAMES:,} are: a shorter one fits")
    if frames * width * height * 3 > MAX_CLIP_BYTES:
        raise MediaError(
            f"the clip has {frames:,} frames of {width} × {height} pixels to look at, more than {MAX_CLIP_BYTES:,} "
            "bytes; a shorter or smaller one fits, or fewer frames a second"
        )


def _read_sizes(stream: IO[bytes]) -> tuple[int, int, float]:
    for kind, content in _records(stream, _SIZES.size):
        if kind != SIZES or len(content) != _SIZES.size:
            break
        width, height, fps = _SIZES.unpack(content)
        if 1 <= width <= MAX_FRAME_SIDE and 1 <= height <= MAX_FRAME_SIDE and 0 < fps < float("inf"):
            return width, height, fps
        break
    raise _confused()


def _records(stream: IO[bytes], max_bytes: int) -> Iterator[tuple[bytes, bytes]]:
    while True:
        kind, length = _HEAD.unpack(_exactly(stream, _HEAD.size))
        if length > (MAX_ERROR_BYTES if kind == ERROR else max_bytes):
            raise _confused()
        content = _exactly(stream, length)
        if kind == ERROR:
            told = "".join(letter if letter.isprintable() else " " for letter in content.decode(errors="replace"))
            raise MediaError(told)
        yield kind, content


def _exactly(stream: IO[bytes], count: int) -> bytes:
    content = stream.read(count)
    if len(content) < count:
        raise EOFError
    return content


def _confused() -> MediaError:
    return MediaError("the decoder's answer makes no sense: the clip is damaged")
