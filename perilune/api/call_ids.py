"""Ids of tool calls, whoever made them: a conversation that other servers began goes on in K2's own form.

K2 calls its calls functions.NAME:INDEX, counted over the whole conversation, and reads them in its prompt. Histories
carry what other systems gave out ("call_9f…", "toolu_…").
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

OWN = re.compile(r"functions\.[^:]+:\d+")


def normalised(messages: Sequence[Any]) -> list[Any]:
    """The messages with every foreign id in K2's form; what is no call or result stays as it is.

    A result belongs to the latest call of its id before it; one that belongs to none keeps its id.
    """
    made: list[Any] = []
    names: dict[str, str] = {}
    count = 0
    for message in messages:
        if not isinstance(message, Mapping):
            made.append(message)
            continue
        calls = message.get("tool_calls")
        if isinstance(calls, list):
            renamed = []
            for call in calls:
                renamed.append(_renamed(call, count, names))
                count += 1
            message = {**message, "tool_calls": renamed}
        elif message.get("role") == "tool" and isinstance(message.get("tool_call_id"), str):
            given = message["tool_call_id"]
            message = {**message, "tool_call_id": names.get(given, given)}
        made.append(message)
    return made


def _renamed(call: Any, index: int, names: dict[str, str]) -> Any:
    function = call.get("function") if isinstance(call, Mapping) else None
    given, name = (call.get("id"), function.get("name")) if isinstance(function, Mapping) else (None, None)
    if not isinstance(given, str) or not isinstance(name, str) or OWN.fullmatch(given):
        return call
    names[given] = f"functions.{name}:{index}"
    return {**call, "id": names[given]}


def foreign(own: str) -> str:
    """An id of ours in the letters that Anthropic's clients allow; `normalised` takes it back by its place."""
    return "toolu_" + re.sub(r"[^A-Za-z0-9_-]", "_", own.removeprefix("functions."))[-56:]
