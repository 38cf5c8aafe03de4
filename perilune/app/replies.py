"""Replies that are written whether anybody listens or not: begun, followed, stopped, and told again later."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import OrderedDict
from collections.abc import AsyncIterator
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from perilune.app import asked as fields
from perilune.app.asked import API, Body, Missing, answered, changing, named, only, owner, route
from perilune.app.conversation import Conversation, conversation
from perilune.app.history import History
from perilune.app.kept_files import KeptFiles
from perilune.app.live import Live
from perilune.app.projects import Projects
from perilune.app.reading import Documents
from perilune.app.writing import Asked, Writing
from perilune.engine.scheduler import BusyError
from perilune.engine.types import SamplingParams
from perilune.errors import RequestError
from perilune.fields import show_value
from perilune.server.door import Served
from perilune.server.guard import read_json

MOST_ALTERNATIVES = 10
MOST_KEPT = 32  # replies that have ended and can still be told event by event
MOST_LISTENERS = 16  # of one reply
LONGEST_SYSTEM = 256 << 10  # characters
LONGEST_ID = 64
MOST_BODY = 1 << 20
END_SECONDS = 20.0  # in which replies that are stopped write down what they had
SAMPLING = ("max_tokens", "temperature", "top_p")

Row = dict[str, Any]


class Replies:
    """The replies of one server, and their endpoints."""

    def __init__(self, served: Served, history: History, files: KeptFiles, projects: Projects, documents: Documents):
        self.served, self.history, self.files = served, history, files
        self.projects, self.documents = projects, documents
        self._lives: OrderedDict[str, Live] = OrderedDict()
        self._lock = threading.Lock()

    def routes(self) -> list[Route]:
        return [
            Route(f"{API}/chats/{{name}}/replies", self.begin, methods=["POST"]),
            Route(f"{API}/replies/{{name}}/events", self.events, methods=["GET"]),
            route("POST", "/replies/{name}/stop", self.stop),
            route("POST", "/replies/{name}/answer", self.answer),
        ]

    async def begin(self, request: Request) -> Response:
        if (refused := changing(request)) is not None:
            return refused
        body = await read_json(request, MOST_BODY)
        prepared = await answered(lambda: self._prepare(request, body))
        if isinstance(prepared, Response):
            return prepared
        chat, talk, wanted = prepared
        message = await run_in_threadpool(self.history.add, chat, body["parent"], "assistant", [], state="writing")
        live = Live(message["id"], chat, owner(request))

        def writing(on_prefill: object) -> Writing:
            return Writing(self.served.model, self.documents, self.history, live, talk, wanted)

        try:
            self.served.desk.take(writing, [{}], owner(request))
        except (BusyError, RequestError):
            await run_in_threadpool(self.history.take_back, message["id"])
            raise
        with self._lock:
            self._lives[live.message] = live
            ended = [name for name, one in self._lives.items() if one.ended.is_set()]
            for name in ended[: max(0, len(ended) - MOST_KEPT)]:
                del self._lives[name]
        return JSONResponse(message, 201)

    async def events(self, request: Request) -> Response:
        name, after = named(request), self._after(request)
        found = await answered(lambda: self.history.message(owner(request), name))
        if isinstance(found, Response):
            return found
        with self._lock:
            live = self._lives.get(name)
        if live is not None and live.listeners >= MOST_LISTENERS:
            raise BusyError(f"{MOST_LISTENERS} listen to this reply already")
        found.pop("chat")
        told = live.follow(after) if live else _only_the_end(found, after)
        headers = {"cache-control": "no-cache", "x-accel-buffering": "no"}
        return StreamingResponse(told, media_type="text/event-stream", headers=headers)

    def stop(self, request: Request, body: Body) -> Row:
        """A reply that has ended stays as it is."""
        only(body)
        live = self._found(request)
        going = live is not None and not live.ended.is_set()
        if live:
            live.stop()
        return {"id": named(request), "stopping": going}

    def answer(self, request: Request, body: Body) -> Row:
        """Ends the reasoning; where there is none, nothing changes."""
        only(body)
        live = self._found(request)
        going = live is not None and not live.ended.is_set()
        if live:
            live.answer.set()
        return {"id": named(request), "answering": going}

    def end_chat(self, chat: str) -> None:
        """Before a chat is deleted."""
        lives = [live for live in self._all() if live.chat == chat]
        _end(lives)
        with self._lock:
            for live in lives:
                self._lives.pop(live.message, None)

    def close(self) -> None:
        """The server ends: what is being written stays with what it has."""
        _end(self._all())
        self.history.stop_all()

    def _all(self) -> list[Live]:
        with self._lock:
            return list(self._lives.values())

    def _found(self, request: Request) -> Live | None:
        self.history.message(owner(request), named(request))
        with self._lock:
            return self._lives.get(named(request))

    def _prepare(self, request: Request, body: Body) -> tuple[str, Conversation, Asked]:
        """Everything that can be refused before a reply begins is refused here."""
        only(body, "parent", "thinking", *SAMPLING, "system", "alternatives", "routing")
        chat = self.history.chat(owner(request), named(request))
        parent = fields.needed(body, "parent", LONGEST_ID)
        branch = self.history.branch(chat["id"], parent)
        if not branch:
            raise Missing("message", parent)
        if branch[-1]["role"] != "user":
            raise RequestError("parent must be a message of the user, which is what a reply answers")
        sampling = {name: body[name] for name in SAMPLING if body.get(name) is not None}
        SamplingParams.from_options(sampling, self.served.model.defaults)
        alternatives = body.get("alternatives")
        if alternatives is not None and (type(alternatives) is not int or not 0 <= alternatives <= MOST_ALTERNATIVES):
            told = show_value(alternatives, 40)
            raise RequestError(f"alternatives must be a number from 0 to {MOST_ALTERNATIVES}, got {told}")
        routing, thinking = fields.flag(body, "routing", False), fields.flag(body, "thinking", True)
        system, before = fields.text(body, "system", LONGEST_SYSTEM) or "", list[str]()
        if chat["project"]:
            project = self.projects.get(owner(request), chat["project"])
            system = "\n\n".join(one for one in (project["instructions"], system) if one)
            before = project["files"]
        talk = conversation(owner(request), branch, system, before, self.files, self.documents)
        if body.get("thinking") is None and talk.documents:
            thinking = False  # as perilune ask: what was read is copied from, not reasoned about
        return chat["id"], talk, Asked(thinking, alternatives, routing, sampling)

    def _after(self, request: Request) -> int:
        """The number of the last event that a listener has."""
        given = request.headers.get("last-event-id") or request.query_params.get("after") or "0"
        if not given.isascii() or not given.isdigit() or len(given) > 12:
            raise RequestError(f"after must be the number of an event, got {given[:40]!r}")
        return int(given)


def _end(lives: list[Live]) -> None:
    for live in lives:
        live.stop()
    for live in lives:
        live.ended.wait(END_SECONDS)


async def _only_the_end(message: Row, after: int) -> AsyncIterator[bytes]:
    """Of a reply that was written before, perhaps by a server that is no more."""
    await asyncio.sleep(0)
    told = json.dumps({"type": "done", "message": message}, ensure_ascii=False)
    yield f"id: {after + 1}\ndata: {told}\n\n".encode()
