"""An opened model as the scoring of long texts sees it: segments in, greedy answers out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from perilune.engine.reading import Piece
from perilune.errors import RequestError

if TYPE_CHECKING:
    from perilune.score.long_reading import OnRead, Span


@dataclass(frozen=True)
class Opened:
    """`model` is what perilune.load returns; nothing of what it reads is kept in a store."""

    model: Any

    def __post_init__(self) -> None:
        if getattr(self.model.config, "memory", None) is None or self.model.tokenizer is None:
            raise RequestError("this model cannot read ahead of a question: that takes a chunk memory and a tokenizer")

    def encode(self, text: str) -> list[int]:
        return self.model.tokenizer.encode(text)

    def read(self, segments: Iterable[np.ndarray], on_progress: OnRead | None = None) -> Asking:
        return Asking(self.model.read(_pieces(segments), on_read=lambda tokens, reused: _tell(on_progress, tokens)))


@dataclass(frozen=True)
class Answer:
    text: str
    recall: Mapping[str, float]
    tokens: int
    decode_seconds: float


@dataclass(frozen=True)
class Asking:
    reading: Any

    @property
    def length(self) -> int:
        return self.reading.length

    def ask(self, question: str, *, max_tokens: int, gold: Sequence[Span] = ()) -> Answer:
        found = self.reading.ask(question, gold=gold, max_tokens=max_tokens, temperature=0.0)
        usage = found.reply.usage
        return Answer(found.text, found.recall, max(1, usage.completion_tokens), usage.decode_seconds)


def _pieces(segments: Iterable[np.ndarray]) -> Iterator[Piece]:
    """One text in pieces: each but the first goes on where the one before ended."""
    for number, ids in enumerate(segments):
        yield Piece(ids, goes_on=number > 0)


def _tell(on_progress: OnRead | None, tokens: int) -> None:
    if on_progress:
        on_progress(tokens)
