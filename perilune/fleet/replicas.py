"""The replicas of a server: which are ready, what happens when one dies, and how all are replaced one by one.

Nothing here knows how a replica is started. A replica that dies, or says nothing for SILENT_SECONDS, is started again,
later and later if it keeps dying; until it is ready it gets nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import TYPE_CHECKING, Protocol

from perilune.errors import PeriluneError
from perilune.server.answers import LOOK_SECONDS

if TYPE_CHECKING:
    import httpx

FIRST_DELAY, LONGEST_DELAY = 0.5, 60.0  # seconds before a replica is started again
STEADY_SECONDS = 60.0  # a life that is no failure to start
SILENT_SECONDS = 60.0
ASK_SECONDS = 5.0  # how often a replica is asked whether it lives
CONNECT_SECONDS = 10.0
DRAIN_SECONDS = 600.0  # for what a replica that is being replaced has begun
logger = logging.getLogger("perilune.fleet")


class Process(Protocol):
    """A server that runs somewhere. `url` has no path."""

    @property
    def url(self) -> str: ...
    async def ended(self) -> str:
        """Waits until it has died, and says why."""
        ...

    async def stop(self) -> None:
        """Ends it at once; may be called again."""
        ...


# In a place; returns when it answers requests, and raises PeriluneError where it cannot.
Start = Callable[[int], Awaitable[Process]]


class Replica:
    """One of the servers, in its place; who comes after it there has another name."""

    def __init__(self, name: str, place: int, process: Process, key: str):
        import httpx

        self.name, self.place, self.process = name, place, process
        self.open = 0  # requests it has begun
        self.client: httpx.AsyncClient = httpx.AsyncClient(
            base_url=process.url,
            headers={"authorization": f"Bearer {key}"},
            timeout=httpx.Timeout(None, connect=CONNECT_SECONDS),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=32),
            trust_env=False,  # a proxy for the world is none for one's own replicas
        )


class Fleet:
    """As many replicas as were started first. Must be opened and used in one event loop."""

    def __init__(self, first: Sequence[Process], start: Start, key: str):
        """`key` is what replicas ask for."""
        self.count, self.restarts = len(first), 0
        self._first, self._start, self._key = first, start, key
        self._numbers = itertools.count()
        self._ready: dict[int, Replica] = {}  # by place
        self._living: set[Replica] = set()  # these, and those that end what they have begun
        self._changing = [asyncio.Lock() for _ in first]
        self._rolling = asyncio.Lock()
        self._failures = [0] * self.count
        self._tasks: set[asyncio.Task[None]] = set()

    def open(self) -> None:
        for place, process in enumerate(self._first):
            self._take(place, process)

    async def close(self) -> None:
        """Stops all replicas at once, whatever they do."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._ready.clear()
        await asyncio.gather(*(self._end(replica) for replica in tuple(self._living)))

    def ready(self, without: Collection[str] = ()) -> dict[str, Replica]:
        """Those that answer requests, by name."""
        return {one.name: one for one in self._ready.values() if one.name not in without}

    async def ask_all(self, path: str) -> dict[str, str]:
        """What each of them says there, by name; those that say nothing soon are left out."""
        import httpx

        async def ask(replica: Replica) -> tuple[str, str] | None:
            try:
                answer = await replica.client.get(path, timeout=ASK_SECONDS)
            except httpx.HTTPError:
                return None
            return (replica.name, answer.text) if answer.status_code == 200 else None

        told = await asyncio.gather(*(ask(one) for one in self.ready().values()))
        return dict(one for one in told if one)

    def roll(self) -> None:
        """Begins to replace all replicas; see replace()."""
        self._spawn(self.replace())

    async def replace(self) -> None:
        """One after the other: a new one starts, takes over, and then the old one ends what it has begun. Where a new
        one does not start, the old ones stay."""
        async with self._rolling:
            for place in range(self.count):
                try:
                    async with self._changing[place]:
                        process = await self._start(place)
                        old = self._ready.get(place)
                        self._take(place, process)
                except PeriluneError as error:
                    logger.error("no new replica starts, so the old ones stay: %s", error)
                    return
                if old is not None:
                    await self._drain(old)
            logger.warning("all %d replicas were replaced", self.count)

    async def _drain(self, replica: Replica) -> None:
        end = time.monotonic() + DRAIN_SECONDS
        while replica.open and time.monotonic() < end:
            await asyncio.sleep(LOOK_SECONDS)
        await replica.process.stop()  # whoever watches it closes its connections

    def _take(self, place: int, process: Process) -> None:
        replica = Replica(f"{place}.{next(self._numbers)}", place, process, self._key)
        self._ready[place] = replica
        self._living.add(replica)
        self._spawn(self._watch(replica))

    async def _watch(self, replica: Replica) -> None:
        """To the end of a replica, and to the beginning of the next one in its place."""
        began, place = time.monotonic(), replica.place
        why = await _end_of(replica)
        was_ready = self._ready.get(place) is replica
        if was_ready:
            del self._ready[place]
        await self._end(replica)  # those who still wait for it hear at once
        if not was_ready:
            return
        logger.warning("replica %s has died, and is started again: %s", replica.name, why)
        self.restarts += 1
        self._failures[place] = 0 if time.monotonic() - began >= STEADY_SECONDS else self._failures[place] + 1
        await self._restart(place)

    async def _restart(self, place: int) -> None:
        while True:
            await asyncio.sleep(min(LONGEST_DELAY, FIRST_DELAY * 2 ** min(self._failures[place], 10)))
            try:
                async with self._changing[place]:
                    if place not in self._ready:  # else it has been replaced meanwhile
                        self._take(place, await self._start(place))
                    return
            except PeriluneError as error:
                self._failures[place] += 1
                logger.error("replica %d does not start: %s", place, error)

    async def _end(self, replica: Replica) -> None:
        self._living.discard(replica)
        await replica.client.aclose()
        await replica.process.stop()

    def _spawn(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _end_of(replica: Replica) -> str:
    """Why it has died, or has to."""
    ways = [asyncio.ensure_future(way) for way in (replica.process.ended(), _silence(replica))]
    try:
        done, _ = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        return done.pop().result()
    finally:
        for way in ways:
            way.cancel()


async def _silence(replica: Replica) -> str:
    import httpx

    heard = time.monotonic()
    while time.monotonic() - heard < SILENT_SECONDS:
        await asyncio.sleep(ASK_SECONDS)
        with contextlib.suppress(httpx.HTTPError):
            await replica.client.get("/health", timeout=SILENT_SECONDS)
            heard = time.monotonic()
    return f"it said nothing for {SILENT_SECONDS:.0f} s"
