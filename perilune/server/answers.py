"""One endpoint that answers with replies, whole or streamed, whatever protocol they are told in."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from perilune.api.model import Model
from perilune.api.streams import ChatReply
from perilune.errors import RequestError
from perilune.server.gate import GateOf
from perilune.server.guard import no_such_model, read_json
from perilune.server.running import Desk, Ended, Opened, Reading, Running
from perilune.text.reply import Delta

PING_SECONDS = 5.0  # a sign of life at least so often, so that nobody in between hangs up while a prompt is read
READING_SECONDS = 1.0  # how often a client hears how far its prompt has been read
LOOK_SECONDS = 0.25  # how often somebody who waits for a whole reply is looked after


class Events(Protocol):
    """The server-sent events of one request, as bytes; replies are told apart by their index."""

    def begin(self, opened: Opened) -> bytes: ...
    def delta(self, piece: Delta, index: int) -> bytes: ...
    def end(self, reply: ChatReply, index: int) -> bytes: ...
    def close(self, replies: Sequence[ChatReply]) -> bytes: ...
    def ping(self) -> bytes: ...
    def fault(self, told: str) -> bytes: ...


@dataclass(frozen=True)
class Told:
    """A protocol: how requests are read as options of Model.stream, for each reply that is asked for, and how replies
    are told under a model's name."""

    options: Callable[[Mapping[str, Any]], Sequence[dict[str, Any]]]
    whole: Callable[[Sequence[ChatReply], Mapping[str, Any], str], dict[str, Any]]
    events: Callable[[Mapping[str, Any], str], Events]


class Answers:
    """Answers requests with one model, under the name it is served by; `told` is the protocol of a request, `gate_of`
    says what its messages may name."""

    def __init__(self, model: Model, name: str, desk: Desk, gate_of: GateOf, told: Callable[[Request], Told]):
        self.model, self.name, self.desk, self.gate_of, self.told = model, name, desk, gate_of, told

    async def __call__(self, request: Request) -> Response:
        body = await read_json(request)
        named = body.get("model", self.name)
        if named != self.name:
            return no_such_model(str(named), self.name)
        if body.get("stream") not in (None, True, False):
            raise RequestError("stream must be true or false")
        told = self.told(request)
        # Keys share no cached prompts: how fast an answer comes would tell what others have asked.
        owner = request.state.owner
        shared = {"cache_salt": owner, "fetch": self.gate_of(owner)}
        options = [own | shared for own in told.options(body)]
        running = self.desk.take(self.model.stream, options, owner)
        if body.get("stream"):
            return await self._streamed(running, told.events(body, self.name))
        return JSONResponse(told.whole(await whole(running, request), body, self.name))

    async def _streamed(self, running: Running, events: Events) -> Response:
        """Refusals come before the first byte, with a status of their own."""
        pieces = aiter(running)
        try:
            _, opened = await anext(pieces)
            while not isinstance(opened, Opened):
                _, opened = await anext(pieces)
        except BaseException:
            running.leave()
            raise
        headers = {"cache-control": "no-cache", "x-accel-buffering": "no"}
        told = _told(running, pieces, events, opened)
        return StreamingResponse(told, media_type="text/event-stream", headers=headers)


async def whole(running: Running, request: Request) -> list[Any]:
    """The replies, each whole; a client that hangs up ends them."""
    looking = asyncio.create_task(gone(request))
    reading = asyncio.create_task(_all(running))
    try:
        await asyncio.wait((looking, reading), return_when=asyncio.FIRST_COMPLETED)
        if not reading.done():
            raise asyncio.CancelledError("the client has left")
        return reading.result()
    finally:
        looking.cancel()
        reading.cancel()
        running.leave()


async def gone(request: Request) -> None:
    """Waits until the client has left."""
    while not await request.is_disconnected():
        await asyncio.sleep(LOOK_SECONDS)


async def _all(running: Running) -> list[Ended]:
    replies = {index: piece async for index, piece in running if isinstance(piece, Ended)}
    return [replies[index] for index in range(running.count)]


async def _told(running: Running, pieces: AsyncIterator[Any], events: Events, opened: Opened) -> AsyncIterator[bytes]:
    waiting: asyncio.Future[Any] | None = None
    replies: dict[int, ChatReply] = {}
    try:
        yield events.begin(opened)
        said = time.monotonic()
        while len(replies) < running.count:
            waiting = waiting or asyncio.ensure_future(anext(pieces))
            done, _ = await asyncio.wait((waiting,), timeout=PING_SECONDS)
            if not done:
                yield events.ping()
                continue
            (index, piece), waiting = waiting.result(), None
            if isinstance(piece, Delta):
                yield events.delta(piece, index)
            elif isinstance(piece, Reading) and time.monotonic() - said >= READING_SECONDS:
                said = time.monotonic()
                yield f": read {piece.done} of {piece.total}\n\n".encode()
            elif isinstance(piece, ChatReply):
                replies[index] = piece
                yield events.end(piece, index)
        yield events.close([replies[index] for index in range(running.count)])
    except Exception as error:  # the status is long sent: say it where the client looks
        yield events.fault(str(error))
    finally:
        if waiting is not None:
            waiting.cancel()
        running.leave()


def event(told: Mapping[str, Any], name: str | None = None) -> bytes:
    """One server-sent event."""
    head = f"event: {name}\n".encode() if name else b""
    return head + b"data: " + json.dumps(told, ensure_ascii=False).encode() + b"\n\n"
