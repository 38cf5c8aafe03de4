"""Responses that are kept, so that the next request need only name the last one: previous_response_id.

A record holds what its own request said and what was answered; a conversation is the chain of them. They are kept
unless a request says store: false, and the oldest leave when there are too many.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from perilune.api.responses import input_items, response_of, response_options
from perilune.errors import RequestError
from perilune.fields import show_value
from perilune.server.answers import Told
from perilune.server.files import nothing
from perilune.server.guard import MOST_BODY_BYTES
from perilune.server.kept import Kept
from perilune.server.responses import ResponseEvents

KIND = "response"
MOST_KEPT_BYTES = 1 << 30
LONGEST_CHAIN = 1000  # requests in a conversation


class Stored:
    """Responses that `kept` holds, each for the key that asked for it."""

    def __init__(self, kept: Kept):
        self.kept = kept

    def routes(self) -> list[Route]:
        return [
            Route("/v1/responses/{name}", self.one, methods=["GET"]),
            Route("/v1/responses/{name}", self.delete, methods=["DELETE"]),
            Route("/v1/responses/{name}/input_items", self.items, methods=["GET"]),
        ]

    def told(self, request: Request) -> Told:
        """The protocol of responses for whoever asks."""
        owner = request.state.owner
        return Told(
            lambda body: [response_options(self.continued(owner, body))],
            lambda replies, body, model: self.keep(owner, body, response_of(replies[0], body, model)),
            lambda body, model: ResponseEvents(body, model, partial(self.keep, owner, body)),
        )

    def continued(self, owner: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """The request with the whole conversation as its input."""
        plain = {name: value for name, value in body.items() if name != "previous_response_id"}
        if body.get("previous_response_id") is None:
            return plain
        parts, size, name = [input_items(body.get("input"))], 0, body["previous_response_id"]
        while name is not None:
            record = self.kept.get(KIND, owner, name) if isinstance(name, str) else None
            if record is None:
                raise RequestError(f"previous_response_id names no response that is kept here: {show_value(name)}")
            parts.append([*record["input"], *record["response"]["output"]])
            size, name = size + record["size"], record["response"]["previous_response_id"]
            if size > MOST_BODY_BYTES or len(parts) > LONGEST_CHAIN:
                raise RequestError("this conversation has become too long; begin a new one")
        return {**plain, "input": [item for part in reversed(parts) for item in part]}

    def keep(self, owner: str, body: Mapping[str, Any], response: dict[str, Any]) -> dict[str, Any]:
        """The response as it is told: kept first, so that it is there for whoever has heard of it."""
        if body.get("store") is False:
            return response
        stored = {**response, "store": True}
        record = {"id": response["id"], "response": stored, "input": input_items(body.get("input"))}
        self.kept.put_newest(KIND, owner, record, MOST_KEPT_BYTES)
        return stored

    def one(self, request: Request) -> Response:
        record = self._record(request)
        return JSONResponse(record["response"]) if record else nothing(KIND, request)

    def items(self, request: Request) -> Response:
        """What the request itself said, newest first."""
        record = self._record(request)
        if not record:
            return nothing(KIND, request)
        named = [{"id": f"item_{i}", "type": "message", **item} for i, item in enumerate(record["input"])]
        data = named[::-1]
        ends = {"first_id": data[0]["id"] if data else None, "last_id": data[-1]["id"] if data else None}
        return JSONResponse({"object": "list", "data": data, **ends, "has_more": False})

    def delete(self, request: Request) -> Response:
        name = request.path_params["name"]
        if not self.kept.drop(KIND, request.state.owner, name):
            return nothing(KIND, request)
        return JSONResponse({"id": name, "object": "response", "deleted": True})

    def _record(self, request: Request) -> dict[str, Any] | None:
        return self.kept.get(KIND, request.state.owner, request.path_params["name"])
