"""A model that watches: frames are looked at as they come, and read up to where a question stands.

A chunk of a clip is looked at as soon as its last frame has come. What has been looked at is read into the engine while
nothing waits to be looked at, so that a question finds most of its prompt in the prefix cache.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np

from perilune.api.model import Model
from perilune.api.senses import Perceived, SeenChunk, seen
from perilune.engine.engine import OnPrefill
from perilune.engine.types import Request, SamplingParams
from perilune.errors import RequestError
from perilune.media.decoder_pipe import Frame
from perilune.media.incoming_frames import IncomingFrames
from perilune.media.parts import MediaItem
from perilune.text import specials as sp

WINDOW_SECONDS = 120.0
MAX_WINDOW_SECONDS = 3600.0
# Where the frames of more than so many chunks wait, whole chunks are skipped until those of one wait.
MAX_CHUNKS_BEHIND = 2


@dataclass(frozen=True)
class Window:
    """What a question is about: the seconds at which its first and its last frame were seen, and how many they are."""

    item: MediaItem
    begin: float
    end: float
    frames: int


class Watcher:
    """Watches frames that come and keeps the latest of them, at most `window_seconds`. Where those are exceeded, or the
    model's context is, the older half is let go, and counted."""

    def __init__(
        self,
        model: Model,
        incoming: IncomingFrames,
        name: str,
        *,
        system: str | None = None,
        thinking: bool = False,
        reply_tokens: int = 1,
        window_seconds: float = WINDOW_SECONDS,
        seconds: float = float("inf"),
    ):
        """`name` stands for the clip in errors. Prompts are asked with `thinking` and leave the context room for
        `reply_tokens`. Watching ends after `seconds` of the clip, or with it."""
        if not 1 <= window_seconds <= MAX_WINDOW_SECONDS:
            raise RequestError(f"a window must be from 1 to {MAX_WINDOW_SECONDS:g} s, got {window_seconds:g}")
        self.frames, self.let_go = 0, 0  # that were looked at; of those, that are not kept any more
        self.until = float("inf")  # frames from this second on wait to be looked at
        self.end, self.clip_seconds = 0.0, 0.0  # when the latest frame was seen, and how much of the clip has come
        self._model, self._incoming, self._name = model, incoming, name
        self._system = [{"role": "system", "content": system}] if system else []
        self._thinking, self._reply_tokens = thinking, reply_tokens
        self._window, self._last = window_seconds, seconds
        limits = model.senses.limits
        self._chunk = limits.temporal_merge_kernel_size  # frames
        self._chunk_seconds = self._chunk / limits.sample_fps
        self._kept: list[SeenChunk] = []
        self._open: list[Frame] = []  # of the chunk that goes on
        self._held: Frame | None = None  # has come, and waits
        self._skipped, self._spent, self._read = 0, 0.0, False

    @property
    def due(self) -> bool:
        """Whether the second `until` has come."""
        return self._held is not None and self._held.seconds >= self.until

    @property
    def ended(self) -> bool:
        return self._incoming.ended if self._held is None else self._held.seconds >= self._last

    @property
    def has_seen(self) -> bool:
        """Whether there is anything that a question could be about."""
        return bool(self._kept or self._open)

    @property
    def skipped(self) -> int:
        """Frames that came and were not looked at, because the ones before them took too long."""
        return self._skipped + self._incoming.lost

    @property
    def real_time_factor(self) -> float:
        """Seconds spent on a second of what was looked at; 0 before anything was."""
        seconds = self.clip_seconds * self.frames / max(1, self.frames + self.skipped)
        return self._spent / seconds if self.frames else 0.0

    def step(self, wait: bool) -> bool:
        """Takes in the next frame; false where none has come, or it has to wait."""
        if self._held is None:
            self._keep_up()
            self._held = self._take(wait)
        frame = self._held
        if frame is None or self.due or self.ended:
            return False
        self._held, self.end = None, frame.seconds
        self._open.append(frame)
        self.frames += 1
        if len(self._open) == self._chunk:
            self._kept.append(self._look())
            self._open, self._read = [], False
            while self._holds_too_much() and len(self._kept) > 1:
                self._let_go()
        return True

    def catch_up(self) -> None:
        """Takes in what has come."""
        while self.step(wait=False):
            pass

    def read_ahead(self) -> None:
        """Reads what was looked at, unless something waits to be; what comes meanwhile is looked at."""
        if self._read or not self._kept or self._incoming.behind:
            return
        self._read = True
        with self._counted():
            _, perceived, ids = self._prompt("")
            _read(self._model, ids, perceived, lambda *_: self.catch_up())

    def ask(self, question: str) -> tuple[list[dict[str, Any]], Window]:
        """Messages that ask about what is kept. The frames of the chunk that goes on are in them as they are."""
        with self._counted():
            tail = [self._look()] if self._open else []
            messages, perceived, _ = self._prompt(question, tail)
        chunks = [*self._kept, *tail]
        frames = sum(chunk.frames for chunk in chunks)
        return messages, Window(self._item(perceived), chunks[0].seconds, self.end, frames)

    def forget(self) -> None:
        """What was asked about is not asked about again: the next question is about what comes from here on."""
        self._kept, self._open, self._read = [], [], False

    def _prompt(self, question: str, tail: list[SeenChunk] | None = None) -> tuple[list[Any], Perceived, list[int]]:
        """The conversation with what is kept, and its ids; what has no room in the context is let go."""
        while True:
            perceived = seen([*self._kept, *(tail or [])])
            said = [{"type": "text", "text": question}] if question else []
            content = [self._item(perceived).part, *said]
            messages = [*self._system, {"role": "user", "content": content}]
            ids = self._model.render(messages, thinking=self._thinking).ids
            if len(ids) + self._reply_tokens <= self._model.context_length or len(self._kept) < 2:
                return messages, perceived, ids
            self._let_go()

    def _item(self, perceived: Perceived) -> MediaItem:
        return MediaItem("video", perceived, self._name)

    def _look(self) -> SeenChunk:
        with self._counted():
            return self._model.senses.look([frame.pixels_HWC for frame in self._open], self._open[0].seconds)

    def _take(self, wait: bool) -> Frame | None:
        frame = self._incoming.take(wait)
        if frame is not None:
            self.clip_seconds = frame.seconds + 1 / frame.fps
        return frame

    def _keep_up(self) -> None:
        """Skips whole chunks where too much waits, so that frames of a chunk are still as far apart as they should."""
        if self._open or self._incoming.behind <= MAX_CHUNKS_BEHIND * self._chunk_seconds:
            return
        while self._incoming.behind > self._chunk_seconds:
            for _ in range(self._chunk):
                self._skipped += self._take(wait=False) is not None

    def _holds_too_much(self) -> bool:
        """Whether what is kept is longer than the window, or more than any prompt has room for."""
        rows = sum(len(chunk.rows_nD) for chunk in self._kept)
        return self.end - self._kept[0].seconds > self._window or rows > self._model.context_length

    def _let_go(self) -> None:
        gone = self._kept[: max(1, len(self._kept) // 2)]
        self._kept, self._read = self._kept[len(gone) :], False
        self.let_go += sum(chunk.frames for chunk in gone)

    @contextmanager
    def _counted(self) -> Generator[None, None, None]:
        """Counts the seconds spent; those counted within lie in them."""
        began, before = perf_counter(), self._spent
        try:
            yield
        finally:
            self._spent = before + perf_counter() - began


def warm_up(model: Model) -> None:
    """Looks at a black picture and reads it, so that a clip need not wait for weights and kernels when it has begun.
    Raises MessageError for a model without eyes."""
    side = model.senses.limits.token_side
    perceived = seen([model.senses.look([np.zeros((side, side, 3), np.uint8)], 0.0)])
    content = [MediaItem("video", perceived, "a black picture").part]
    _read(model, model.render([{"role": "user", "content": content}]).ids, perceived)


def _read(model: Model, ids: list[int], perceived: Perceived, on_prefill: OnPrefill | None = None) -> None:
    """Reads a prompt up to the end of its only clip; that stays in the prefix cache."""
    assert model.tokenizer is not None
    end, pad = (model.tokenizer.special_id(name) for name in (sp.MEDIA_END, sp.MEDIA_PAD))
    ids = ids[: len(ids) - ids[::-1].index(end)]
    media = model.senses.rows([perceived], ids, pad)
    # One token is the least that can be asked for; nobody wants it.
    request = Request(tuple(ids), SamplingParams(max_tokens=1, temperature=0.0), media=media)
    for _ in model.engine.stream(request, on_prefill):
        pass
