"""Replies in the shape in which clients send and receive them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from perilune.errors import RequestError

if TYPE_CHECKING:
    from perilune.api.streams import ChatReply
    from perilune.text.calls import ToolCall


def refuse_unknown(body: Mapping[str, Any], known: frozenset[str]) -> None:
    """A field that nobody looks at would be passed over in silence."""
    if unknown := sorted(str(name) for name in set(body) - known):
        raise RequestError(f"unknown fields {', '.join(unknown)[:200]}; known are {', '.join(sorted(known))}")


def call_json(call: ToolCall) -> dict[str, Any]:
    return {
        "id": call.id,
        "type": "function",
        "function": {"name": call.name, "arguments": call.arguments},
    }


def as_message(reply: ChatReply) -> dict[str, Any]:
    """A reply as the message that stands for it in the next prompt."""
    message: dict[str, Any] = {"role": "assistant", "content": reply.content}
    if reply.reasoning:
        message["reasoning_content"] = reply.reasoning
    if reply.tool_calls:
        message["tool_calls"] = [call_json(call) for call in reply.tool_calls]
    return message
