"""Sound as it comes in: a file at the pace at which it plays, or the microphone. Nothing is lost without a word.

Legend: T samples at 16 kHz.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from importlib import import_module
from queue import Empty, Full, Queue
from time import monotonic, sleep
from typing import Any, Protocol

import numpy as np

from perilune.config_audio import SAMPLE_RATE
from perilune.errors import MediaError

BLOCK = SAMPLE_RATE // 10  # samples that come together
MAX_WAITING_SECONDS = 600  # of a microphone; what comes when so much waits to be taken is lost, and counted
NOTHING_T = np.zeros(0, np.float32)


class Incoming(Protocol):
    """Sound that comes whether it is taken or not."""

    lost_seconds: float

    def take(self, wait: bool) -> np.ndarray | None:
        """What comes next, float32 [T] of up to BLOCK samples; None after the end. Where nothing has come, it waits for
        it or, with `wait` false, gives no samples."""
        ...

    @property
    def behind(self) -> float:
        """Seconds of sound that have come and not been taken."""
        ...


class Paced:
    """A sound that plays from now on: what has not been played cannot be taken, unless `fast` says not to wait."""

    lost_seconds = 0.0

    def __init__(self, samples_T: np.ndarray, fast: bool = False):
        self._samples_T, self._fast = samples_T, fast
        self._at, self._start = 0, monotonic()

    def take(self, wait: bool) -> np.ndarray | None:
        end = min(self._at + BLOCK, self._samples_T.shape[0])
        if self._at == end:
            return None
        early = 0.0 if self._fast else self._start + end / SAMPLE_RATE - monotonic()
        if early > 0 and not wait:
            return NOTHING_T
        sleep(max(0.0, early))
        piece_T, self._at = self._samples_T[self._at : end], end
        return piece_T

    @property
    def behind(self) -> float:
        if self._fast:
            return 0.0
        played = min(monotonic() - self._start, self._samples_T.shape[0] / SAMPLE_RATE)
        return max(0.0, played - self._at / SAMPLE_RATE)


class Microphone:
    """The system's microphone, where the optional package sounddevice is installed; it has no end."""

    def __init__(self) -> None:
        self.lost_seconds = 0.0
        self._waiting: Queue[np.ndarray] = Queue(MAX_WAITING_SECONDS * SAMPLE_RATE // BLOCK)

    @contextmanager
    def opened(self) -> Generator[Microphone, None, None]:
        """Hears as long as the context is open; a MediaError says why it cannot."""
        try:
            device: Any = import_module("sounddevice")
        except (ImportError, OSError) as error:  # the second where it finds no PortAudio
            needs = "the microphone needs the package sounddevice (pip install 'perilune[mic]') and PortAudio"
            raise MediaError(f"{needs}: {error}; or give a file: --file SOUND") from None
        try:
            stream = device.InputStream(
                samplerate=SAMPLE_RATE, channels=1, dtype="float32", blocksize=BLOCK, callback=self._came
            )
        except device.PortAudioError as error:
            raise MediaError(f"the microphone cannot be opened: {error}; or give a file: --file SOUND") from None
        with stream:
            yield self

    def take(self, wait: bool) -> np.ndarray | None:
        while True:
            try:
                # A wait without end would not be interrupted by Ctrl-C everywhere.
                return self._waiting.get(wait, timeout=1.0 if wait else None)
            except Empty:
                if not wait:
                    return NOTHING_T

    @property
    def behind(self) -> float:
        return self._waiting.qsize() * BLOCK / SAMPLE_RATE

    def _came(self, samples_TC: np.ndarray, frames: int, time: object, status: Any) -> None:
        """Runs in the thread of the sound system."""
        if status.input_overflow:  # the system lost some and does not tell how much: at least a block
            self.lost_seconds += BLOCK / SAMPLE_RATE
        try:
            self._waiting.put_nowait(samples_TC[:, 0].copy())
        except Full:
            self.lost_seconds += frames / SAMPLE_RATE
