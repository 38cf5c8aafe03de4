"""Frames as they come in: a clip at the pace at which it plays, or a camera. Nothing is lost without a word.

Both come frame by frame out of a decoder's process (decoders.py). A clip's decoder waits for whoever watches; a camera
does not, so what it gives is held here, up to a cap.
"""

from __future__ import annotations

import os
import sys
import threading
from collections import deque
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from time import monotonic, sleep
from typing import Protocol

from perilune.errors import MediaError
from perilune.media.decoder_pipe import Frame, each_frame
from perilune.media.decoders import decoders
from perilune.media.kinds import HEAD_BYTES, check_format
from perilune.media.patches import most_tokens
from perilune.media.settings import PUBLISHED, MediaConfig
from perilune.media.source import Source, open_source
from perilune.media.video import MAX_BYTES, MAX_SECONDS

MAX_CAMERA_SECONDS = 24 * 3600
MAX_DEVICE_LETTERS = 1000
MAX_WAITING = 64  # frames of a camera; what comes when so many wait to be taken is lost, and counted
SPARE_SECONDS = 600  # a decoder is waited for so much longer than what it decodes takes
NAP = 0.1  # seconds; a wait is no longer, so that other things are noticed
# By system: FFmpeg's input for cameras, what it needs to be told, and how it spells the camera with a number.
CAMERAS = {"linux": ("v4l2", {}, "/dev/video{}"), "darwin": ("avfoundation", {"framerate": "30"}, "{}")}


class IncomingFrames(Protocol):
    """Frames that come whether they are taken or not."""

    lost: int  # frames that came and could not be held
    recounted: bool  # some packets held no picture; knowing that, a clip's other frames would have been chosen

    @property
    def ended(self) -> bool:
        """Whether nothing comes any more, and all that came was taken."""
        ...

    @property
    def behind(self) -> float:
        """Seconds for which the oldest frame has waited to be taken."""
        ...

    def take(self, wait: bool) -> Frame | None:
        """The next frame, or None where none has come; with `wait` it waits a little for one."""
        ...

    def due(self, seconds: float) -> float:
        """When, on the clock of `time.monotonic`, a second of the clip is seen."""
        ...


class Playing:
    """A clip that plays from now on: a frame that has not been shown cannot be taken. With `fast` it waits for whoever
    watches: nothing comes unless it is waited for."""

    lost = 0

    def __init__(self, frames: Iterator[Frame | None], fast: bool = False):
        self.recounted = False
        self._frames, self._fast = frames, fast
        self._next = next(frames)
        self._start = monotonic()

    @property
    def ended(self) -> bool:
        return self._next is None

    @property
    def behind(self) -> float:
        return 0.0 if self._next is None else max(0.0, monotonic() - self.due(self._next.seconds))

    def take(self, wait: bool) -> Frame | None:
        frame = self._next
        if frame is None or (self._fast and not wait):
            return None
        early = self.due(frame.seconds) - monotonic()
        if early > 0:
            if wait:
                sleep(min(early, NAP))
            return None
        self._next = self._following()
        return frame

    def due(self, seconds: float) -> float:
        return monotonic() if self._fast else self._start + seconds

    def _following(self) -> Frame | None:
        for frame in self._frames:
            self.recounted = frame is None
            return frame
        return None


class Camera:
    """A camera that has been opened; it has no end but MAX_CAMERA_SECONDS."""

    recounted = False

    def __init__(self, frames: Iterator[Frame | None]):
        self.lost = 0
        self._waiting: deque[Frame] = deque()
        self._came = threading.Condition()
        self._done, self._start = False, monotonic()
        self._error: Exception | None = None
        threading.Thread(target=self._drain, args=(frames,), daemon=True).start()

    @property
    def ended(self) -> bool:
        return self._done and not self._waiting and self._error is None

    @property
    def behind(self) -> float:
        with self._came:
            return max(0.0, monotonic() - self.due(self._waiting[0].seconds)) if self._waiting else 0.0

    def take(self, wait: bool) -> Frame | None:
        with self._came:
            if wait and not self._waiting and not self._done:
                self._came.wait(NAP)
            if self._waiting:
                return self._waiting.popleft()
            if self._error is not None:
                raise self._error
            return None

    def due(self, seconds: float) -> float:
        return self._start + seconds

    def _drain(self, frames: Iterator[Frame | None]) -> None:
        """Runs in a thread of its own: a pipe that nobody reads would keep the camera waiting, which then forgets."""
        error: Exception | None = None
        started = False
        try:
            for frame in frames:
                if frame is not None:
                    self._add(frame, started)
                    started = True
        except MediaError as caught:
            error = caught
        except OSError:  # the decoder's line was closed: nobody watches any more
            pass
        with self._came:
            self._done, self._error = True, error
            self._came.notify()

    def _add(self, frame: Frame, started: bool) -> None:
        with self._came:
            if not started:
                self._start = monotonic() - frame.seconds
            if len(self._waiting) < MAX_WAITING:
                self._waiting.append(frame)
            else:
                self.lost += 1
            self._came.notify()


@contextmanager
def playing(source: Source, config: MediaConfig = PUBLISHED, fast: bool = False) -> Generator[Playing, None, None]:
    """A clip as it plays: the frames `load_clip` would give. A MediaError, also from `take`, says what is wrong."""
    job = {"kind": "video", "config": asdict(config), "max_bytes": None}
    with open_source(source, MAX_BYTES, "the clip") as file:
        check_format(file.read(HEAD_BYTES), "video")
        with decoders().answer(file, "the clip", job, MAX_SECONDS + SPARE_SECONDS) as answer:
            yield Playing(each_frame(answer, _most_bytes(config)), fast)


@contextmanager
def camera(device: str, config: MediaConfig = PUBLISHED) -> Generator[Camera, None, None]:
    """A camera by its number, or as FFmpeg spells its name. A MediaError, also from `take`, says what is wrong."""
    if sys.platform not in CAMERAS:
        known = " and ".join(CAMERAS)
        raise MediaError(f"cameras are known on {known}, not on {sys.platform}; give a file: --file CLIP")
    if (most := config.max_num_frames_each_video) is not None:
        raise MediaError(
            f"this model takes {most} frames of a clip, evenly spaced from its first to its last; a camera has no last "
            "one: give a file: --file CLIP"
        )
    if len(device) > MAX_DEVICE_LETTERS:
        raise MediaError(f"a camera's name has at most {MAX_DEVICE_LETTERS:,} letters, got {len(device):,}")
    named, options, numbered = CAMERAS[sys.platform]
    job = {
        "kind": "camera",
        "config": asdict(config),
        "device": numbered.format(device) if device.isdecimal() else device,
        "format": named,
        "options": options,
        "seconds": MAX_CAMERA_SECONDS,
    }
    # A decoder gets an open file with each job; what a camera gives is in none.
    with (
        open(os.devnull, "rb") as nothing,
        decoders().answer(nothing, f"the camera {device}", job, MAX_CAMERA_SECONDS + SPARE_SECONDS) as answer,
    ):
        yield Camera(each_frame(answer, _most_bytes(config)))


def _most_bytes(config: MediaConfig) -> int:
    """Of a frame that was fitted to the limits."""
    return most_tokens(config.in_patch_limit_each_frame, config) * config.token_side**2 * 3
