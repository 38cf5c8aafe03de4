"""What a model has read, and questions about it: model.read(pieces).ask("…").

Answers name the places they were copied from. Reading is done once; any number of questions, from any thread, share it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from perilune.api.streams import ChatReply, ReplyStream
from perilune.engine.reading import OnRead, Piece, Reader
from perilune.engine.store import PrefixStore
from perilune.model.memory import StoredPages

if TYPE_CHECKING:
    from perilune.api.model import Model

# Prose around a copied value points here and there; a place counts from this share of what was pointed at.
LEAST_SHARE = 0.1
MAX_PLACES = 3


@dataclass(frozen=True)
class Passage:
    """Tokens `start` up to `end` of the `piece`-th piece, and the share of the copying that pointed there."""

    piece: int
    start: int
    end: int
    share: float


@dataclass(frozen=True)
class Found:
    """A reply, the passages it was copied from (the likeliest first), and how many gold chunks were chosen."""

    reply: ChatReply
    passages: tuple[Passage, ...]
    recall: dict[str, float]

    @property
    def text(self) -> str:
        return self.reply.content


class Reading:
    """Pages of a model with the pieces they came from."""

    def __init__(self, model: Model, pages: StoredPages, lengths: Sequence[int]):
        self.model, self.pages = model, pages
        self.chunk_size = pages.ids_CS.shape[1]
        chunks = [-(-length // self.chunk_size) for length in lengths]
        self.first_chunk = np.cumsum([0, *chunks])
        self.first_token = np.cumsum([0, *lengths])

    @property
    def length(self) -> int:
        """Tokens read."""
        return int(self.first_token[-1])

    def stream(self, question: str, *, thinking: bool = False, **options: Any) -> ReplyStream:
        """The reply, delta by delta; options as for Model.stream."""
        asked = [{"role": "user", "content": question}]
        return self.model.stream(asked, thinking=thinking, reading=self, **options)

    def ask(self, question: str, *, gold: Sequence[tuple[int, int]] = (), **options: Any) -> Found:
        """The whole reply. `gold` are token spans over all that was read, for scoring the selection."""
        with self.stream(question, **options) as stream:
            for _ in stream:
                pass
            return self.found(stream, gold)

    def found(self, stream: ReplyStream, gold: Sequence[tuple[int, int]] = ()) -> Found:
        """The reply of a finished stream with its passages."""
        return Found(stream.reply, self._passages(stream), self._recall(stream, gold))

    def _passages(self, stream: ReplyStream) -> tuple[Passage, ...]:
        """Copied tokens, gathered where they follow one another closely."""
        live = stream.live
        pointed = [] if live is None else [p for p in live.pointed[: len(stream.tokens)] if p is not None]
        by_chunk: dict[int, list[tuple[int, float]]] = {}
        for p in pointed:
            by_chunk.setdefault(p.token // self.chunk_size, []).append((p.token % self.chunk_size, p.weight))
        total = sum(p.weight for p in pointed) or 1.0
        found = [
            self.passage(chunk, min(o for o, _ in hits), max(o for o, _ in hits), sum(w for _, w in hits) / total)
            for chunk, hits in by_chunk.items()
        ]
        best = sorted((p for p in found if p.share >= LEAST_SHARE), key=lambda p: -p.share)
        return tuple(best[:MAX_PLACES])

    def passage(self, chunk: int, first: int, last: int, share: float) -> Passage:
        """Tokens `first` to `last` of a chunk; of those that were pointed at, what was copied follows each."""
        piece = bisect_right(self.first_chunk, chunk) - 1
        base = (chunk - int(self.first_chunk[piece])) * self.chunk_size
        length = int(self.first_token[piece + 1] - self.first_token[piece])
        return Passage(piece, base + first, min(base + last + 1, length), share)

    def _recall(self, stream: ReplyStream, gold: Sequence[tuple[int, int]]) -> dict[str, float]:
        """Share of the chunks with an answer that the first choice took; all readers share that choice."""
        wanted = {self.chunk_of(token) for span in gold for token in (span[0], span[1] - 1)}
        live = stream.live
        if not wanted or live is None or not live.choices:
            return {}
        share = len(wanted & set(live.choices[0])) / len(wanted)
        memory = self.model.config.memory
        layers = range(memory.num_read_layers, self.model.config.num_hidden_layers) if memory else range(0)
        return {f"layer {layer}": share for layer in layers}

    def chunk_of(self, token: int) -> int:
        """The chunk that holds a token, counted over all that was read."""
        piece = bisect_right(self.first_token, token) - 1
        return int(self.first_chunk[piece]) + (token - int(self.first_token[piece])) // self.chunk_size


def read_pieces(
    model: Model,
    pieces: Iterable[Piece | np.ndarray],
    *,
    store: PrefixStore | None = None,
    threads: int = 0,
    on_read: OnRead | None = None,
) -> Reading:
    """Read pieces in order; see engine/reading.py."""
    lengths: list[int] = []

    def counted() -> Iterable[Piece | np.ndarray]:
        for piece in pieces:
            lengths.append(len(piece.ids if isinstance(piece, Piece) else piece))
            yield piece

    reader = Reader(model.transformer, store, model.identity, threads)
    return Reading(model, reader.read(counted(), on_read), lengths)
