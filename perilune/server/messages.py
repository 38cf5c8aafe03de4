"""POST /v1/messages: Anthropic's messages, with tools and thinking."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from perilune.api.anthropic import call_input, message_of, message_options, new_id, stop_of, usage_of, use_block
from perilune.api.streams import ChatReply
from perilune.server.answers import Told, event
from perilune.server.running import Opened
from perilune.text.reply import Delta


class MessageEvents:
    """Content blocks, each begun, filled and ended before the next one begins."""

    def __init__(self, body: Mapping[str, Any], model: str):
        self.model, self.index, self.kind = model, -1, ""

    def begin(self, opened: Opened) -> bytes:
        message = {
            "id": new_id(),
            "type": "message",
            "role": "assistant",
            "model": self.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {"input_tokens": opened.prompt_tokens, "output_tokens": 0},
        }
        return _event("message_start", message=message) + self.ping()

    def delta(self, piece: Delta, index: int = 0) -> bytes:
        if piece.call is not None:
            block = {**use_block(piece.call), "input": {}}
            filled = json.dumps(call_input(piece.call), ensure_ascii=False)
            told = self._open("tool_use", block)
            return told + self._fill({"type": "input_json_delta", "partial_json": filled})
        if piece.kind == "reasoning":
            told = self._open("thinking", {"type": "thinking", "thinking": "", "signature": ""})
            return told + self._fill({"type": "thinking_delta", "thinking": piece.text})
        return self._open("text", {"type": "text", "text": ""}) + self._fill({"type": "text_delta", "text": piece.text})

    def end(self, reply: ChatReply, index: int = 0) -> bytes:
        ended = {"stop_reason": stop_of(reply), "stop_sequence": None}
        return (
            self._close() + _event("message_delta", delta=ended, usage=usage_of(reply.usage)) + _event("message_stop")
        )

    def close(self, replies: Sequence[ChatReply]) -> bytes:
        return b""

    def ping(self) -> bytes:
        return _event("ping")

    def fault(self, told: str) -> bytes:
        return _event("error", error={"type": "api_error", "message": told})

    def _open(self, kind: str, block: dict[str, Any]) -> bytes:
        """Begins a block where the last one is of another kind; every call has its own."""
        if kind == self.kind and kind != "tool_use":
            return b""
        before = self._close()
        self.index, self.kind = self.index + 1, kind
        return before + _event("content_block_start", index=self.index, content_block=block)

    def _fill(self, delta: dict[str, Any]) -> bytes:
        return _event("content_block_delta", index=self.index, delta=delta)

    def _close(self) -> bytes:
        if not self.kind:
            return b""
        self.kind = ""
        return _event("content_block_stop", index=self.index)


def _event(kind: str, **told: Any) -> bytes:
    return event({"type": kind, **told}, kind)


MESSAGES = Told(
    lambda body: [message_options(body)], lambda replies, body, model: message_of(replies[0], model), MessageEvents
)
