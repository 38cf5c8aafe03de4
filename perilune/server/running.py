"""Replies that run in threads while the event loop waits for their pieces; whoever stops waiting ends them.

The engine steps in the threads of those who follow a reply, all of them together as one batch. Nothing here knows HTTP.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from perilune.api.embeddings import Embedded
from perilune.api.streams import ChatReply
from perilune.engine.scheduler import BusyError
from perilune.engine.types import Usage
from perilune.errors import RequestError
from perilune.text.reply import Delta

MOST_TOGETHER = 64  # requests that are answered or wait for their turn; more are told to come back


@dataclass(frozen=True)
class Reading:
    """How much of the prompt has been read."""

    done: int
    total: int


@dataclass(frozen=True)
class Opened:
    """The request was good, and the engine has it."""

    prompt_tokens: int


Ended = ChatReply | Embedded
Piece = Opened | Reading | Delta | np.ndarray | Ended


class Stream(Protocol):
    """What answers a request: iterating gives deltas or vectors, at the end there is the whole."""

    @property
    def usage(self) -> Usage: ...
    @property
    def reply(self) -> Ended: ...
    def __iter__(self) -> Iterator[Any]: ...
    def close(self) -> None: ...


Open = Callable[..., AbstractContextManager[Stream]]
OnReply = Callable[[Ended, float | None, float], None]


class Places:
    """How many requests may be open at a time, and how many of one owner."""

    def __init__(self, most: int = MOST_TOGETHER, most_of_one: int | None = None):
        self.most, self.most_of_one = most, most_of_one or most
        self.open: Counter[str] = Counter()

    def take(self, owner: str, more: int = 1) -> None:
        """Raises BusyError where too many are open already."""
        limit = min(self.most, self.most_of_one)
        if more > limit:
            raise RequestError(f"{more} answers are asked for, and this server writes {limit} at a time")
        if self.open.total() + more > self.most:
            raise BusyError(f"{self.open.total()} requests are open already; send this one again later")
        if self.open[owner] + more > self.most_of_one:
            told = f"{self.open[owner]} requests of this key are open, of {self.most_of_one} that may be"
            raise BusyError(f"{told}; send this one again later")
        self.open[owner] += more

    def free(self, owner: str, more: int = 1) -> None:
        self.open[owner] -= more


class Desk:
    """Takes requests and answers them in threads, as many as there are places."""

    def __init__(
        self,
        most: int = MOST_TOGETHER,
        on_reply: OnReply = lambda reply, first, seconds: None,
        most_of_one: int | None = None,
    ):
        """`on_reply` hears of every reply that has ended: seconds until its first piece (None: no piece came), and in
        all."""
        self.places, self.on_reply = Places(most, most_of_one), on_reply
        self._threads = ThreadPoolExecutor(most, "reply")

    def take(self, begin: Open, options: Sequence[dict[str, Any]], owner: str = "") -> Running:
        """One reply for each of the options. Must be called in the event loop. Raises BusyError where too many are open
        already."""
        self.places.take(owner, len(options))
        return Running(self, begin, options, owner)

    def close(self) -> None:
        self._threads.shutdown(wait=True, cancel_futures=True)


class Running:
    """Replies to one request on their way. Iterating gives pieces with the place of their reply: Opened, then how the
    prompt is read, deltas or vectors, and the whole reply last."""

    def __init__(self, desk: Desk, begin: Open, options: Sequence[dict[str, Any]], owner: str):
        self.count = len(options)
        self._desk, self._begin, self._owner = desk, begin, owner
        self._loop = asyncio.get_running_loop()
        self._pieces: asyncio.Queue[tuple[int, Piece] | BaseException] = asyncio.Queue()
        self._leaving = threading.Event()
        self._streams: list[Stream] = []
        for index, own in enumerate(options):
            desk._threads.submit(self._run, index, own)

    async def __aiter__(self) -> AsyncIterator[tuple[int, Piece]]:
        left = self.count
        while left:
            told = await self._pieces.get()
            if isinstance(told, BaseException):
                raise told
            yield told
            left -= isinstance(told[1], Ended)

    def leave(self) -> None:
        """Ends the replies at once; their places in the engine are free."""
        self._leaving.set()
        for stream in tuple(self._streams):
            stream.close()

    def _run(self, index: int, options: dict[str, Any]) -> None:
        began, first = time.monotonic(), None
        try:
            if self._leaving.is_set():
                return
            with self._begin(on_prefill=lambda *done: self._put(index, Reading(*done)), **options) as stream:
                self._streams.append(stream)
                self._put(index, Opened(stream.usage.prompt_tokens))
                for delta in stream:
                    first = time.monotonic() - began if first is None else first
                    self._put(index, delta)
                    if self._leaving.is_set():
                        break
                else:
                    self._put(index, stream.reply)
                self._desk.on_reply(stream.reply, first, time.monotonic() - began)
        except BaseException as error:  # whoever waits for the reply gets it
            self._tell(self._pieces.put_nowait, error)
        finally:
            self._tell(self._left)

    def _left(self) -> None:
        self._desk.places.free(self._owner)

    def _put(self, index: int, piece: Piece) -> None:
        self._tell(self._pieces.put_nowait, (index, piece))

    def _tell(self, call: Callable[..., object], *given: Any) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(call, *given)
