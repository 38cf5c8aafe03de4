"""Requests and replies in the shape of OpenAI's responses: a list of items in, a list of items out."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from typing import Any

from perilune.api.call_ids import normalised
from perilune.api.custom import arguments_of, as_choice, as_function, custom_names, input_of, is_custom
from perilune.api.messages import content_of, joined_text, refuse_unknown
from perilune.api.openai import thinks
from perilune.api.streams import ChatReply
from perilune.engine.types import Usage
from perilune.errors import MessageError, RequestError
from perilune.fields import show_value
from perilune.media.parts import MediaItem, item_of
from perilune.text.calls import ToolCall
from perilune.text.chat import MAX_MESSAGES
from perilune.text.checks import at_most

SAMPLING = ("temperature", "top_p", "tool_choice", "parallel_tool_calls")
# Fields that are told back, with what they are where a request leaves them out.
TOLD_BACK: dict[str, Any] = {
    "instructions": None,
    "max_output_tokens": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "reasoning": {"effort": None, "summary": None},
    "temperature": None,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_p": None,
    "truncation": "disabled",
}
SILENT = (
    *("model", "input", "stream", "stream_options", "user", "include", "service_tier", "store", "client_metadata"),
    *("prompt_cache_key", "prompt_cache_retention", "safety_identifier", "max_tool_calls"),
)
NOT_THERE = ("background", "conversation", "prompt", "top_logprobs", "previous_response_id")
KNOWN = frozenset((*TOLD_BACK, *SILENT, *NOT_THERE))
ROLES = {"user": "user", "assistant": "assistant", "system": "system", "developer": "system"}
CALLED = ("function", "custom")
MOST_PAIRS, LONGEST_NAME, LONGEST_VALUE = 16, 64, 512  # of metadata
HOSTED = ("web_search", "web_search_preview", "file_search", "code_interpreter", "image_generation")
TEXTS = ("input_text", "output_text", "text", "refusal")


def response_options(body: Mapping[str, Any]) -> dict[str, Any]:
    """What a request asks for, as options of Model.stream; what cannot be done is refused, never passed over."""
    refuse_unknown(body, KNOWN)
    for name in NOT_THERE:
        if body.get(name):
            raise RequestError(f"{name} is not there: send the whole conversation as input")
    options = {name: body[name] for name in SAMPLING if body.get(name) is not None}
    if "tool_choice" in options:
        options["tool_choice"] = _choice(options["tool_choice"])
    if body.get("max_output_tokens") is not None:
        options["max_tokens"] = body["max_output_tokens"]
    _check_metadata(body.get("metadata"))
    reasoning = body.get("reasoning")
    if isinstance(reasoning, Mapping) and reasoning.get("effort") is not None:
        options["thinking"] = thinks(reasoning["effort"])
    written = _format(body.get("text"))
    if written is not None:
        options["response_format"] = written
    messages = _instructions(body.get("instructions")) + _messages(body.get("input"))
    tools = _tools(body.get("tools"), options.get("tool_choice"))
    return {"messages": normalised(messages), "tools": tools, **options}


def _check_metadata(given: Any) -> None:
    """It is told back and kept, in the size that OpenAI allows."""
    pairs = {} if given is None else given
    if not isinstance(pairs, Mapping) or not all(isinstance(value, str) for value in pairs.values()):
        raise RequestError("metadata must be an object of texts")
    if len(pairs) > MOST_PAIRS or any(len(k) > LONGEST_NAME or len(v) > LONGEST_VALUE for k, v in pairs.items()):
        told = f"{MOST_PAIRS} names of up to {LONGEST_NAME} characters, with values of up to {LONGEST_VALUE}"
        raise RequestError(f"metadata may have {told}")


def _instructions(given: Any) -> list[dict[str, Any]]:
    if given is None:
        return []
    if not isinstance(given, str):
        raise MessageError("instructions must be a text")
    return [{"role": "system", "content": given}]


def _choice(choice: Any) -> Any:
    if isinstance(choice, Mapping) and choice.get("type") == "function" and "name" in choice:
        return {"type": "function", "function": {"name": choice["name"]}}
    return as_choice(choice)


def _format(text: Any) -> dict[str, Any] | None:
    """Their format has the schema one level higher."""
    asked = text.get("format") if isinstance(text, Mapping) else None
    if not isinstance(asked, Mapping) or asked.get("type") != "json_schema":
        return asked
    return {"type": "json_schema", "json_schema": {"schema": asked.get("schema")}}


def _tools(tools: Any, choice: Any) -> list[dict[str, Any]] | None:
    """Functions and custom tools, those of a namespace under its name. Tools that run on OpenAI's own servers are
    offers that nobody takes up here: they are left out, and not among the tools that are told back."""
    if tools is None:
        return None
    if not isinstance(tools, list):
        raise MessageError("tools must be a list")
    made: list[dict[str, Any]] = []
    for i, tool in enumerate(tools):
        if not isinstance(tool, Mapping):
            raise MessageError(f"tools[{i}] must be an object")
        if tool.get("type") in CALLED:
            made.append(_function(tool, tool.get("name"), f"tools[{i}]", choice))
        elif tool.get("type") == "namespace":
            inside = tool.get("tools")
            if not isinstance(inside, list) or not all(isinstance(one, Mapping) for one in inside):
                raise MessageError(f"tools[{i}].tools must be a list of functions")
            for j, one in enumerate(inside):
                name = f"{tool.get('name')}.{one.get('name')}"
                made.append(_function(one, name, f"tools[{i}].tools[{j}]", choice))
        elif tool.get("type") not in HOSTED:
            told = "only functions and custom tools can be called here"
            raise MessageError(f"tools[{i}] is of type {show_value(tool.get('type'))}; {told}")
    return made


def _function(tool: Mapping[str, Any], name: Any, where: str, choice: Any) -> dict[str, Any]:
    if is_custom(tool):
        return as_function(tool, name, where, choice)
    said = {n: tool[n] for n in ("description", "parameters", "strict") if tool.get(n) is not None}
    return {"type": "function", "function": {"name": name, **said}}


def input_items(given: Any) -> list[Any]:
    """What a request says, as items; their own form is not looked at."""
    if isinstance(given, str):
        return [{"type": "message", "role": "user", "content": given}]
    if not isinstance(given, list):
        raise MessageError("input must be a text or a list of items")
    at_most(MAX_MESSAGES, given, "input")
    return given


def _messages(given: Any) -> list[dict[str, Any]]:
    """Items in a row that one reply consists of become its one message: reasoning, text and calls."""
    made: list[dict[str, Any]] = []
    for i, item in enumerate(input_items(given)):
        where = f"input[{i}]"
        if not isinstance(item, Mapping):
            raise MessageError(f"{where} must be an object")
        kind = item.get("type", "message")
        if kind in ("function_call_output", "custom_tool_call_output"):
            told = _parts(item.get("output"), f"{where}.output")
            made.append({"role": "tool", "tool_call_id": item.get("call_id"), "content": told})
        elif kind == "message" and item.get("role") != "assistant":
            role = ROLES.get(str(item.get("role")))
            if role is None:
                raise MessageError(f"{where} needs a role of {', '.join(ROLES)}")
            made.append({"role": role, "content": _parts(item.get("content"), f"{where}.content")})
        else:
            _add_to_reply(made, item, kind, where)
    return made


def _add_to_reply(made: list[dict[str, Any]], item: Mapping[str, Any], kind: Any, where: str) -> None:
    last = made[-1] if made and made[-1]["role"] == "assistant" else {}
    if kind == "reasoning":
        parts = item.get("content") or item.get("summary") or []
        if not isinstance(parts, list):
            raise MessageError(f"{where}.content must be a list of parts")
        thought = "\n".join(str(p.get("text", "")) for p in parts if isinstance(p, Mapping))
        if last and ("content" in last or "tool_calls" in last):
            last = {}  # the next reply begins with it
        _into(made, last)["reasoning_content"] = thought
    elif kind == "message":
        message = _into(made, {} if "content" in last or "tool_calls" in last else last)
        message["content"] = _text(item.get("content"), f"{where}.content")
    elif kind in ("function_call", "custom_tool_call"):
        space = item.get("namespace")
        name = item.get("name") if space is None else f"{space}.{item.get('name')}"
        is_text = kind == "custom_tool_call"
        arguments = arguments_of(item.get("input"), f"{where}.input") if is_text else item.get("arguments")
        function = {"name": name, "arguments": arguments}
        call = {"id": item.get("call_id"), "type": "function", "function": function}
        _into(made, last).setdefault("tool_calls", []).append(call)
    else:
        raise MessageError(f"{where} is of type {show_value(kind)}, which cannot be read here")


def _into(made: list[dict[str, Any]], message: dict[str, Any]) -> dict[str, Any]:
    """The message itself where it is the last one, or else a new one."""
    if not message:
        message["role"] = "assistant"
        made.append(message)
    return message


def _text(content: Any, where: str) -> str:
    return joined_text(content, where, TEXTS, "part")


def _parts(content: Any, where: str) -> str | list[dict[str, Any]]:
    return content_of(content, where, TEXTS, "part", _medium)


def _medium(part: Mapping[str, Any], where: str) -> MediaItem | None:
    """Their fields stand in the part itself, where a chat's part has an object for them."""
    if part.get("type") == "input_audio":
        return item_of(part, where)
    if part.get("type") not in ("input_image", "input_file"):
        return None
    word = "image_url" if part["type"] == "input_image" else "file"
    named = {"url": part.get("image_url" if word == "image_url" else "file_url")}
    named |= {name: part.get(name) for name in ("file_id", "file_data")}
    return item_of({"type": word, word: named}, where)


def new_id(kind: str = "resp") -> str:
    return f"{kind}_{uuid.uuid4().hex}"


def reasoning_item(text: str, item_id: str) -> dict[str, Any]:
    content = [{"type": "reasoning_text", "text": text}]
    return {"id": item_id, "type": "reasoning", "summary": [], "content": content}


def text_part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def message_item(parts: list[dict[str, Any]], item_id: str, status: str = "completed") -> dict[str, Any]:
    return {"id": item_id, "type": "message", "status": status, "role": "assistant", "content": parts}


def call_item(call: ToolCall, body: Mapping[str, Any]) -> dict[str, Any]:
    """A call of a function, or of a custom tool."""
    is_text = call.name in custom_names(body.get("tools"))
    item_id = new_id("ctc" if is_text else "fc")
    told = {"type": "custom_tool_call" if is_text else "function_call", "call_id": call.id, "status": "completed"}
    told |= {"input": input_of(call)} if is_text else {"arguments": call.arguments}
    space, _, name = call.name.partition(".")
    if any(tool.get("type") == "namespace" and tool.get("name") == space for tool in body.get("tools") or ()):
        return {"id": item_id, **told, "namespace": space, "name": name}
    return {"id": item_id, **told, "name": call.name}


def usage_of(usage: Usage, reasoning_tokens: int) -> dict[str, Any]:
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": reasoning_tokens},
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }


def begun(body: Mapping[str, Any], model: str) -> dict[str, Any]:
    """The response while nothing of it has come."""
    back = {name: body[name] if body.get(name) is not None else default for name, default in TOLD_BACK.items()}
    back["tools"] = [tool for tool in back["tools"] if tool.get("type") not in HOSTED]
    head = {"id": new_id(), "object": "response", "created_at": int(time.time()), "model": model}
    ended = {"status": "in_progress", "error": None, "incomplete_details": None, "output": [], "usage": None}
    return {**head, **ended, **back, "store": False}


def ended(response: Mapping[str, Any], reply: ChatReply, output: list[dict[str, Any]]) -> dict[str, Any]:
    cut = reply.finish_reason == "length"
    return {
        **response,
        "status": "incomplete" if cut else "completed",
        "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
        "output": output,
        "usage": usage_of(reply.usage, reply.reasoning_tokens),
    }


def response_of(reply: ChatReply, body: Mapping[str, Any], model: str) -> dict[str, Any]:
    output = [reasoning_item(reply.reasoning, new_id("rs"))] if reply.reasoning else []
    if reply.content or not (reply.reasoning or reply.tool_calls):
        output.append(message_item([text_part(reply.content)], new_id("msg")))
    output += [call_item(call, body) for call in reply.tool_calls]
    return ended(begun(body, model), reply, output)
