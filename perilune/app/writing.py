"""One reply on its way: the files it is about are read, then the model writes; each step is told and written down.

It runs in a thread of the server's desk, whoever listens. Reasoning that is to end now is closed, and the model goes on
behind it as if it had closed it itself.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from perilune.api.energy import EnergyMeter
from perilune.api.model import Model
from perilune.api.streams import ChatReply, Closing, ReplyStream
from perilune.app.conversation import Conversation
from perilune.app.history import History
from perilune.app.live import Live
from perilune.app.reading import Documents, Opened, Unwanted
from perilune.app.tokens import Tokens
from perilune.engine.types import Usage
from perilune.errors import PeriluneError
from perilune.text.reply import Delta

WRITE_SECONDS = 0.5  # a reply is written to the history so often
METER_SECONDS = 1.0
PROGRESS_SECONDS = 0.25

Row = dict[str, Any]
logger = logging.getLogger("perilune.app")


@dataclass(frozen=True)
class Asked:
    """How a reply is wanted: `alternatives` None tells no single tokens."""

    thinking: bool
    alternatives: int | None
    routing: bool
    sampling: Row


@dataclass
class Said:
    """What has come so far."""

    text: str = ""
    reasoning: str = ""
    meta: Row = field(default_factory=dict)


class Writing(Closing):
    """Iterating gives the deltas; everything else goes to `live` and the history."""

    def __init__(
        self, model: Model, documents: Documents, history: History, live: Live, talk: Conversation, asked: Asked
    ):
        self.model, self.documents, self.history = model, documents, history
        self.live, self.talk, self.asked = live, talk, asked
        self.said = Said(meta={"thinking": asked.thinking, "options": asked.sampling})
        self._began = time.monotonic()
        self._first: float | None = None
        self._meter = EnergyMeter()
        self._at_first: tuple[float | None, int] = (None, 0)  # joules and tokens of the reply at its first piece
        self._stream: ReplyStream | None = None
        self._opened: Opened | None = None
        self._spent = 0  # tokens of a reasoning that was ended
        self._written = self._measured = self._reported = 0.0
        self._known: tuple[float, int] | None = None  # when reading began, and at which token
        live.on_stop = self.close

    @property
    def usage(self) -> Usage:
        return self._stream.usage if self._stream else Usage(0)

    @property
    def _tokens_written(self) -> int:
        return self.usage.completion_tokens + self._spent

    @property
    def reply(self) -> ChatReply:
        """What the metrics count."""
        if self._stream:
            return self._stream.reply
        return ChatReply(finish_reason="error" if self.live.wanted else "cancelled", usage=Usage(0))

    def close(self) -> None:
        if self._stream:
            self._stream.close()

    def __iter__(self) -> Iterator[Delta]:
        state = "failed"
        try:
            self._read()
            yield from self._write()
            state = "done" if self.live.wanted else "stopped"
        except (Unwanted, GeneratorExit):
            state = "stopped"
        except PeriluneError as error:
            self._fails(str(error))
        except Exception:
            logger.exception("a reply failed")
            self._fails("a fault of the server's own; its log says more")
        finally:
            self._end(state)

    def _read(self) -> None:
        """The files, where there are any to be read ahead."""
        if not self.live.wanted:
            raise Unwanted
        self._progress(0, 0, self.talk.tokens if self.talk.documents else 0, force=True)
        if self.talk.documents:
            owner, names = self.live.owner, self.talk.documents
            self._opened = self.documents.open(owner, names, self._progress, lambda: self.live.wanted)

    def _write(self) -> Iterator[Delta]:
        yield from self._follow(self.talk.messages, self.asked.thinking)
        ended_early = self.live.answer.is_set() and self.asked.thinking and not self.said.text
        if ended_early and self.live.wanted and self.usage.completion_tokens:
            assert self._stream is not None
            self._spent += self._stream.usage.completion_tokens
            so_far = {"role": "assistant", "content": "", "reasoning_content": self.said.reasoning}
            yield from self._follow([*self.talk.messages, so_far], True, continue_final_message=True)
        if self._opened and self._stream:
            found = self._opened.reading.found(self._stream)
            cited = [self._opened.citation(passage) for passage in found.passages]
            self.said.meta["citations"] = cited
            for one in cited:
                self.live.tell({"type": "citation", **one})

    def _follow(self, messages: list[Row], thinking: bool, **options: Any) -> Iterator[Delta]:
        """One stream of the model's, to its end, or until its reasoning is to end."""
        sampling = dict(self.asked.sampling)
        if self._spent and "max_tokens" in sampling:
            sampling["max_tokens"] = max(1, sampling["max_tokens"] - self._spent)
        if self.asked.alternatives is not None:
            sampling["logprobs"] = self.asked.alternatives
        if options:
            options["preserve_thinking"] = True
        self._known = None
        with self.model.stream(
            messages,
            thinking=thinking,
            cache_salt=self.live.owner,
            fetch=self.talk.fetch,
            reading=self._opened.reading if self._opened else None,
            routing=self.asked.routing,
            on_prefill=self._prefill,
            **options,
            **sampling,
        ) as stream:
            self._stream, tokens = stream, Tokens(self.model, self._opened, self.asked.alternatives is not None)
            if not self.live.wanted:
                return
            for delta in stream:
                if not self.live.wanted:
                    return
                self._take(delta, tokens, stream)
                yield delta
                if delta.kind == "reasoning" and self.live.answer.is_set() and not options:
                    return
            self._tokens(tokens, stream)

    def _take(self, delta: Delta, tokens: Tokens, stream: ReplyStream) -> None:
        now = time.monotonic()
        if self._first is None:
            self._first = now - self._began
            self._at_first = (self._meter.joules(), self._tokens_written)
        self._tokens(tokens, stream)
        if delta.kind == "reasoning":
            self.said.reasoning += delta.text
            self.live.tell({"type": "reasoning", "delta": delta.text})
        elif delta.kind == "content":
            if not self.said.text:
                self.said.meta["reasoning_seconds"] = round(now - self._began - self._first, 2)
            self.said.text += delta.text
            self.live.tell({"type": "text", "delta": delta.text})
        if now - self._measured >= METER_SECONDS:
            self._measured = now
            self._measure()
        if now - self._written >= WRITE_SECONDS:
            self._written = now
            self._keep("writing")

    def _tokens(self, tokens: Tokens, stream: ReplyStream) -> None:
        for event in tokens.new(stream):
            if not self.live.tell(event):
                self.said.meta["tokens_not_told"] = self.said.meta.get("tokens_not_told", 0) + 1

    def _prefill(self, done: int, total: int) -> None:
        read, known = (self._opened.reading.length, self._opened.known) if self._opened else (0, 0)
        self._progress(read + done, known, read + total)

    def _progress(self, done: int, known: int, total: int, force: bool = False) -> None:
        """What has been read; the rate is that of what was not known already."""
        now = time.monotonic()
        if self._known is None or known > self._known[1]:
            self._known = (now, max(done, known))
        if not force and done < total and now - self._reported < PROGRESS_SECONDS:
            return
        self._reported = now
        self._meter.joules()  # asked often enough to notice a counter that begins anew
        seconds, computed = now - self._known[0], done - self._known[1]
        rate = computed / seconds if seconds > 0 and computed > 0 else None
        left = (total - done) / rate if rate else None
        told = {"read": done, "total": total, "known": known}
        rounded = {"tokens_per_second": rate and round(rate, 1), "seconds_left": left and round(left, 1)}
        self.live.tell({"type": "progress", **told, **rounded})

    def _measure(self) -> None:
        usage, read = self.usage, self._opened.reading.length if self._opened else 0
        told: Row = {
            "tokens_per_second": round(usage.decode_tokens_per_second, 2),
            "first_token_seconds": self._first and round(self._first, 3),
            "prompt_tokens": usage.prompt_tokens + read,
            "cached_tokens": usage.cached_tokens + (self._opened.known if self._opened else 0),
            "reply_tokens": self._tokens_written,
            **self._energy(),
        }
        self.said.meta["meter"] = told
        self.live.tell({"type": "meter", **told})

    def _energy(self) -> Row:
        """Joules of the reply, its prompt included, and of one token of its writing; nothing where none are counted."""
        joules, (before, count) = self._meter.joules(), self._at_first
        if joules is None:
            return {}
        told = {"joules": round(joules, 1)}
        written = self._tokens_written - count
        if before is not None and written > 0:
            told["joules_per_token"] = round((joules - before) / written, 4)
        return told

    def _fails(self, told: str) -> None:
        self.said.meta["error"] = told
        self.live.tell({"type": "error", "message": told})

    def _end(self, state: str) -> None:
        """Whatever happens, the history says how it ended, and so does the last event."""
        try:
            if self._stream:
                self._measure()
                self.said.meta["finish"] = self._stream.reply.finish_reason
            self._keep(state)
            message = self.history.told(self.live.message)
        except Exception:
            logger.exception("a reply could not be written down")
            message = {"id": self.live.message, "state": "failed", "meta": self.said.meta}
        self.live.end(message)

    def _keep(self, state: str) -> None:
        self.history.write(self.live.message, self.said.text, self.said.reasoning, state, self.said.meta)
