"""Sound as it comes in → turns of speech, by energy alone: simple, and the same whatever the pieces.

A frame of 20 ms is loud where its root mean square is above a floor. A turn begins with a loud frame, and half a second
before it belongs to it; it ends when no frame has been loud for a while. Sound between turns is left out and counted.

Legend: T samples at 16 kHz, F frames.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

import numpy as np

from perilune.config_audio import SAMPLE_RATE
from perilune.errors import RequestError

FRAME = SAMPLE_RATE // 50
LEAD_SECONDS = 0.5
PAUSE_SECONDS = 0.5
FLOOR_DB = -45.0  # of full scale
LOWEST_DB, HIGHEST_DB = -120.0, 0.0
SHORTEST_PAUSE, LONGEST_PAUSE = 0.1, 30.0
MAX_TURN_SECONDS = 600.0  # speech without a pause is cut there: nothing is left out, the next turn goes on


@dataclass(frozen=True)
class Piece:
    """Samples float32 [T] of a turn, the place of the first of them in all the sound, and whether the turn ends."""

    samples_T: np.ndarray
    first: int
    ends: bool


class Pauses:
    """Cuts sound into turns. Raises RequestError for a floor or a pause that makes no sense."""

    def __init__(self, floor_db: float = FLOOR_DB, pause_seconds: float = PAUSE_SECONDS):
        if not LOWEST_DB <= floor_db <= HIGHEST_DB:
            raise RequestError(f"the floor must be from {LOWEST_DB:g} to {HIGHEST_DB:g} dB, got {floor_db:g}")
        if not SHORTEST_PAUSE <= pause_seconds <= LONGEST_PAUSE:
            raise RequestError(
                f"a pause must be from {SHORTEST_PAUSE:g} to {LONGEST_PAUSE:g} seconds, got {pause_seconds:g}"
            )
        self.left_out = 0  # samples
        self._floor = 10 ** (floor_db / 20)
        self._pause = math.ceil(pause_seconds * SAMPLE_RATE / FRAME)
        self._ahead_T = np.zeros(0, np.float32)  # less than a frame
        self._at = 0  # the place of its first sample
        self._lead: deque[np.ndarray] = deque()
        self._turn = 0  # frames of the turn that goes on
        self._quiet = 0  # frames since the last loud one

    def feed(self, samples_T: np.ndarray) -> list[Piece]:
        """The pieces of turns that are certain now, in order."""
        ahead_T = np.concatenate([self._ahead_T, samples_T.astype(np.float32, copy=False)])
        whole = ahead_T.shape[0] // FRAME * FRAME
        frames_FT, self._ahead_T = ahead_T[:whole].reshape(-1, FRAME), ahead_T[whole:].copy()
        loud_F = np.sqrt(np.mean(frames_FT.astype(np.float64) ** 2, axis=1)) > self._floor
        pieces, held = list[Piece](), list[np.ndarray]()
        for frame_T, loud in zip(frames_FT, loud_F, strict=True):
            self._at += FRAME
            held += self._belongs(frame_T, bool(loud))
            if self._turn and (self._quiet >= self._pause or self._turn * FRAME >= MAX_TURN_SECONDS * SAMPLE_RATE):
                pieces += self._piece(held, ends=True)
                self._turn, held = 0, []
        return pieces + self._piece(held, ends=False)

    def finish(self) -> list[Piece]:
        """The end of the sound ends a turn as well."""
        rest_T, self._ahead_T = self._ahead_T, self._ahead_T[:0]
        self._at += rest_T.shape[0]
        if self._turn:
            self._turn = 0
            return self._piece([rest_T], ends=True)
        self.left_out += len(self._lead) * FRAME + rest_T.shape[0]
        self._lead.clear()
        return []

    def _belongs(self, frame_T: np.ndarray, loud: bool) -> list[np.ndarray]:
        """The frames that belong to a turn now that this one has come."""
        self._quiet = 0 if loud else self._quiet + 1
        if not self._turn and not loud:
            self._lead.append(frame_T.copy())
            if len(self._lead) > LEAD_SECONDS * SAMPLE_RATE / FRAME:
                self._lead.popleft()
                self.left_out += FRAME
            return []
        frames = [*self._lead, frame_T]
        self._lead.clear()
        self._turn += len(frames)
        return frames

    def _piece(self, held: list[np.ndarray], ends: bool) -> list[Piece]:
        if not held:
            return []
        samples_T = np.concatenate(held)
        return [Piece(samples_T, self._at - samples_T.shape[0], ends)]
