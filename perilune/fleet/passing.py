"""What the front does to replies on their way: nothing, until one breaks off; and responses are kept as they pass.

Replicas get whole conversations and keep nothing, so none of them can lose what a client was told is kept.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from perilune.server.answers import event
from perilune.server.responses import ResponseEvents
from perilune.server.stored import Stored

TURNS = ("created", "in_progress", "completed", "incomplete", "failed")  # events that tell the response itself
TOLD_IN = frozenset(f"event: response.{name}".encode() for name in TURNS)


class Passed:
    """A reply that reaches its client as the replica tells it; `fault` says in its protocol that it has broken off."""

    def __init__(self, fault: Callable[[str], bytes]):
        self.fault = fault

    def whole(self, raw: bytes) -> bytes:
        return raw

    def event(self, raw: bytes) -> bytes:
        """One whole event, with the empty line after it."""
        return raw


class PassedResponse(Passed):
    """A response, whose replica knows of none before it. It is kept before its client hears that it is whole."""

    def __init__(self, stored: Stored | None, owner: str, body: Mapping[str, Any], model: str):
        self._stored, self._owner, self._body = stored, owner, body
        self._events = ResponseEvents(body, model)
        super().__init__(self._events.fault)

    def whole(self, raw: bytes) -> bytes:
        return json.dumps(self._kept(json.loads(raw))).encode()

    def event(self, raw: bytes) -> bytes:
        head, _, data = raw.partition(b"\n")
        if not head.startswith(b"event: "):
            return raw  # a sign of life
        self._events.number += 1
        if head not in TOLD_IN:
            return raw
        told = json.loads(data.removeprefix(b"data: "))
        self._events.response = told["response"] = self._kept(told["response"])
        return event(told, told["type"])

    def _kept(self, response: dict[str, Any]) -> dict[str, Any]:
        response = {**response, "previous_response_id": self._body.get("previous_response_id")}
        ended = response["status"] in ("completed", "incomplete")
        return self._stored.keep(self._owner, self._body, response) if self._stored and ended else response
