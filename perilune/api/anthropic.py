"""Requests and replies in the shape of Anthropic's messages: content blocks in, content blocks out."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from typing import Any

from perilune.api.call_ids import foreign, normalised
from perilune.api.messages import content_of, joined_parts, joined_text, part_text, refuse_unknown
from perilune.api.streams import ChatReply
from perilune.engine.types import Usage
from perilune.errors import MessageError, RequestError
from perilune.fields import finite, show_value
from perilune.media.inline import data_url
from perilune.media.parts import KEPT, MediaItem
from perilune.text.calls import ToolCall
from perilune.text.chat import MAX_MESSAGES, MAX_PARTS
from perilune.text.checks import at_most

KNOWN = frozenset(
    (
        *("model", "messages", "system", "max_tokens", "temperature", "top_p", "top_k", "stop_sequences", "stream"),
        *("tools", "tool_choice", "thinking", "metadata", "service_tier", "output_config", "context_management"),
    )
)
TEXTS = ("text",)
SOURCES = {"base64": ("media_type", "data"), "url": ("url",), "file": ("file_id",)}
STOPS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}


def message_options(body: Mapping[str, Any]) -> dict[str, Any]:
    """What a request asks for, as options of Model.stream. Without "thinking", none is shown, as there."""
    refuse_unknown(body, KNOWN)
    options = {
        name: body[name] for name in ("max_tokens", "temperature", "top_p", "top_k") if body.get(name) is not None
    }
    options |= _choice(body.get("tool_choice"))
    written = _format(body.get("output_config"))
    if written is not None:
        options["response_format"] = written
    if body.get("stop_sequences") is not None:
        options["stop"] = body["stop_sequences"]
    thinking = body.get("thinking")
    options["thinking"] = isinstance(thinking, Mapping) and thinking.get("type") in ("enabled", "adaptive")
    messages = _system(body.get("system"))
    given = body.get("messages")
    if not isinstance(given, list):
        raise MessageError("messages must be a list of messages")
    for index, message in enumerate(at_most(MAX_MESSAGES, given, "messages")):
        messages += _messages(message, f"messages[{index}]")
    if messages and messages[-1]["role"] == "assistant":
        options["continue_final_message"] = True
    return {"messages": normalised(messages), "tools": _tools(body.get("tools")), **options}


def _choice(choice: Any) -> dict[str, Any]:
    """Their choice of a tool in OpenAI's words."""
    if choice is None:
        return {}
    kind = choice.get("type") if isinstance(choice, Mapping) else None
    if kind not in ("auto", "any", "tool", "none"):
        raise RequestError(f"tool_choice needs a type of auto, any, tool or none, got {show_value(choice)}")
    words: dict[str, Any] = {"auto": "auto", "any": "required", "none": "none"}
    words["tool"] = {"type": "function", "function": {"name": choice.get("name")}}
    return {"tool_choice": words[kind], "parallel_tool_calls": choice.get("disable_parallel_tool_use") is not True}


def _format(config: Any) -> dict[str, Any] | None:
    """The schema that the answer must follow, in OpenAI's words."""
    asked = config.get("format") if isinstance(config, Mapping) else None
    if asked is None:
        return None
    if not isinstance(asked, Mapping) or asked.get("type") != "json_schema":
        raise RequestError('output_config.format must be {"type": "json_schema", "schema": {...}}')
    return {"type": "json_schema", "json_schema": {"schema": asked.get("schema")}}


def _system(system: Any) -> list[dict[str, Any]]:
    if system is None:
        return []
    return [{"role": "system", "content": _text(system, "system")}]


def _text(content: Any, where: str) -> str:
    return joined_text(content, where, TEXTS, "block")


def _block_text(block: Any, where: str) -> str:
    return part_text(block, where, TEXTS, "block")


def _medium(block: Mapping[str, Any], where: str) -> MediaItem | str | None:
    """A picture or a document; None for other blocks. A document that brings its text along is that text."""
    kind, source = block.get("type"), block.get("source")
    if kind not in ("image", "document"):
        return None
    source = source if isinstance(source, Mapping) else {}
    how = source.get("type")
    if kind == "document" and how == "text" and isinstance(source.get("data"), str):
        told = (block.get("title"), block.get("context"), source["data"])
        return "\n".join(text for text in told if isinstance(text, str) and text)
    named = [source.get(name) for name in SOURCES.get(str(how), ())]
    given = [value for value in named if isinstance(value, str) and value]
    if not given or len(given) != len(named):
        wanted = "; ".join(f"{how} with {' and '.join(names)}" for how, names in SOURCES.items())
        raise MessageError(f"{where}.source must have a type and what goes with it: {wanted}")
    place = data_url(*given) if how == "base64" else KEPT + given[0] if how == "file" else given[0]
    return MediaItem("file" if kind == "document" else "image", place, where)


def _messages(message: Any, where: str) -> list[dict[str, Any]]:
    """One of theirs is several of ours where it carries results of tools."""
    if not isinstance(message, Mapping) or message.get("role") not in ("user", "assistant", "system"):
        raise MessageError(f"{where} needs a role of user or assistant")
    content = message.get("content")
    if isinstance(content, str):
        return [{"role": message["role"], "content": content}]
    if not isinstance(content, list):
        raise MessageError(f"{where}.content must be a text or a list of blocks")
    at_most(MAX_PARTS, content, f"{where}.content")
    return _assistant(content, where) if message["role"] == "assistant" else _user(message["role"], content, where)


def _user(role: str, blocks: list[Any], where: str) -> list[dict[str, Any]]:
    results, said = [], []
    for i, block in enumerate(blocks):
        at = f"{where}.content[{i}]"
        if isinstance(block, Mapping) and block.get("type") == "tool_result":
            told = content_of(block.get("content") or "", f"{at}.content", TEXTS, "block", _medium)
            results.append({"role": "tool", "tool_call_id": block.get("tool_use_id"), "content": told})
        else:
            said.append((block, at))
    content = joined_parts(said, TEXTS, "block", _medium)
    return results + ([{"role": role, "content": content}] if said or not results else [])


def _assistant(blocks: list[Any], where: str) -> list[dict[str, Any]]:
    texts, thoughts, calls = [], [], []
    for i, block in enumerate(blocks):
        kind = block.get("type") if isinstance(block, Mapping) else None
        if kind == "tool_use":
            function = {
                "name": block.get("name"),
                "arguments": json.dumps(block.get("input") or {}, ensure_ascii=False),
            }
            calls.append({"id": block.get("id"), "type": "function", "function": function})
        elif kind == "thinking":
            thoughts.append(str(block.get("thinking") or ""))
        elif kind != "redacted_thinking":
            texts.append(_block_text(block, f"{where}.content[{i}]"))
    made: dict[str, Any] = {"role": "assistant", "content": "".join(texts)}
    if thoughts:
        made["reasoning_content"] = "".join(thoughts)
    if calls:
        made["tool_calls"] = calls
    return [made]


def _tools(tools: Any) -> list[dict[str, Any]] | None:
    if tools is None:
        return None
    if not isinstance(tools, list):
        raise MessageError("tools must be a list")
    made = []
    for i, tool in enumerate(tools):
        if not isinstance(tool, Mapping) or not isinstance(tool.get("input_schema"), Mapping):
            raise MessageError(f"tools[{i}] needs a name and an input_schema; tools that run on a server are not there")
        function = {"name": tool.get("name"), "parameters": tool["input_schema"]}
        if tool.get("description") is not None:
            function["description"] = tool["description"]
        if tool.get("strict") is not None:
            function["strict"] = tool["strict"]
        made.append({"type": "function", "function": function})
    return made


def new_id() -> str:
    return f"msg_{uuid.uuid4().hex}"


def call_input(call: ToolCall) -> dict[str, Any]:
    """The arguments as an object; what the model wrote may be none, and then stands under one name."""
    try:
        found = json.loads(call.arguments, parse_float=finite, parse_constant=finite)
    except (ValueError, RecursionError):
        found = None
    return found if isinstance(found, dict) else {"arguments": call.arguments}


def use_block(call: ToolCall) -> dict[str, Any]:
    return {"type": "tool_use", "id": foreign(call.id), "name": call.name, "input": call_input(call)}


def usage_of(usage: Usage) -> dict[str, Any]:
    """Their input tokens leave out what came from a cache."""
    return {
        "input_tokens": usage.prompt_tokens - usage.cached_tokens,
        "cache_read_input_tokens": usage.cached_tokens,
        "cache_creation_input_tokens": 0,
        "output_tokens": usage.completion_tokens,
    }


def stop_of(reply: ChatReply) -> str:
    return STOPS.get(reply.finish_reason, "end_turn")


def message_of(reply: ChatReply, model: str) -> dict[str, Any]:
    blocks: list[dict[str, Any]] = []
    if reply.reasoning:
        blocks.append({"type": "thinking", "thinking": reply.reasoning, "signature": ""})
    if reply.content:
        blocks.append({"type": "text", "text": reply.content})
    blocks += [use_block(call) for call in reply.tool_calls or ()]
    return {
        "id": new_id(),
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": blocks,
        "stop_reason": stop_of(reply),
        "stop_sequence": None,
        "usage": usage_of(reply.usage),
    }
