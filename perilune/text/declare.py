"""Declares tools to the model: a TypeScript namespace, or compact JSON for the whole list.

The published encoder turns to JSON as soon as one schema cannot be expressed, so anything that raises
while a function is written is an answer, not an accident. Python spellings (None, True, 1e-07) are part of
the format.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from perilune.text import checks
from perilune.text.schema import Inexpressible, Scope, comment, object_type, type_of

MAX_TOOLS = 1024


def declare(tools: Sequence[Mapping[str, Any]]) -> str:
    """The text of the `tool_declare` turn."""
    tools = checks.at_most(MAX_TOOLS, checks.sequence(tools, "tools"), "tools")
    for index, tool in enumerate(tools):
        checks.check_json(checks.mapping(tool, f"tools[{index}]"), f"tools[{index}]")
    ordered = _sort_keys(tools)
    try:
        functions = [
            _function(tool["function"]) for tool in ordered if tool.get("type") == "function" and tool.get("function")
        ]
    except (Inexpressible, AttributeError, KeyError, TypeError, ValueError):
        functions = []
    if not functions:
        return json.dumps(ordered, ensure_ascii=False, separators=(",", ":"))
    return "\n".join(["# Tools", "", "## functions", "namespace functions {", *functions, "}", ""])


def _sort_keys(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _sort_keys(value[key]) for key in sorted(value)}
    if isinstance(value, list | tuple):
        return [_sort_keys(item) for item in value]
    return value


def _function(function: Any) -> str:
    scope = Scope()
    root = object_type(function.get("parameters") or {}, scope, "")
    lines: list[str] = []
    parameters = root.text("")
    if scope.refers_to_root:
        lines.append(f"interface parameters {root.plain_order()}")
        parameters = "parameters"
    # A snapshot: definitions met only inside a definition resolve, but get no interface of their own.
    for name, definition in list(scope.definitions.items()):
        declared = type_of(definition, scope, "")
        description = definition.get("description")
        lines += [*comment(description, ""), f"interface {name} {declared}"]
    lines += comment(function.get("description"), "")
    lines.append(f"type {function.get('name', 'function')} = (_: {parameters}) => any;")
    return "\n".join(lines)
