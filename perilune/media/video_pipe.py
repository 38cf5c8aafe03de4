"""The pipe between a clip's decoder and us: the decoder runs in its own process, and what it says is checked.

The decoder (video_worker.py) reads the file on its standard input and writes records: a kind (1 byte), the length of
what follows (4 bytes), and that many bytes. Sizes come first, then frames; whoever writes them may be a taken-over
process, so nothing is read beyond the limits and nothing but plain bytes is taken.
"""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

import numpy as np

from perilune.errors import MediaError

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
_WORKER = "perilune.media.video_worker"


@dataclass
class Decoded:
    """Frames as they came: uint8 [H, W, 3] of one size, each with its index among all frames of the clip."""

    fps: float
    indices: list[int]
    frames: list[np.ndarray]


def decode_apart(file: IO[bytes], job: dict[str, Any], seconds: float) -> Decoded:
    """Decode a file on disk in a process of its own, which ends after `seconds` at the latest."""
    limits = {"bytes": MAX_PROCESS_BYTES, "seconds": int(seconds * DECODER_THREADS) + 1, "threads": DECODER_THREADS}
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", _WORKER, json.dumps(job | {"limits": limits})],
        stdin=file,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=decoder_environment(),
    )
    late = threading.Event()
    clock = threading.Timer(seconds, lambda: (late.set(), process.kill()))
    clock.start()
    try:
        assert process.stdout is not None
        return read_records(process.stdout, job["max_bytes"])
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


def read_records(stream: IO[bytes], max_bytes: int = MAX_CLIP_BYTES) -> Decoded:
    """What the decoder found. EOFError where it stopped before its last record, MediaError for what it reports, and for
    frames of more than `max_bytes`."""
    width, height, fps = _read_sizes(stream)
    decoded = Decoded(fps, [], [])
    for kind, content in _records(stream, _INDEX.size + width * height * 3):
        if kind == END and decoded.frames:
            return decoded
        if kind == AGAIN:
            decoded = Decoded(fps, [], [])
        elif kind == FRAME and len(content) == _INDEX.size + width * height * 3:
            index = _INDEX.unpack_from(content)[0]
            if decoded.indices and index <= decoded.indices[-1]:
                raise _confused()
            check_room(len(decoded.frames) + 1, width, height, max_bytes)
            decoded.indices.append(index)
            decoded.frames.append(np.frombuffer(content, np.uint8, offset=_INDEX.size).reshape(height, width, 3))
        else:
            raise _confused()
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
