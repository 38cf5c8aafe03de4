"""A model that listens: sound in pieces is heard as it comes, and every turn of speech becomes a part of a message.

Legend: T samples at 16 kHz, N tokens, C width of the decoder.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from time import perf_counter

import numpy as np
import torch
from torch import Tensor

from perilune.api.senses import Perceived, Senses, heard
from perilune.config_audio import SAMPLE_RATE
from perilune.media.parts import MediaItem
from perilune.media.pauses import Pauses, Piece
from perilune.model.hear import HearingStream


@dataclass(frozen=True)
class Turn:
    """What was said between two pauses, already heard, and the seconds at which it begins and ends."""

    perceived: Perceived
    begin: float
    end: float

    def item(self, name: str) -> MediaItem:
        """It as a medium of a message; `name` stands for it in errors."""
        return MediaItem("audio", self.perceived, name)


class Listener:
    """Hears turn after turn, each by itself: a turn has the bits that its sound would have as a file."""

    def __init__(self, senses: Senses, pauses: Pauses):
        """Raises MessageError for a model without ears, ConfigError for one that does not hear as it goes."""
        self.turns: deque[Turn] = deque()  # complete, for whoever answers to take
        self._senses, self._pauses = senses, pauses
        self._stream: HearingStream = senses.listen()
        self._rows: list[Tensor] = []
        self._begin = self._end = 0  # samples, of the turn that goes on
        self._heard, self._spent = 0, 0.0

    @property
    def heard_seconds(self) -> float:
        return self._heard / SAMPLE_RATE

    @property
    def left_out_seconds(self) -> float:
        """Silence between turns."""
        return self._pauses.left_out / SAMPLE_RATE

    @property
    def open_seconds(self) -> float:
        """What was heard of turns that nobody has taken."""
        waiting = sum(turn.end - turn.begin for turn in self.turns)
        return waiting + (self._end - self._begin) / SAMPLE_RATE

    @property
    def real_time_factor(self) -> float:
        """Seconds spent on a second of what was heard; 0 before anything was."""
        return self._spent / self.heard_seconds if self._heard else 0.0

    def feed(self, samples_T: np.ndarray) -> None:
        self._hear(self._pauses.feed(samples_T))

    def finish(self) -> None:
        """The sound has ended, and with it the last turn."""
        self._hear(self._pauses.finish())

    def _hear(self, pieces: list[Piece]) -> None:
        began = perf_counter()
        for piece in pieces:
            if not self._rows:
                self._begin = piece.first
            self._end = piece.first + piece.samples_T.shape[0]
            self._heard += piece.samples_T.shape[0]
            self._rows.append(self._stream.feed(piece.samples_T))
            if piece.ends:
                self._end_turn()
        self._spent += perf_counter() - began

    def _end_turn(self) -> None:
        rows_NC = torch.cat([*self._rows, self._stream.finish()])
        self.turns.append(Turn(heard(rows_NC), self._begin / SAMPLE_RATE, self._end / SAMPLE_RATE))
        self._stream, self._rows, self._begin = self._senses.listen(), [], self._end
