"""The server: routes, what an error looks like, and its life from the first request to the last."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

import perilune
from perilune.api.anthropic import message_options
from perilune.api.batch import BatchResult, run_batch
from perilune.api.model import Model
from perilune.api.openai import chat_options
from perilune.engine.scheduler import BusyError
from perilune.errors import ContextError, PeriluneError, WeightsError
from perilune.media.fetch import Remote
from perilune.server.answers import Answers, Told
from perilune.server.batches import Batches
from perilune.server.chat import CHAT
from perilune.server.door import MakeDoor, Served
from perilune.server.embeddings import Embeddings
from perilune.server.files import Files
from perilune.server.gate import gates
from perilune.server.guard import Guard, TooLarge, error_body, no_such_model, read_json
from perilune.server.kept import FullError, Kept
from perilune.server.messages import MESSAGES
from perilune.server.metrics import Metrics
from perilune.server.openapi import description
from perilune.server.responses import RESPONSES
from perilune.server.running import MOST_TOGETHER, Desk
from perilune.server.stored import Stored
from perilune.server.strict import strict_body

RETRY_SECONDS = 2
LONGEST_REPLY = 32_768  # tokens, where a request names no limit
LAST_SECONDS = 30  # for replies that are running when the server is told to stop
logger = logging.getLogger("perilune.server")


def make_app(
    model: Model,
    name: str,
    *,
    keys: tuple[str, ...] = (),
    origins: tuple[str, ...] = (),
    most: int = MOST_TOGETHER,
    most_of_key: int | None = None,
    kept: Kept | None = None,
    remote: Remote | None = None,
    strict_k2: bool = False,
    fronted: bool = False,
    page: MakeDoor | None = None,
) -> Starlette:
    """`name` is what clients call the model; `most` requests may be open at a time, `most_of_key` of one key.

    Without `kept` there are no files and no batches, and no response is kept. Without `remote` nothing is fetched from
    addresses in messages. `strict_k2` refuses chats that K2's hosted service refuses. A `fronted` server is one of
    several behind `perilune.fleet`, which alone has its keys. A `page` needs `kept`.
    """
    metrics = Metrics(model)
    desk = Desk(most, metrics.told, most_of_key)
    gate_of = gates(kept, remote)

    def batch(*given: Any, cache_salt: str, **options: Any) -> BatchResult:
        return run_batch(model, *given, cache_salt=cache_salt, gate=lambda: gate_of(cache_salt), **options)

    batches, stored = (Batches(batch, kept), Stored(kept)) if kept else (None, None)
    model.longest_reply = LONGEST_REPLY
    door = page(Served(model, name, desk, kept, keys)) if page and kept else None
    chat = replace(CHAT, options=lambda body: [chat_options(strict_body(body))]) if strict_k2 else CHAT

    def answers(told: Callable[[Request], Told]) -> Callable[[Request], Awaitable[Response]]:
        return Answers(model, name, desk, gate_of, told).__call__

    async def tokens(request: Request, options: dict[str, Any]) -> int:
        names = ("thinking", "continue_final_message")
        chosen = {name: options[name] for name in names if name in options}
        tools = None if options.get("tool_choice") == "none" else options["tools"]
        fetch = gate_of(request.state.owner)
        # Media may have to be fetched and decoded; others are answered meanwhile.
        return len((await run_in_threadpool(model.render, options["messages"], tools, fetch=fetch, **chosen)).ids)

    async def estimate(request: Request) -> Response:
        total = await tokens(request, chat_options(await read_json(request)))
        return JSONResponse({"data": {"total_tokens": total}})

    async def count(request: Request) -> Response:
        return JSONResponse({"input_tokens": await tokens(request, message_options(await read_json(request)))})

    @asynccontextmanager
    async def life(app: Starlette) -> AsyncIterator[None]:
        if batches:
            batches.start()
        yield
        if batches:
            await run_in_threadpool(batches.close)
        if door:
            await run_in_threadpool(door.close)
        desk.close()

    routes = [
        *_about(model, name, metrics),
        Route("/v1/chat/completions", answers(lambda request: chat), methods=["POST"]),
        Route("/v1/responses", answers(stored.told if stored else lambda request: RESPONSES), methods=["POST"]),
        Route("/v1/messages", answers(lambda request: MESSAGES), methods=["POST"]),
        Route("/v1/embeddings", Embeddings(model, name, desk).__call__, methods=["POST"]),
        Route("/v1/messages/count_tokens", count, methods=["POST"]),
        Route("/v1/tokenizers/estimate-token-count", estimate, methods=["POST"]),
    ]
    if kept and batches and stored:
        routes += [*Files(kept).routes(), *batches.routes(), *stored.routes()]
    routes += door.routes if door else []
    routes.append(described(routes, door.paths if door else {}))
    guard = Middleware(Guard, keys=keys, origins=origins, on_refused=metrics.refused, fronted=fronted, door=door)
    return Starlette(routes=routes, middleware=[guard], exception_handlers=handlers(metrics.refused), lifespan=life)


def _about(model: Model, name: str, metrics: Metrics) -> list[Route]:
    """What the server says about itself and its model."""
    listed = {
        "id": name,
        "object": "model",
        "created": 0,
        "owned_by": "perilune",
        "context_length": model.context_length,
        "supports_image_in": "vision" in model.senses.has,
        "supports_video_in": "vision" in model.senses.has,
    }

    async def health(request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def counts(request: Request) -> Response:
        return Response(metrics.text(), media_type="text/plain; version=0.0.4")

    async def version(request: Request) -> Response:
        return JSONResponse({"version": perilune.__version__})

    async def models(request: Request) -> Response:
        return JSONResponse({"object": "list", "data": [listed]})

    async def one_model(request: Request) -> Response:
        asked = request.path_params["name"]
        return JSONResponse(listed) if asked == name else no_such_model(asked, name)

    return [
        Route("/health", health),
        Route("/ready", health),
        Route("/version", version),
        Route("/metrics", counts),
        Route("/v1/models", models),
        Route("/v1/models/{name:path}", one_model),
    ]


def described(routes: list[Route], more: dict[str, Any] | None = None) -> Route:
    """The route that describes itself and the others; `more` are paths that are described elsewhere."""
    told = description({"/openapi.json", *(route.path.replace(":path", "") for route in routes)}, more or {})

    async def tell(request: Request) -> Response:
        return JSONResponse(told)

    return Route("/openapi.json", tell)


def handlers(on_fault: Callable[[int], None]) -> dict[Any, Callable[[Request, Any], Any]]:
    """What errors look like; `on_fault` hears of those that are the server's own."""

    def refuse(status: int, told: str, kind: str, code: str | None = None) -> JSONResponse:
        return JSONResponse(error_body(told, kind, code), status)

    async def ours(request: Request, error: PeriluneError) -> Response:
        if isinstance(error, BusyError):
            response = refuse(429, str(error), "rate_limit_error", "busy")
            response.headers["retry-after"] = str(RETRY_SECONDS)
            return response
        if isinstance(error, FullError):
            return refuse(507, str(error), "server_error", "no_room")
        if isinstance(error, WeightsError):  # the disk, not the client
            return refuse(500, str(error), "server_error")
        code = "context_length_exceeded" if isinstance(error, ContextError) else None
        return refuse(400, str(error), "invalid_request_error", code)

    async def too_large(request: Request, error: TooLarge) -> Response:
        return refuse(413, str(error), "invalid_request_error")

    async def missing(request: Request, error: Any) -> Response:
        told = f"there is no {request.method} {request.url.path[:80]} here"
        return refuse(error.status_code, told, "invalid_request_error")

    async def fault(request: Request, error: Exception) -> Response:
        logger.exception("a fault of the server's own at %s", request.url.path)
        on_fault(500)  # told outside of the guard
        return refuse(500, "a fault of the server's own; its log says more", "server_error")

    return {PeriluneError: ours, TooLarge: too_large, 404: missing, 405: missing, Exception: fault}


def serve(app: Starlette, host: str, port: int, on_ready: Callable[[int], None] = lambda port: None) -> None:
    """Runs until SIGINT or SIGTERM; running replies then have LAST_SECONDS to end. `on_ready` hears of the port."""
    # h11 bounds what it holds of a request's head; another parser that happens to be installed may not.
    config = uvicorn.Config(
        app,
        host,
        port,
        http="h11",
        ws="none",
        log_level="warning",
        timeout_graceful_shutdown=LAST_SECONDS,
        server_header=False,
    )

    class Server(uvicorn.Server):
        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets)
            if self.started:
                on_ready(self.servers[0].sockets[0].getsockname()[1])

    Server(config).run()
