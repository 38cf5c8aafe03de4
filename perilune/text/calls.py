"""Tool calls as the model writes them: one id and one JSON object, read tolerantly but never guessed."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

PREFIX = "functions."
_NAME = re.compile(r"[\w.\-]+")
_COUNTER = re.compile(r"[0-9]+")


@dataclass(frozen=True)
class ToolCall:
    """`arguments` is the text of one JSON object, as the model wrote it; `index` counts in the reply."""

    id: str
    name: str
    arguments: str
    index: int


@dataclass(frozen=True)
class Problem:
    """Why a piece of a reply is not the call it looks like. `text` is that piece, without markers."""

    reason: str
    text: str


class BadCall(Exception):
    """The reason a call cannot be used; `as_text` when its text belongs into the content instead."""

    def __init__(self, reason: str, *, as_text: bool):
        super().__init__(reason)
        self.as_text = as_text


def read_call(
    header: str,
    arguments: str,
    tools: Sequence[Mapping[str, Any]] | None,
    index: int,
    calls_before: int,
    keep_id: bool,
) -> ToolCall:
    """The call of one header and argument text; BadCall when it is none.

    Its id is renumbered by its place in the conversation, unless `keep_id` wants the model's own.
    """
    header, arguments = header.strip(), arguments.strip()
    name = _name_of(header)
    keys = _argument_keys(arguments)
    if name is None:
        name = _best_tool(keys, tools)
    written = header if keep_id else f"{PREFIX}{name}:{calls_before + index}"
    return ToolCall(written, name, arguments, index)


def count_calls(messages: Sequence[Mapping[str, Any]]) -> int:
    """How many calls a conversation holds, which is the number of its next call."""
    return sum(len(m.get("tool_calls") or ()) for m in messages if m.get("role") == "assistant")


def _name_of(header: str) -> str | None:
    """The function name in an id; None for a bare counter, which names none."""
    if _COUNTER.fullmatch(header):
        return None
    name, _, counter = header.removeprefix(PREFIX).rpartition(":")
    if not (_NAME.fullmatch(name) and _COUNTER.fullmatch(counter)):
        raise BadCall(f"the call id {header[:80]!r} is not functions.name:index", as_text=False)
    return name


def _argument_keys(arguments: str) -> list[str]:
    try:
        # Only the shape matters here: numbers stay text, so a huge one costs nothing.
        value = json.loads(arguments, parse_int=str, parse_float=str, parse_constant=_not_json)
    except ValueError as error:
        raise BadCall(f"the arguments are not JSON: {error}", as_text=True) from None
    except RecursionError:
        raise BadCall("the arguments are nested too deeply", as_text=True) from None
    if not isinstance(value, dict):
        raise BadCall("the arguments are not one JSON object", as_text=True)
    return list(value)


def _not_json(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _best_tool(keys: list[str], tools: Sequence[Mapping[str, Any]] | None) -> str:
    """The only tool, or the first of those whose properties fit the argument keys best."""
    declared = _tool_properties(tools)
    if not declared:
        raise BadCall("the call id is a bare counter and no tool is declared", as_text=False)
    scores = [sum(1 if key in properties else -1 for key in keys) for _, properties in declared]
    return declared[scores.index(max(scores))][0]


def _tool_properties(tools: Sequence[Mapping[str, Any]] | None) -> list[tuple[str, Mapping[str, Any]]]:
    declared = []
    for tool in tools or ():
        function = tool.get("function") if isinstance(tool, Mapping) else None
        name = function.get("name") if isinstance(function, Mapping) else None
        if not (isinstance(function, Mapping) and isinstance(name, str)):
            continue
        parameters = function.get("parameters")
        properties = parameters.get("properties") if isinstance(parameters, Mapping) else None
        declared.append((name, properties if isinstance(properties, Mapping) else {}))
    return declared
