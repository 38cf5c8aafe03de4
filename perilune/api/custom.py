"""Custom tools, which take a text as it is: to the model each is a function with one string, and back again.

A regular expression is held to the letter, inside of the JSON in which the model writes the text. A Lark grammar cannot
be: escaped as JSON, its texts are those of another grammar. It is told to the model, and whoever checks what a tool
gets, as coding agents do, still has to; a call that is forced would promise more than that and is refused.

Both of OpenAI's spellings are read: the fields of a tool beside its type (responses), or under "custom" (chat).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from perilune.errors import MessageError, RequestError
from perilune.fields import show_value
from perilune.text import checks
from perilune.text.calls import ToolCall
from perilune.text.shape import MAX_GRAMMAR

INPUT = "input"  # the name of the one argument
SYNTAXES = ("regex", "lark")


def is_custom(value: Any) -> bool:
    """Whether a tool, a call or a choice speaks of a custom tool."""
    return isinstance(value, Mapping) and value.get("type") == "custom"


def fields_of(value: Mapping[str, Any]) -> Mapping[str, Any]:
    """Those of a tool, a call or a choice, in either spelling."""
    inner = value.get("custom")
    return inner if isinstance(inner, Mapping) else value


def as_choice(choice: Any) -> Any:
    """A tool_choice in terms of functions."""
    if not is_custom(choice):
        return choice
    return {"type": "function", "function": {"name": fields_of(choice).get("name")}}


def as_function(tool: Mapping[str, Any], name: Any, where: str, choice: Any = None) -> dict[str, Any]:
    """The function that stands for a custom tool; it is strict, so that every call has its text. `choice` is the
    tool_choice in terms of functions."""
    fields, name = fields_of(tool), checks.text(name, f"{where}.name")
    syntax, definition = _grammar(fields.get("format"), f"{where}.format")
    text: dict[str, Any] = {"type": "string"}
    said = [checks.optional_text(fields, "description", where)]
    if syntax == "regex":
        text["pattern"] = f"^(?:{definition})$"
    elif syntax == "lark":
        if _is_forced(name, choice):
            told = "a Lark grammar cannot be held to inside of a call: do not force this tool"
            raise RequestError(f"{where}.format: {told}, or give a grammar of syntax regex, which can")
        said.append(f"The {INPUT} is a text of this Lark grammar:\n{definition}")
    parameters = {"type": "object", "properties": {INPUT: text}, "required": [INPUT], "additionalProperties": False}
    function = {"name": name, "parameters": parameters, "strict": True}
    if description := "\n\n".join(part for part in said if part):
        function["description"] = description
    return {"type": "function", "function": function}


def _grammar(form: Any, where: str) -> tuple[str, str]:
    """Syntax and definition; empty where any text will do."""
    kind = form.get("type") if isinstance(form, Mapping) else None
    if form is None or kind == "text":
        return "", ""
    if kind != "grammar":
        raise RequestError(f'{where} must be {{"type": "text"}} or {{"type": "grammar", ...}}, got {show_value(form)}')
    inner = form.get("grammar")
    given = inner if isinstance(inner, Mapping) else form
    if given.get("syntax") not in SYNTAXES:
        raise RequestError(f"{where} has a syntax of {' or '.join(SYNTAXES)}, got {show_value(given.get('syntax'))}")
    definition = checks.text(given.get("definition"), f"{where}.definition")
    if not 1 <= len(definition) <= MAX_GRAMMAR:
        raise RequestError(f"{where}.definition must have 1 to {MAX_GRAMMAR} characters, got {len(definition)}")
    return given["syntax"], definition


def _is_forced(name: Any, choice: Any) -> bool:
    function = choice.get("function") if isinstance(choice, Mapping) else None
    return choice == "required" or (isinstance(function, Mapping) and function.get("name") == name)


def custom_names(tools: Any) -> frozenset[str]:
    """Names of the custom tools among a request's tools, those of a namespace under its name. Tools that are none are
    refused elsewhere."""
    return frozenset(_names(tools))


def _names(tools: Any, before: str = "") -> Iterator[str]:
    for tool in tools if isinstance(tools, list) else ():
        if is_custom(tool):
            yield f"{before}{fields_of(tool).get('name')}"
        elif isinstance(tool, Mapping) and tool.get("type") == "namespace" and not before:
            yield from _names(tool.get("tools"), f"{tool.get('name')}.")


def input_of(call: ToolCall) -> str:
    """The text that a call gives its tool; all of its arguments, where the model has left the form."""
    found = json.loads(call.arguments, parse_int=str).get(INPUT)
    text = found if isinstance(found, str) else call.arguments
    return text.encode(errors="replace").decode()  # half of a pair can be written in JSON, but is no text


def arguments_of(text: Any, where: str) -> str:
    """The same, back again."""
    return json.dumps({INPUT: checks.text(text, where)}, ensure_ascii=False)


def with_functions(messages: Sequence[Any]) -> list[Any]:
    """Messages of a chat with calls of custom tools as calls of functions."""
    return [_with_functions(message, f"messages[{i}]") for i, message in enumerate(messages)]


def _with_functions(message: Any, where: str) -> Any:
    calls = message.get("tool_calls") if isinstance(message, Mapping) else None
    if not isinstance(calls, list) or not any(is_custom(call) for call in calls):
        return message
    made = []
    for i, call in enumerate(calls):
        if is_custom(call):
            fields, at = fields_of(call), f"{where}.tool_calls[{i}].custom"
            function = {"name": fields.get("name"), "arguments": arguments_of(fields.get("input"), f"{at}.input")}
            call = {"id": call.get("id"), "type": "function", "function": function}
        made.append(call)
    return {**message, "tool_calls": made}


def functions_of(tools: Any, choice: Any) -> Any:
    """Tools of a chat with custom ones as functions; what is no list of objects is left for others to refuse."""
    if not isinstance(tools, list) or not any(is_custom(tool) for tool in tools):
        return tools
    if not all(isinstance(tool, Mapping) for tool in tools):
        raise MessageError("tools must be a list of objects")
    return [
        as_function(tool, fields_of(tool).get("name"), f"tools[{i}]", choice) if is_custom(tool) else tool
        for i, tool in enumerate(tools)
    ]
