"""What the protocols share: fields that nobody knows, texts and media in parts, and replies as messages."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from perilune.api.custom import input_of
from perilune.errors import MessageError, RequestError
from perilune.fields import show_value
from perilune.media.parts import MediaItem
from perilune.text.chat import MAX_PARTS
from perilune.text.checks import at_most

if TYPE_CHECKING:
    from perilune.api.streams import ChatReply
    from perilune.text.calls import ToolCall

# A part that is a medium, and where it stands → an item, or the text of a document; None for all other parts.
AsMedium = Callable[[Mapping[str, Any], str], MediaItem | str | None]


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


def content_of(
    content: Any, where: str, kinds: tuple[str, ...], word: str, medium: AsMedium
) -> str | list[dict[str, Any]]:
    """A text, or parts of which some may be media."""
    if not isinstance(content, list):
        return joined_text(content, where, kinds, word)
    parts = enumerate(at_most(MAX_PARTS, content, where))
    return joined_parts(((part, f"{where}[{i}]") for i, part in parts), kinds, word, medium)


def joined_parts(
    parts: Iterable[tuple[Any, str]], kinds: tuple[str, ...], word: str, medium: AsMedium
) -> str | list[dict[str, Any]]:
    """The texts of parts, each with where it stands, and the media between them; one text where there are no media."""
    made: list[str | MediaItem] = []
    for part, where in parts:
        found = medium(part, where) if isinstance(part, Mapping) else None
        found = part_text(part, where, kinds, word) if found is None else found
        if isinstance(found, str) and made and isinstance(made[-1], str):
            made[-1] += "\n" + found
        else:
            made.append(found)
    if not any(isinstance(one, MediaItem) for one in made):
        return "".join(map(str, made))
    return [{"type": "text", "text": one} if isinstance(one, str) else one.part for one in made]


def part_text(part: Any, where: str, kinds: tuple[str, ...], word: str) -> str:
    kind = part.get("type") if isinstance(part, Mapping) else type(part).__name__
    spare = "refusal" if kind == "refusal" else "text"
    text = part.get("text", part.get(spare)) if isinstance(part, Mapping) else None
    if kind not in kinds or not isinstance(text, str):
        raise MessageError(f"{where} is a {word} of type {show_value(kind, 40)}, which cannot be read here")
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
