"""The front of several replicas: the one address that clients know.

It checks who may come in, chooses a replica by what it may have in its cache, passes replies on as they come, and
keeps what is to be kept. Clients see what one server would show them, and in x-perilune-replica who answered.
"""

from __future__ import annotations

import asyncio
import json
import signal
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

import perilune
from perilune.errors import PeriluneError
from perilune.fleet.lines import Lines
from perilune.fleet.metrics import FleetMetrics
from perilune.fleet.passing import Passed, PassedResponse
from perilune.fleet.replicas import Fleet
from perilune.fleet.routing import Asked, PrefixRouter, asked_of
from perilune.fleet.sending import NOBODY, NoReplicaError, Sender, Sent
from perilune.server.answers import gone
from perilune.server.app import RETRY_SECONDS, described, handlers
from perilune.server.batches import Batches
from perilune.server.chat import ChatEvents
from perilune.server.files import Files
from perilune.server.guard import Guard, error_body, parse_json, read_body
from perilune.server.kept import Kept
from perilune.server.messages import MessageEvents
from perilune.server.running import MOST_TOGETHER, Places
from perilune.server.stored import Stored
from perilune.server.strict import strict_body

CHAT, MESSAGES, RESPONSES = "/v1/chat/completions", "/v1/messages", "/v1/responses"
AS_THEY_ARE = {
    "/v1/models": "GET",
    "/v1/models/{name:path}": "GET",
    "/v1/embeddings": "POST",
    "/v1/messages/count_tokens": "POST",
    "/v1/tokenizers/estimate-token-count": "POST",
}


def make_front(
    fleet: Fleet,
    name: str,
    *,
    keys: tuple[str, ...] = (),
    origins: tuple[str, ...] = (),
    most: int = MOST_TOGETHER,
    most_of_key: int | None = None,
    kept: Kept | None = None,
    strict_k2: bool = False,
) -> Starlette:
    """The options are those of make_app; limits are for all replicas together. SIGHUP replaces the replicas."""
    sender = Sender(fleet, PrefixRouter())
    metrics, lines = FleetMetrics(sender), Lines(sender, name)
    batches, stored = (Batches(lines.run, kept), Stored(kept)) if kept else (None, None)
    passing = Passing(sender, name, Places(most, most_of_key), stored, strict_k2)

    @asynccontextmanager
    async def life(app: Starlette) -> AsyncIterator[None]:
        lines.loop = asyncio.get_running_loop()
        fleet.open()
        if threading.current_thread() is threading.main_thread():
            lines.loop.add_signal_handler(signal.SIGHUP, fleet.roll)
        if batches:
            batches.start()
        yield
        if batches:
            await run_in_threadpool(batches.close)
        await fleet.close()

    routes = [
        *_about(sender, metrics),
        Route(CHAT, passing.chat, methods=["POST"]),
        Route(RESPONSES, passing.response, methods=["POST"]),
        Route(MESSAGES, passing.message, methods=["POST"]),
        *(Route(path, passing.as_it_is, methods=[method]) for path, method in AS_THEY_ARE.items()),
    ]
    if kept and batches and stored:
        routes += [*Files(kept).routes(), *batches.routes(), *stored.routes()]
    routes.append(described(routes))
    guard = Middleware(Guard, keys=keys, origins=origins, on_refused=metrics.refused)
    refusals = {**handlers(metrics.refused), NoReplicaError: _nobody}
    return Starlette(routes=routes, middleware=[guard], exception_handlers=refusals, lifespan=life)


def _nobody(request: Request, error: Exception) -> Response:
    response = JSONResponse(error_body(str(error), "server_error", "no_replica"), 503)
    response.headers["retry-after"] = str(RETRY_SECONDS)
    return response


def _about(sender: Sender, metrics: FleetMetrics) -> list[Route]:
    """What the front says about itself."""

    async def health(request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def ready(request: Request) -> Response:
        if not sender.fleet.ready():
            raise NoReplicaError("no replica is ready")
        return JSONResponse({"status": "ok"})

    async def version(request: Request) -> Response:
        return JSONResponse({"version": perilune.__version__})

    async def counts(request: Request) -> Response:
        told = await sender.fleet.ask_all("/metrics")
        return Response(metrics.text(told), media_type="text/plain; version=0.0.4")

    return [
        Route("/health", health),
        Route("/ready", ready),
        Route("/version", version),
        Route("/metrics", counts),
    ]


class Passing:
    """The endpoints that replicas answer."""

    def __init__(self, sender: Sender, name: str, places: Places, stored: Stored | None, strict_k2: bool):
        self.sender, self.name, self.places, self.stored, self.strict = sender, name, places, stored, strict_k2

    async def chat(self, request: Request) -> Response:
        raw = await read_body(request)
        body = parse_json(raw)
        if self.strict:
            body = strict_body(body)
            raw = json.dumps(body).encode()
        count = body["n"] if type(body.get("n")) is int and body["n"] > 0 else 1
        return await self._answered(request, raw, body, Passed(ChatEvents({}, self.name).fault), count)

    async def message(self, request: Request) -> Response:
        raw = await read_body(request)
        body = parse_json(raw)
        return await self._answered(request, raw, body, Passed(MessageEvents(body, self.name).fault))

    async def response(self, request: Request) -> Response:
        raw = await read_body(request)
        body, owner = parse_json(raw), request.state.owner
        asked = self.stored.continued(owner, body) if self.stored else body
        if asked.keys() != body.keys():  # replicas know of no response before this one
            raw = json.dumps(asked).encode()
        return await self._answered(request, raw, asked, PassedResponse(self.stored, owner, body, self.name))

    async def as_it_is(self, request: Request) -> Response:
        """What any replica can tell."""
        sent = await self._sent(request, await read_body(request) if request.method == "POST" else b"", NOBODY)
        await sent.aclose()
        return Response(sent.whole, sent.status, sent.headers)

    async def _answered(
        self, request: Request, raw: bytes, body: dict[str, Any], passed: Passed, count: int = 1
    ) -> Response:
        owner = request.state.owner
        self.places.take(owner, count)
        try:
            sent = await self._sent(request, raw, asked_of(body, owner))
        except BaseException:
            self.places.free(owner, count)
            raise
        sent.closing.callback(self.places.free, owner, count)
        if sent.events is not None:
            return PassedStream(sent, sent.events, passed)
        await sent.aclose()
        whole = passed.whole(sent.whole) if sent.status == 200 else sent.whole
        return Response(whole, sent.status, sent.headers)

    async def _sent(self, request: Request, raw: bytes, asked: Asked) -> Sent:
        """Nobody goes on with it once the client has left."""
        send = self.sender.send(request.method, request.url.path, raw, asked=asked, owner=request.state.owner)
        sending, leaving = asyncio.create_task(send), asyncio.create_task(gone(request))
        try:
            await asyncio.wait((sending, leaving), return_when=asyncio.FIRST_COMPLETED)
            if not sending.done():
                raise asyncio.CancelledError("the client has left")
            return sending.result()
        finally:
            leaving.cancel()
            sending.cancel()


class PassedStream(StreamingResponse):
    """The events of an answer as they come. The replica is left when they end, or when the client leaves."""

    def __init__(self, sent: Sent, events: AsyncIterator[bytes], passed: Passed):
        super().__init__(self._told(events, passed), sent.status, sent.headers)
        self._sent = sent

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._sent.aclose()

    async def _told(self, events: AsyncIterator[bytes], passed: Passed) -> AsyncIterator[bytes]:
        try:
            async for one in events:
                yield passed.event(one)
        except PeriluneError as error:  # the status is long sent: say it where the client looks
            yield passed.fault(str(error))
