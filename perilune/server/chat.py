"""POST /v1/chat/completions: OpenAI's chat, whole or streamed, with K2's reasoning_content, partial and thinking."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from perilune.api.messages import call_json
from perilune.api.model import Model
from perilune.api.openai import chat_options, completion, finish_of, new_id, usage_of
from perilune.api.streams import ChatReply
from perilune.server.guard import error_body, read_json
from perilune.server.running import Desk, Opened, Reading, Running
from perilune.text.reply import Delta

PING_SECONDS = 5.0  # a comment line at least so often, so that nobody in between hangs up while a prompt is read
LOOK_SECONDS = 0.25  # how often somebody who waits for a whole reply is looked after


class Chat:
    """Answers chat requests with one model, under the name it is served by."""

    def __init__(self, model: Model, name: str, desk: Desk):
        self.model, self.name, self.desk = model, name, desk

    async def __call__(self, request: Request) -> Response:
        body = await read_json(request)
        named = body.get("model", self.name)
        if named != self.name:
            told = f"no model is called {str(named)[:80]!r} here; there is {self.name!r}"
            return JSONResponse(error_body(told, "invalid_request_error", "model_not_found"), 404)
        options = chat_options(body)
        running = self.desk.take(self.model.stream, options)
        if body.get("stream"):
            told = body.get("stream_options") or {}
            return await self._streamed(running, isinstance(told, dict) and told.get("include_usage") is True)
        return JSONResponse(completion(await self._whole(running, request), self.name))

    async def _whole(self, running: Running, request: Request) -> ChatReply:
        """The reply; a client that hangs up ends it."""
        looking = asyncio.create_task(_gone(request))
        reading = asyncio.create_task(_last(running))
        try:
            await asyncio.wait((looking, reading), return_when=asyncio.FIRST_COMPLETED)
            if not reading.done():
                raise asyncio.CancelledError("the client has left")
            return reading.result()
        finally:
            looking.cancel()
            reading.cancel()
            running.leave()

    async def _streamed(self, running: Running, with_usage: bool) -> Response:
        """Refusals come before the first byte, with a status of their own."""
        pieces = aiter(running)
        try:
            opened = await anext(pieces)
        except BaseException:
            running.leave()
            raise
        assert isinstance(opened, Opened | Reading)
        events = _Events(self.name, with_usage).of(running, pieces)
        headers = {"cache-control": "no-cache", "x-accel-buffering": "no"}
        return StreamingResponse(events, media_type="text/event-stream", headers=headers)


async def _gone(request: Request) -> None:
    while not await request.is_disconnected():
        await asyncio.sleep(LOOK_SECONDS)


async def _last(running: Running) -> ChatReply:
    async for piece in running:
        if isinstance(piece, ChatReply):
            return piece
    raise RuntimeError("a reply ended without its whole")


class _Events:
    """Server-sent events of one reply."""

    def __init__(self, model: str, with_usage: bool):
        self.with_usage, self.calls = with_usage, 0
        self.head = {"id": new_id(), "object": "chat.completion.chunk", "created": int(time.time()), "model": model}

    async def of(self, running: Running, pieces: AsyncIterator[Any]) -> AsyncIterator[bytes]:
        try:
            yield self._chunk({"role": "assistant", "content": ""})
            waiting = asyncio.ensure_future(anext(pieces))
            said = time.monotonic()
            while True:
                done, _ = await asyncio.wait((waiting,), timeout=PING_SECONDS)
                if not done:
                    yield b": waiting\n\n"
                    continue
                piece = waiting.result()
                if isinstance(piece, Delta):
                    yield self._chunk(self._delta(piece))
                elif isinstance(piece, Reading) and time.monotonic() - said >= 1.0:
                    said = time.monotonic()
                    yield f": read {piece.done} of {piece.total}\n\n".encode()
                elif isinstance(piece, ChatReply):
                    yield self._chunk({}, finish_of(piece))
                    if self.with_usage:
                        yield _event({**self.head, "choices": [], "usage": usage_of(piece.usage)})
                    break
                waiting = asyncio.ensure_future(anext(pieces))
        except Exception as error:  # the status is long sent: say it where the client looks
            yield _event(error_body(str(error), "server_error"))
        finally:
            running.leave()
        yield b"data: [DONE]\n\n"

    def _chunk(self, delta: dict[str, Any], finish: str | None = None) -> bytes:
        return _event({**self.head, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})

    def _delta(self, piece: Delta) -> dict[str, Any]:
        if piece.call is not None:
            self.calls += 1
            return {"tool_calls": [{"index": self.calls - 1, **call_json(piece.call)}]}
        return {"reasoning_content" if piece.kind == "reasoning" else "content": piece.text}


def _event(told: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(told, ensure_ascii=False).encode() + b"\n\n"
