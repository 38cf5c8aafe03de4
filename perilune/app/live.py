"""A reply while it is written: what has been told of it so far, for whoever comes, leaves and comes again.

Told from the thread that writes, followed in the event loop. Whoever is slow reads what is kept; nothing waits.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

MOST_BYTES = 16 << 20  # of single tokens with their alternatives and experts; text is told beyond that, too
PING_SECONDS = 5.0

Row = dict[str, Any]


class Live:
    """Events are numbered from 1. `answer` is set once its reasoning is to end; `on_stop` hears of `stop`."""

    def __init__(self, message: str, chat: str, owner: str):
        self.message, self.chat, self.owner = message, chat, owner
        self.answer, self.ended, self._stopped = threading.Event(), threading.Event(), threading.Event()
        self.on_stop: Callable[[], None] = lambda: None
        self._events: list[bytes] = []
        self._token_bytes = 0
        self._lock = threading.Lock()
        self._loop = asyncio.get_running_loop()
        self._listeners: set[asyncio.Event] = set()

    @property
    def wanted(self) -> bool:
        return not self._stopped.is_set()

    def stop(self) -> None:
        """It ends soon, with what it has."""
        self._stopped.set()
        self.on_stop()

    @property
    def listeners(self) -> int:
        return len(self._listeners)

    def tell(self, event: Row) -> bool:
        """Adds an event; False for a token that there was no more room for."""
        line = json.dumps(event, ensure_ascii=False).encode()
        with self._lock:
            if event["type"] == "token":
                if self._token_bytes + len(line) > MOST_BYTES:
                    return False
                self._token_bytes += len(line)
            self._events.append(line)
        self._wake()
        return True

    def end(self, message: Row) -> None:
        """The last event."""
        self.tell({"type": "done", "message": message})
        self.ended.set()
        self._wake()

    async def follow(self, after: int) -> AsyncIterator[bytes]:
        """Server-sent events: those that come after number `after`, and a ping where there is nothing to tell."""
        news = asyncio.Event()
        self._listeners.add(news)
        try:
            while True:
                ended = self.ended.is_set()  # asked first: what is told before the end is seen below
                news.clear()
                while after < len(self._events):
                    after += 1
                    yield b"id: %d\ndata: %s\n\n" % (after, self._events[after - 1])
                if ended:
                    return
                try:
                    await asyncio.wait_for(news.wait(), PING_SECONDS)
                except TimeoutError:
                    yield b": ping\n\n"
        finally:
            self._listeners.discard(news)

    def _wake(self) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._news)

    def _news(self) -> None:
        for listener in self._listeners:
            listener.set()
