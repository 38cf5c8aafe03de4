"""A reply on its way: ids become text, or reasoning, content and tool calls, piece by piece.

A stream is iterated once. `close()`, leaving its `with` block, Ctrl-C and losing the last reference all
cancel it; what has come until then stays readable.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, fields
from types import TracebackType
from typing import Generic, Literal, Self, TypeVar

from perilune.engine.engine import Engine, OnPrefill
from perilune.engine.routes import Route
from perilune.engine.types import Request, Token, Usage
from perilune.model.live_state import LiveState
from perilune.text.reply import Delta, Reply, ReplyParser
from perilune.text.stop import StopMatcher
from perilune.text.tokenizer import Tokenizer

ReplyFinish = Literal["stop", "length", "tool_calls", "cancelled", "error"]
Piece = TypeVar("Piece")


@dataclass(frozen=True)
class Weighed:
    """A token of an answer as bytes, its log-probability, and the likeliest tokens in its place with theirs."""

    text: bytes
    logprob: float
    likeliest: tuple[tuple[bytes, float], ...] = ()


@dataclass(frozen=True)
class Said(Delta):
    """A piece of the answer, with the tokens it came from where log-probabilities were asked for."""

    weighed: tuple[Weighed, ...] = ()


@dataclass(frozen=True)
class Completion:
    """A raw continuation. `text` is empty for a model without a tokenizer."""

    text: str
    ids: tuple[int, ...]
    finish_reason: ReplyFinish
    usage: Usage
    tokens: tuple[Token, ...]


@dataclass(frozen=True, kw_only=True)
class ChatReply(Reply):
    """A parsed reply, why it ended, what it cost and the tokens it came from.

    `weighed` are those of the answer, without reasoning and calls; None where no log-probabilities were asked for.
    """

    finish_reason: ReplyFinish
    usage: Usage
    tokens: tuple[Token, ...] = ()
    reasoning_tokens: int = 0  # of them, the one that ends the reasoning included
    weighed: tuple[Weighed, ...] | None = None
    media_tokens: tuple[int, ...] = ()  # of the prompt, those of each of its pictures, sounds and clips


class Closing(ABC):
    """What `with` closes at its end."""

    @abstractmethod
    def close(self) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Stream(Closing, Generic[Piece]):
    """What every stream shares: one request of an engine, read through a generator of pieces."""

    def __init__(self, engine: Engine, request: Request, on_prefill: OnPrefill | None) -> None:
        self._engine = engine
        self._stops = StopMatcher(request.params.stop)
        self._ended = False  # by the reply itself, where the engine does not know that token as an end
        self._sequence = engine.submit(request)
        self._pieces = self._run(engine.follow(self._sequence, on_prefill))

    def _run(self, tokens: Generator[Token, None, None]) -> Generator[Piece, None, None]:
        raise AssertionError("every stream defines how tokens become pieces")

    def __iter__(self) -> Iterator[Piece]:
        return self

    def __next__(self) -> Piece:
        return next(self._pieces)

    def close(self) -> None:
        self._engine.cancel(self._sequence)
        # Refused while another thread, or a signal handler's own, is inside: that one sees the end by itself.
        with contextlib.suppress(ValueError):
            self._pieces.close()

    def __del__(self) -> None:
        if hasattr(self, "_sequence"):  # absent when the request was refused
            self._engine.cancel(self._sequence)

    @property
    def tokens(self) -> tuple[Token, ...]:
        return tuple(self._sequence.tokens)

    @property
    def routed(self) -> Sequence[list[Route]]:
        """For each token the experts that it passed, where the request asked for it; layers that several rows passed
        at a time may be missing."""
        return self._sequence.routed

    @property
    def live(self) -> LiveState | None:
        """What was chosen and pointed at in the chunk memory, where the model has one."""
        return self._sequence.live

    @property
    def usage(self) -> Usage:
        return self._sequence.usage

    @property
    def finish_reason(self) -> ReplyFinish | None:
        """None while it runs."""
        return "stop" if self._stops.matched is not None or self._ended else self._sequence.finish_reason


class TextStream(_Stream[str]):
    """The text of a raw continuation as it comes, up to a stop string."""

    def __init__(
        self,
        engine: Engine,
        request: Request,
        tokenizer: Tokenizer | None,
        on_prefill: OnPrefill | None = None,
    ) -> None:
        self._tokenizer = tokenizer
        self._text: list[str] = []
        super().__init__(engine, request, on_prefill)

    @property
    def completion(self) -> Completion:
        """Everything so far; the whole after the last piece."""
        ids = tuple(token.id for token in self.tokens)
        reason = self.finish_reason or "cancelled"
        return Completion("".join(self._text), ids, reason, self.usage, self.tokens)

    def _run(self, tokens: Generator[Token, None, None]) -> Generator[str, None, None]:
        if self._tokenizer is None:
            for _ in tokens:
                pass
            return
        decoder = self._tokenizer.stream_decoder()
        try:
            for token in tokens:
                yield from self._keep(self._stops.feed(decoder.feed([token.id])))
                if self._stops.matched is not None:
                    return
            yield from self._keep(self._stops.feed(decoder.finish()) + self._stops.finish())
        finally:
            tokens.close()

    def _keep(self, text: str) -> Iterator[str]:
        if text:
            self._text.append(text)
            yield text


class ReplyStream(_Stream[Delta]):
    """The deltas of a chat reply; `.reply` is the whole once they have all come, or what came until closed.

    Stop strings are matched in the answer, not in the reasoning before it. `trim` takes off the spaces that the answer
    begins with: what is copied word for word comes with the space before its first word.
    """

    def __init__(
        self,
        engine: Engine,
        request: Request,
        parser: ReplyParser,
        on_prefill: OnPrefill | None = None,
        trim: bool = False,
        media_tokens: tuple[int, ...] = (),
    ) -> None:
        self._parser, self._trim, self._media_tokens = parser, trim, media_tokens
        self._ignores_end, self._weighs = request.params.ignore_eos, request.params.logprobs is not None
        self._content: list[str] = []
        self._weighed: list[Weighed] = []
        self._unsaid: list[Weighed] = []  # weighed tokens whose text has not been handed out
        self._reasoning_tokens = 0
        super().__init__(engine, request, on_prefill)

    @property
    def reply(self) -> ChatReply:
        parsed = self._parser.reply
        parts = {field.name: getattr(parsed, field.name) for field in fields(Reply)}
        parts["content"] = "".join(self._content)
        reason = self.finish_reason or "cancelled"
        weighed = tuple(self._weighed) if self._weighs else None
        counted = {"tokens": self.tokens, "reasoning_tokens": self._reasoning_tokens, "weighed": weighed}
        spent = {"usage": self.usage, "media_tokens": self._media_tokens}
        return ChatReply(**parts, finish_reason=reason, **spent, **counted)

    @property
    def finish_reason(self) -> ReplyFinish | None:
        reason = super().finish_reason
        return "tool_calls" if reason == "stop" and self._parser.reply.tool_calls else reason

    def _run(self, tokens: Generator[Token, None, None]) -> Generator[Delta, None, None]:
        try:
            for token in tokens:
                self._reasoning_tokens += self._parser.reasons
                if self._weighs and not self._parser.reasons:
                    self._unsaid += self._weigh(token)
                for delta in self._parser.feed([token.id]):
                    yield from self._cut(delta)
                self._ended = self._parser.ended and not self._ignores_end
                if self._stops.matched is not None or self._ended:
                    return
            for delta in self._parser.finish():
                yield from self._cut(delta)
            yield from self._say(self._stops.finish())
        finally:
            tokens.close()

    def _cut(self, delta: Delta) -> Iterator[Delta]:
        """Content passes the stop strings; anything else only settles what they held back."""
        if self._stops.matched is not None:
            return
        if delta.kind == "content":
            yield from self._say(self._stops.feed(delta.text))
        elif delta.kind == "tool_call":
            yield from self._say(self._stops.finish())
            self._unsaid = []  # what the call was written with
            yield delta
        else:
            yield delta

    def _say(self, text: str) -> Iterator[Delta]:
        if self._trim and not self._content:
            text = text.lstrip()
        if text:
            self._content.append(text)
            self._weighed += self._unsaid
            weighed, self._unsaid = tuple(self._unsaid), []
            yield Said("content", text, weighed=weighed)

    def _weigh(self, token: Token) -> list[Weighed]:
        """Special tokens are no part of what is said."""
        tokenizer = self._parser.tokenizer
        assert token.logprob is not None and tokenizer is not None
        if tokenizer.special_name(token.id) is not None:
            return []
        likeliest = tuple((tokenizer.decode_bytes([id]), logprob) for id, logprob in token.top_logprobs)
        return [Weighed(tokenizer.decode_bytes([token.id]), token.logprob, likeliest)]
