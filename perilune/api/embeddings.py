"""Texts as vectors: the mean of the last hidden states over a text's tokens, of length 1. And their shape in OpenAI's
API.

The head goes by the same hidden states, so a vector says what may come after a text more than what it is about.

Legend: N texts, D hidden.
"""

from __future__ import annotations

import base64
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from perilune.api.messages import refuse_unknown
from perilune.api.streams import Closing
from perilune.engine.engine import Engine, OnPrefill
from perilune.engine.scheduler import Sequence as Running
from perilune.engine.types import FinishReason, Request, Usage, token_ids
from perilune.errors import ContextError, RequestError
from perilune.fields import show_value
from perilune.text.tokenizer import Tokenizer

MOST_TEXTS = 2048
MOST_TOKENS = 300_000  # of all texts together
TOGETHER = 8  # texts of one request in the engine at a time; others get the rest of its places
FORMATS = ("float", "base64")
KNOWN = frozenset(("input", "model", "encoding_format", "dimensions", "user"))


@dataclass(frozen=True)
class Embedded:
    """float32 [N, D], every row of length 1; what it cost, and whether it is the whole ("stop")."""

    vectors_ND: np.ndarray
    usage: Usage
    finish_reason: FinishReason = "stop"


class EmbeddingStream(Closing):
    """Texts on their way through the engine, beside what else it does. Iterating gives their vectors in order.

    The vector of a text does not depend on the others. `close()` ends the work at once, from any thread.
    """

    def __init__(
        self,
        engine: Engine,
        texts: Sequence[tuple[int, ...]],
        dimensions: int | None = None,
        on_prefill: OnPrefill | None = None,
    ) -> None:
        """`dimensions`: vectors are cut to so many numbers; `on_prefill(done, total)` hears of tokens after each
        text."""
        self._engine, self._on_prefill = engine, on_prefill
        self._requests = deque(Request(ids, embeds=True) for ids in texts)
        self._total = sum(len(ids) for ids in texts)
        self._width = dimensions or engine.runner.config.hidden_size
        self._running: deque[Running] = deque()
        self._closed = False
        self._rows: list[np.ndarray] = []
        self._done, self._seconds = 0, 0.0  # tokens and time of the texts that have their vectors
        for request in self._requests:
            engine.check(request)

    def close(self) -> None:
        self._closed = True
        self._engine.cancel(*tuple(self._running))

    @property
    def usage(self) -> Usage:
        return Usage(self._total, prefill_seconds=self._seconds)

    @property
    def reply(self) -> Embedded:
        """The vectors so far; all of them after the last one."""
        vectors_ND = np.stack(self._rows) if self._rows else np.zeros((0, self._width), np.float32)
        whole = not self._requests and not self._running
        return Embedded(vectors_ND, self.usage, "stop" if whole else "cancelled")

    def __iter__(self) -> Iterator[np.ndarray]:
        try:
            while self._requests or self._running:
                while self._requests and len(self._running) < TOGETHER:
                    self._running.append(self._engine.submit(self._requests.popleft()))
                if self._closed:  # looked at after the last text came in, so that none is left behind
                    return
                sequence = self._running[0]
                for _ in self._engine.follow(sequence):
                    pass
                if sequence.finish_reason != "stop":
                    return
                self._running.popleft()
                assert sequence.sum_D is not None
                self._rows.append(_unit(sequence.sum_D[: self._width]))
                self._done += sequence.prompt_length
                self._seconds += sequence.prefill_seconds
                if self._on_prefill:
                    self._on_prefill(self._done, self._total)
                yield self._rows[-1]
        finally:
            self.close()


def _unit(vector_D: np.ndarray) -> np.ndarray:
    """Of length 1, in float32; a mean has the direction of its sum."""
    length = np.sqrt(np.square(vector_D).sum())
    return (vector_D / (length or 1.0)).astype(np.float32)


def ids_of(given: Any, tokenizer: Tokenizer | None) -> list[tuple[int, ...]]:
    """One text or several, each a string or token ids, as ids; refuses what is too much before it is all encoded."""
    if isinstance(given, str) or (_is_list(given) and len(given) and not isinstance(given[0], str | Iterable)):
        given = [given]
    if not _is_list(given):
        raise RequestError(f"input must be a text or token ids, or a list of them, got {show_value(given)}")
    if not 1 <= len(given) <= MOST_TEXTS:
        raise RequestError(f"input must hold 1 to {MOST_TEXTS} texts, got {len(given)}")
    made, total = [], 0
    for i, text in enumerate(given):
        if isinstance(text, str):
            if tokenizer is None:
                raise RequestError(f"input[{i}] is a text, but this model has no tokenizer: give token ids")
            text = tokenizer.encode(text)
        elif not _is_list(text):
            raise RequestError(f"input[{i}] must be a text or a list of token ids, got {show_value(text)}")
        total += len(text)
        if total > MOST_TOKENS:
            raise ContextError(f"input has more than {MOST_TOKENS:,} tokens: send it in several requests")
        if not len(text):
            raise RequestError(f"input[{i}] is empty, and there is no vector of nothing")
        made.append(token_ids(text, f"input[{i}]"))
    return made


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple | np.ndarray)


def embedding_options(body: Mapping[str, Any]) -> dict[str, Any]:
    """What a request asks for, as options of Model.embed_stream."""
    refuse_unknown(body, KNOWN)
    if body.get("encoding_format") not in (None, *FORMATS):
        told = show_value(body["encoding_format"])
        raise RequestError(f"encoding_format must be one of {', '.join(FORMATS)}, got {told}")
    if "input" not in body:
        raise RequestError("input is missing: a text or token ids, or a list of them")
    return {"texts": body["input"], "dimensions": body.get("dimensions")}


def embeddings_json(made: Embedded, body: Mapping[str, Any], model: str) -> dict[str, Any]:
    """A list of embeddings; as base64 a vector is its float32 numbers in little-endian order."""
    told = _as_base64 if body.get("encoding_format") == "base64" else np.ndarray.tolist
    rows = enumerate(made.vectors_ND)
    tokens = made.usage.prompt_tokens
    return {
        "object": "list",
        "data": [{"object": "embedding", "index": i, "embedding": told(vector_D)} for i, vector_D in rows],
        "model": model,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }


def _as_base64(vector_D: np.ndarray) -> str:
    return base64.b64encode(vector_D.astype("<f4").tobytes()).decode()
