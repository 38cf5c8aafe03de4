"""POST /v1/chat/completions: OpenAI's chat, with K2's reasoning_content, partial and thinking."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from perilune.api.custom import custom_names
from perilune.api.messages import call_json
from perilune.api.openai import choices_of, completion, finish_of, logprobs_json, new_id, usage_of
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
        self.count = 1 if body.get("n") is None else body["n"]
        self.custom = custom_names(body.get("tools"))
        self.calls = [0] * self.count
        self.head = {"id": new_id(), "object": "chat.completion.chunk", "created": int(time.time()), "model": model}

    def begin(self, opened: Opened) -> bytes:
        return b"".join(self._chunk(index, {"role": "assistant", "content": ""}) for index in range(self.count))

    def delta(self, piece: Delta, index: int) -> bytes:
        if piece.call is not None:
            self.calls[index] += 1
            call = {"index": self.calls[index] - 1, **call_json(piece.call, self.custom)}
            return self._chunk(index, {"tool_calls": [call]})
        if isinstance(piece, Said):
            return self._chunk(index, {"content": piece.text}, weighed=piece.weighed if self.with_logprobs else None)
        return self._chunk(index, {"reasoning_content": piece.text})

    def end(self, reply: ChatReply, index: int) -> bytes:
        return self._chunk(index, {}, finish_of(reply))

    def close(self, replies: Sequence[ChatReply]) -> bytes:
        usage = event({**self.head, "choices": [], "usage": usage_of(replies)}) if self.with_usage else b""
        return usage + b"data: [DONE]\n\n"

    def ping(self) -> bytes:
        return b": waiting\n\n"

    def fault(self, told: str) -> bytes:
        return event(error_body(told, "server_error")) + b"data: [DONE]\n\n"

    def _chunk(
        self, index: int, delta: dict[str, Any], finish: str | None = None, weighed: Sequence[Weighed] | None = None
    ) -> bytes:
        choice = {"index": index, "delta": delta, "logprobs": logprobs_json(weighed), "finish_reason": finish}
        return event({**self.head, "choices": [choice]})


CHAT = Told(choices_of, lambda replies, body, model: completion(replies, model, body.get("tools")), ChatEvents)
