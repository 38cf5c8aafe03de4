"""What the protocols share: fields that nobody knows, texts in parts, and replies as messages."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from perilune.api.custom import input_of
from perilune.errors import MessageError, RequestError
from perilune.fields import show_value
from perilune.text.chat import MAX_PARTS
from perilune.text.checks import at_most

if TYPE_CHECKING:
    from perilune.api.streams import ChatReply
    from perilune.text.calls import ToolCall


def refuse_unknown(body: Mapping[str, Any], known: frozenset[str]) -> None:
    """A field that nobody looks at would be passed over in silence."""
    if unknown := sorted(str(name) for name in set(body) - known):
        raise RequestError(f"unknown fields {', '.join(unknown)[:200]}; known are {', '.join(sorted(known))}")


def joined_text(content: Any, where: str, kinds: tuple[str, ...], word: str) -> str:
    """A text, or the texts of parts one after the other; `word` is what the protocol calls a part."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise MessageError(f"{where} must be a text or a list of {word}s")
    parts = enumerate(at_most(MAX_PARTS, content, where))
    return "\n".join(part_text(part, f"{where}[{i}]", kinds, word) for i, part in parts)


def part_text(part: Any, where: str, kinds: tuple[str, ...], word: str) -> str:
    kind = part.get("type") if isinstance(part, Mapping) else type(part).__name__
    spare = "refusal" if kind == "refusal" else "text"
    text = part.get("text", part.get(spare)) if isinstance(part, Mapping) else None
    if kind not in kinds or not isinstance(text, str):
        raise MessageError(f"{where} is a {word} of type {show_value(kind, 40)}; only text can be read so far")
    return text


def call_json(call: ToolCall, custom: Collection[str] = ()) -> dict[str, Any]:
    """`custom` are the names of tools that take a text."""
    if call.name in custom:
        return {"id": call.id, "type": "custom", "custom": {"name": call.name, "input": input_of(call)}}
    return {
        "id": call.id,
        "type": "function",
        "function": {"name": call.name, "arguments": call.arguments},
    }


def as_message(reply: ChatReply, custom: Collection[str] = ()) -> dict[str, Any]:
    """A reply as the message that stands for it in the next prompt; `custom` are the names of tools that take a
    text."""
    message: dict[str, Any] = {"role": "assistant", "content": reply.content}
    if reply.reasoning:
        message["reasoning_content"] = reply.reasoning
    if reply.tool_calls:
        message["tool_calls"] = [call_json(call, custom) for call in reply.tool_calls]
    return message
