"""POST /v1/chat/completions: OpenAI's chat, with K2's reasoning_content, partial and thinking."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from typing import Any

from perilune.api.messages import call_json
from perilune.api.openai import chat_options, completion, finish_of, logprobs_json, new_id, usage_of
from perilune.api.streams import ChatReply, Said, Weighed
from perilune.server.answers import Told, event
from perilune.server.guard import error_body
from perilune.server.running import Opened
from perilune.text.reply import Delta


class ChatEvents:
    """Chunks, the last of them with the usage where it was asked for, and [DONE]."""

    def __init__(self, body: Mapping[str, Any], model: str):
        wanted = body.get("stream_options")
        self.with_usage = isinstance(wanted, Mapping) and wanted.get("include_usage") is True
        self.with_logprobs = body.get("logprobs") is True
        self.calls = 0
        self.head = {"id": new_id(), "object": "chat.completion.chunk", "created": int(time.time()), "model": model}

    def begin(self, opened: Opened) -> bytes:
        return self._chunk({"role": "assistant", "content": ""})

    def delta(self, piece: Delta) -> bytes:
        if piece.call is not None:
            self.calls += 1
            return self._chunk({"tool_calls": [{"index": self.calls - 1, **call_json(piece.call)}]})
        weighed = piece.weighed if isinstance(piece, Said) and self.with_logprobs else None
        return self._chunk(
            {"reasoning_content" if piece.kind == "reasoning" else "content": piece.text}, weighed=weighed
        )

    def end(self, reply: ChatReply) -> bytes:
        usage = event({**self.head, "choices": [], "usage": usage_of(reply)}) if self.with_usage else b""
        return self._chunk({}, finish_of(reply)) + usage + b"data: [DONE]\n\n"

    def ping(self) -> bytes:
        return b": waiting\n\n"

    def fault(self, told: str) -> bytes:
        return event(error_body(told, "server_error")) + b"data: [DONE]\n\n"

    def _chunk(
        self, delta: dict[str, Any], finish: str | None = None, weighed: Collection[Weighed] | None = None
    ) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": logprobs_json(weighed), "finish_reason": finish}
        return event({**self.head, "choices": [choice]})


CHAT = Told(chat_options, lambda reply, body, model: completion(reply, model), ChatEvents)
