"""The single tokens of a reply as events: how likely each was, what else could have stood there, which experts it
passed, and what of the files it read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from perilune.api.model import Model
from perilune.api.streams import ReplyStream
from perilune.app.reading import Opened

LEAST_LOGPROB = -9999.0  # JSON knows no infinity
WEIGHT_DIGITS, LOGPROB_DIGITS = 4, 4

Row = dict[str, Any]


class Tokens:
    """Tells each token once. `weighed`: with log-probabilities; without them and without routes there is nothing to
    tell."""

    def __init__(self, model: Model, opened: Opened | None, weighed: bool):
        self.model, self.opened, self.weighed = model, opened, weighed
        self._told = self._choices = 0

    def new(self, stream: ReplyStream) -> Iterator[Row]:
        """Those that have come since the last call."""
        tokens, routed = stream.tokens, stream.routed
        if not self.weighed and not routed:
            return
        reasons = stream.reply.reasoning_tokens
        for index in range(self._told, len(tokens)):
            token = tokens[index]
            told: Row = {"type": "token", "text": self._text(token.id)}
            told["part"] = "reasoning" if index < reasons else "text"
            if token.logprob is not None:
                told["logprob"] = _shown(token.logprob)
                told["top"] = [[self._text(id), _shown(logprob)] for id, logprob in token.top_logprobs]
            if index < len(routed):
                told["experts"] = [
                    [route.layer, list(route.experts), [round(weight, WEIGHT_DIGITS) for weight in route.weights]]
                    for route in routed[index]
                ]
            if self.opened:
                told["chunks"] = self._chunks(stream, index)
            yield told
        self._told = len(tokens)

    def _chunks(self, stream: ReplyStream, index: int) -> list[Row]:
        """Where the token was pointed at, with its weight, and the chunks that were chosen since the last one."""
        live, opened = stream.live, self.opened
        assert opened is not None
        if live is None:
            return []
        reading, told = opened.reading, list[Row]()
        if index < len(live.pointed) and (at := live.pointed[index]) is not None:
            chunk, offset = divmod(at.token, reading.chunk_size)
            told.append(
                {**opened.place(reading.passage(chunk, offset, offset, at.weight)), "weight": _shown(at.weight)}
            )
        for choice in live.choices[self._choices :]:
            whole = (reading.passage(chunk, 0, reading.chunk_size - 1, 0.0) for chunk in choice)
            told += [{**opened.place(passage), "weight": 0.0} for passage in whole]
        self._choices = len(live.choices)
        return told

    def _text(self, id: int) -> str:
        tokenizer = self.model.tokenizer
        assert tokenizer is not None
        return tokenizer.special_name(id) or tokenizer.decode_bytes([id]).decode("utf-8", "replace")


def _shown(value: float) -> float:
    return round(max(value, LEAST_LOGPROB), LOGPROB_DIGITS)
