"""POST /v1/responses: OpenAI's newer protocol, as items and their events. Nothing is stored: clients send the whole
conversation, as those that ask for `store: false` do."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from perilune.api.responses import (
    begun,
    call_item,
    ended,
    message_item,
    new_id,
    reasoning_item,
    response_of,
    response_options,
    text_part,
)
from perilune.api.streams import ChatReply
from perilune.server.answers import Told, event
from perilune.server.running import Opened
from perilune.text.calls import ToolCall
from perilune.text.reply import Delta

Keep = Callable[[dict[str, Any]], dict[str, Any]]


class ResponseEvents:
    """Items, each added, filled and done before the next one begins; every event is numbered. `keep` takes the response
    once it is whole, and gives it back as it is to be told."""

    def __init__(self, body: Mapping[str, Any], model: str, keep: Keep = lambda response: response):
        self.body, self.keep = body, keep
        self.response = begun(body, model)
        self.number = 0
        self.output: list[dict[str, Any]] = []
        self.kind, self.item_id, self.text = "", "", ""

    def begin(self, opened: Opened) -> bytes:
        return b"".join(self._event(f"response.{kind}", response=self.response) for kind in ("created", "in_progress"))

    def delta(self, piece: Delta, index: int = 0) -> bytes:
        if piece.call is not None:
            return self._done() + self._call(piece.call)
        told = b"" if piece.kind == self.kind else self._done() + self._added(piece.kind)
        self.text += piece.text
        name = "reasoning_text" if piece.kind == "reasoning" else "output_text"
        logprobs = {} if piece.kind == "reasoning" else {"logprobs": []}
        return told + self._inside(f"response.{name}.delta", delta=piece.text, **logprobs)

    def end(self, reply: ChatReply, index: int = 0) -> bytes:
        told = self._done()
        if not self.output:
            told += self._added("content") + self._done()
        response = self.keep(ended(self.response, reply, self.output))
        return told + self._event(f"response.{response['status']}", response=response)

    def close(self, replies: Sequence[ChatReply]) -> bytes:
        return b""

    def ping(self) -> bytes:
        return b": waiting\n\n"

    def fault(self, told: str) -> bytes:
        error = {"code": "server_error", "message": told}
        failed = {**self.response, "status": "failed", "error": error, "output": self.output}
        return self._event("response.failed", response=failed)

    def _added(self, kind: str) -> bytes:
        self.kind, self.text = kind, ""
        if kind == "reasoning":
            self.item_id = new_id("rs")
            item = {**reasoning_item("", self.item_id), "content": []}
            return self._event("response.output_item.added", output_index=len(self.output), item=item)
        self.item_id = new_id("msg")
        item = message_item([], self.item_id, "in_progress")
        added = self._event("response.output_item.added", output_index=len(self.output), item=item)
        return added + self._inside("response.content_part.added", part=text_part(""))

    def _done(self) -> bytes:
        """Ends the item that is open, if there is one."""
        kind, self.kind = self.kind, ""
        if not kind:
            return b""
        if kind == "reasoning":
            told = self._inside("response.reasoning_text.done", text=self.text)
            return told + self._ends(reasoning_item(self.text, self.item_id))
        told = self._inside("response.output_text.done", text=self.text, logprobs=[])
        told += self._inside("response.content_part.done", part=text_part(self.text))
        return told + self._ends(message_item([text_part(self.text)], self.item_id))

    def _call(self, call: ToolCall) -> bytes:
        item = call_item(call, self.body)
        is_text = item["type"] == "custom_tool_call"
        field, kind = ("input", "custom_tool_call_input") if is_text else ("arguments", "function_call_arguments")
        at = {"item_id": item["id"], "output_index": len(self.output)}
        empty = {**item, field: "", "status": "in_progress"}
        whole = {field: item[field]} if is_text else {field: item[field], "name": item["name"]}
        told = self._event("response.output_item.added", output_index=len(self.output), item=empty)
        told += self._event(f"response.{kind}.delta", **at, delta=item[field])
        told += self._event(f"response.{kind}.done", **at, **whole)
        return told + self._ends(item)

    def _ends(self, item: dict[str, Any]) -> bytes:
        self.output.append(item)
        return self._event("response.output_item.done", output_index=len(self.output) - 1, item=item)

    def _inside(self, kind: str, **told: Any) -> bytes:
        return self._event(kind, item_id=self.item_id, output_index=len(self.output), content_index=0, **told)

    def _event(self, kind: str, **told: Any) -> bytes:
        self.number += 1
        return event({"type": kind, "sequence_number": self.number - 1, **told}, kind)


RESPONSES = Told(
    lambda body: [response_options(body)],
    lambda replies, body, model: response_of(replies[0], body, model),
    ResponseEvents,
)
