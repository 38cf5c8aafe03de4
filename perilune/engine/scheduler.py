"""Who runs: a queue of waiting sequences, and the running ones, which read a prompt or write a reply."""

from __future__ import annotations

import threading
from bisect import insort
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from perilune.engine.routes import Route
from perilune.engine.sample import Sampler
from perilune.engine.types import FinishReason, Request, Token, Usage
from perilune.errors import PeriluneError
from perilune.model.live_state import LiveState
from perilune.model.state import SequenceState

MAX_BATCH = 16
MAX_WAITING = 1024


class BusyError(PeriluneError):
    """The queue is full; the same request can be sent again later."""


@dataclass(eq=False)
class Sequence:
    """One request on its way: the handle a caller holds, and everything the engine knows about it."""

    request: Request
    sampler: Sampler
    max_length: int  # prompt and reply together
    ids: list[int]
    state: SequenceState | None = None  # held only while running
    tokens: list[Token] = field(default_factory=list)
    routed: list[list[Route]] = field(default_factory=list)  # for each token, where the request asks for it
    sum_D: np.ndarray | None = None  # of hidden states, where the request embeds
    live: LiveState | None = None  # where the model has a chunk memory: what was chosen and pointed at
    cached: int = 0
    prefilled: int = 0  # prompt tokens in the state, the cached ones included
    on_prefill: Callable[[int, int], None] | None = None  # told how much of the prompt has been read
    prefill_seconds: float = 0.0
    decode_seconds: float = 0.0
    finish_reason: FinishReason | None = None
    error: Exception | None = None

    @property
    def finished(self) -> bool:
        return self.finish_reason is not None

    @property
    def prompt_length(self) -> int:
        return len(self.request.prompt_ids)

    def content(self, length: int) -> np.ndarray:
        """What the first `length` tokens are known by: their ids, and names for media that stand there. int64"""
        ids_T, media = np.asarray(self.ids[:length], np.int64), self.request.media
        return ids_T if media is None else media.name(ids_T)

    @property
    def keeps_state(self) -> bool:
        """Whether the prefix cache may serve it, and keep what it leaves."""
        return self.request.pages is None and not self.request.embeds

    @property
    def reads_prompt(self) -> bool:
        return self.prefilled < self.prompt_length

    @property
    def usage(self) -> Usage:
        return Usage(
            prompt_tokens=self.prompt_length,
            cached_tokens=self.cached,
            completion_tokens=len(self.tokens),
            prefill_seconds=self.prefill_seconds,
            decode_seconds=self.decode_seconds,
        )


class Scheduler:
    """First come, first admitted, those of a lower `priority` before all others; prompts take turns, so a short one
    never waits for a long one. Whoever comes waits for no step: else luck would say who is first."""

    def __init__(
        self, max_batch: int = MAX_BATCH, max_waiting: int = MAX_WAITING, max_tokens: int | None = None
    ) -> None:
        """`max_tokens` bounds what running sequences may come to together; one alone always runs."""
        if max_batch < 1 or max_waiting < 1:
            raise ValueError(f"limits must be at least 1, got {max_batch=} and {max_waiting=}")
        self.max_batch = max_batch
        self.max_waiting = max_waiting
        self.max_tokens = max_tokens
        self.waiting: deque[Sequence] = deque()
        self.running: list[Sequence] = []
        self._door = threading.Lock()  # of those who wait; the running ones belong to whoever steps

    def add(self, sequence: Sequence) -> None:
        with self._door:
            if len(self.waiting) >= self.max_waiting:
                raise BusyError(f"{self.max_waiting} requests are waiting already; send this one again later")
            insort(self.waiting, sequence, key=_priority)

    def admit(self) -> list[Sequence]:
        """Moves waiting sequences into free places of the batch."""
        admitted = []
        with self._door:
            while self.waiting and len(self.running) < self.max_batch and self._has_room(self.waiting[0]):
                admitted.append(self.waiting.popleft())
                self.running.append(admitted[-1])
        return admitted

    def _has_room(self, sequence: Sequence) -> bool:
        if self.max_tokens is None or not self.running:
            return True
        return sum(s.max_length for s in self.running) + sequence.max_length <= self.max_tokens

    def writers(self) -> list[Sequence]:
        return [sequence for sequence in self.running if not sequence.reads_prompt]

    def readers(self, budget: int, chunk_of: Callable[[Sequence], int]) -> list[Sequence]:
        """Whose prompt chunks run in this step: at least one, more while they fit into `budget` tokens."""
        chosen: list[Sequence] = []
        reading = (s for s in self.running if s.reads_prompt)
        for sequence in sorted(reading, key=_priority):
            size = chunk_of(sequence)
            if chosen and size > budget:
                break
            chosen.append(sequence)
            budget -= size
        for sequence in chosen:  # to the back of the line
            self.running.remove(sequence)
            self.running.append(sequence)
        return chosen

    def remove(self, sequence: Sequence) -> None:
        if sequence in self.running:
            self.running.remove(sequence)
            return
        with self._door:
            if sequence in self.waiting:
                self.waiting.remove(sequence)


def _priority(sequence: Sequence) -> int:
    return sequence.request.priority
