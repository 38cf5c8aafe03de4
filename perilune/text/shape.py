"""What a reply must look like: tool calls and structured answers, written as grammars in llguidance's form of Lark.

A grammar speaks of the special tokens that frame calls by their names, so it holds for the ids of any vocabulary.
Syntax: https://github.com/guidance-ai/llguidance/blob/main/docs/syntax.md
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from perilune.errors import RequestError
from perilune.fields import show_value
from perilune.text import checks
from perilune.text import specials as sp

MAX_GRAMMAR = 128 << 10  # characters; compiling takes about the square of it, a second at most
MAX_CHOICES = 1024
TOOL_NAME = re.compile(r"[A-Za-z0-9_.-]{1,256}")
# A space, or a new line with its indent, but nothing longer: a model that is unsure would fill its reply with spaces.
SPACES = r" ?|\n[ \t]{0,40}"
ANY_OBJECT: dict[str, Any] = {"type": "object"}
STRUCTURED = ("json", "json_object", "regex", "choice", "grammar")


@dataclass(frozen=True)
class Shape:
    """A grammar, and from where on it holds: after the special token named `after`, or from the first token on.

    `optional`: the reply may end before that token came. `markers`: special tokens may stand in what it describes.
    """

    grammar: str
    after: str = ""
    optional: bool = False
    markers: bool = False


def shape_of(
    tools: Sequence[Mapping[str, Any]] | None,
    *,
    tool_choice: Any = "auto",
    parallel: bool = True,
    response_format: Any = None,
    structured: Any = None,
    thinking: bool = True,
) -> Shape | None:
    """The shape that a request asks for, in OpenAI's terms; `structured` is vLLM's `structured_outputs`.

    Calls that are forced, and those of tools that say `strict`, follow their schemas to the letter; of other calls
    only the form is held. Raises RequestError for what cannot be done, so that nobody gets less than was asked for.
    """
    given = list(checks.sequence(() if tools is None else tools, "tools"))
    answer, own = _answer(response_format, structured), _own_grammar(structured)
    forced = _forced(tool_choice, given)
    after = sp.END_THINK if thinking else ""
    if forced is not None:
        if answer or own:
            raise RequestError("a forced tool call has no other answer: leave response_format out, or tool_choice")
        return _capped(f"start: section\n{_section(forced, parallel, all_strict=True)}", after, markers=True)
    offered = given if tool_choice != "none" else []
    if (answer or own) and not offered:
        return _capped(own or f"start: {answer}", after)
    if answer or own:
        _check_names(offered)
    if own:
        raise RequestError("a grammar of your own and tools do not go together: leave one of them out")
    if answer:
        either = f"start: answer | section\nanswer: {answer}"
        return _capped(f"{either}\n{_section(offered, parallel)}", after, markers=True)
    if any(_is_strict(tool) for tool in offered):
        _check_names(offered)
    if not offered or not all(_callable(tool) for tool in offered):
        return None
    grammar = f"start: inside\n{_section(offered, parallel)}"
    return _capped(grammar, sp.SECTION_BEGIN, optional=True, markers=True)


def _capped(grammar: str, after: str, *, optional: bool = False, markers: bool = False) -> Shape:
    if len(grammar) > MAX_GRAMMAR:
        raise RequestError(f"the schemas and grammars come to more than {MAX_GRAMMAR >> 10} KiB: make them smaller")
    return Shape(grammar, after, optional, markers)


def _answer(response_format: Any, structured: Any) -> str | None:
    """The right side of a rule for the answer itself; None where any text will do, or a grammar of their own says."""
    kind = {"type": "text"} if response_format is None else response_format
    if not isinstance(kind, Mapping) or kind.get("type") not in ("text", "json_object", "json_schema"):
        told = 'response_format must be {"type": "text"}, {"type": "json_object"} or {"type": "json_schema", ...}'
        raise RequestError(f"{told}, got {show_value(response_format)}")
    if structured is not None:
        if kind["type"] != "text":
            raise RequestError("response_format and structured_outputs say the same thing: leave one of them out")
        return _structured(structured)
    if kind["type"] == "json_schema":
        wrapped = kind.get("json_schema")
        schema = wrapped.get("schema") if isinstance(wrapped, Mapping) else None
        return _json(schema, "response_format.json_schema.schema")
    return _json(ANY_OBJECT, "") if kind["type"] == "json_object" else None


def _structured(structured: Any) -> str | None:
    if not isinstance(structured, Mapping) or len(structured) != 1 or next(iter(structured)) not in STRUCTURED:
        raise RequestError(f"structured_outputs must be an object with one of {', '.join(STRUCTURED)}")
    name, given = next(iter(structured.items()))
    where = f"structured_outputs.{name}"
    if name == "json":
        return _json(_parsed(given, where), where)
    if name == "json_object":
        return _json(ANY_OBJECT, where)
    if name == "choice":
        choices = checks.sequence(given, where)
        if not 1 <= len(choices) <= MAX_CHOICES:
            raise RequestError(f"{where} needs 1 to {MAX_CHOICES} texts, got {len(choices)}")
        return " | ".join(_literal(checks.text(choice, where)) for choice in choices)
    if name == "grammar":
        return None
    return f"/{_regex(checks.text(given, where), where)}/"


def _own_grammar(structured: Any) -> str | None:
    """A whole grammar, where `structured` is one."""
    if structured is None or "grammar" not in structured:
        return None
    where = "structured_outputs.grammar"
    grammar = checks.text(structured["grammar"], where)
    if not re.search(r"^\s*start\s*:", grammar, re.MULTILINE):
        raise RequestError(f'{where} is a Lark grammar and needs a rule "start:"')
    return grammar


def _regex(pattern: str, where: str) -> str:
    from llguidance import regex_to_lark

    if len(pattern) > MAX_GRAMMAR or "\n" in pattern:
        raise RequestError(f"{where} must be one line of at most {MAX_GRAMMAR >> 10} KiB")
    return regex_to_lark(pattern)


def _parsed(schema: Any, where: str) -> Any:
    if not isinstance(schema, str):
        return schema
    try:
        return json.loads(schema)
    except (ValueError, RecursionError):
        raise RequestError(f"{where} is not JSON") from None


def _json(schema: Any, where: str) -> str:
    if not isinstance(schema, Mapping):
        raise RequestError(f"{where} must be a JSON schema, an object")
    checks.check_json(schema, where)
    return "%json " + json.dumps({**schema, "x-guidance": {"whitespace_pattern": SPACES}})


def _literal(text: str) -> str:
    return json.dumps(text, ensure_ascii=False) if text else '""'


def _callable(tool: Any) -> bool:
    function = tool.get("function") if isinstance(tool, Mapping) else None
    name = function.get("name") if isinstance(function, Mapping) else None
    return isinstance(name, str) and TOOL_NAME.fullmatch(name) is not None


def _is_strict(tool: Any) -> bool:
    function = tool.get("function") if isinstance(tool, Mapping) else None
    return isinstance(function, Mapping) and function.get("strict") is True


def _check_names(tools: Sequence[Any]) -> None:
    if not all(_callable(tool) for tool in tools):
        raise RequestError(f"a form of the reply needs tools with names of the form {TOOL_NAME.pattern}")


def _forced(tool_choice: Any, offered: list[Mapping[str, Any]]) -> list[Mapping[str, Any]] | None:
    """The tools of which one must be called; None where none must be."""
    if tool_choice in (None, "auto", "none"):
        return None
    if tool_choice == "required":
        chosen = offered
    else:
        function = tool_choice.get("function") if isinstance(tool_choice, Mapping) else None
        name = function.get("name") if isinstance(function, Mapping) else None
        if not isinstance(name, str):
            form = '"auto", "none", "required" or {"type": "function", "function": {"name": ...}}'
            raise RequestError(f"tool_choice must be {form}, got {show_value(tool_choice)}")
        chosen = [tool for tool in offered if _callable(tool) and tool["function"]["name"] == name]
        if not chosen:
            raise RequestError(f"tool_choice names {name[:80]!r}, which is none of the tools")
    if not chosen:
        raise RequestError("tool_choice asks for a call, but there are no tools")
    _check_names(chosen)
    return chosen


def _section(tools: Sequence[Mapping[str, Any]], parallel: bool, all_strict: bool = False) -> str:
    """Rules: `section` is the whole of it, `inside` what follows its first token."""
    calls = "call+" if parallel else "call"
    rules = [
        f"section: {sp.SECTION_BEGIN} inside",
        f"inside: {calls} {sp.SECTION_END}",
        f"call: {sp.CALL_BEGIN} function {sp.CALL_END}",
        "INDEX: /[0-9]{1,6}/",
        f"any_object: {_json(ANY_OBJECT, '')}",
    ]
    functions = []
    for i, tool in enumerate(tools):
        function = tool["function"]
        strict = all_strict or _is_strict(tool)
        parameters = function.get("parameters")
        if strict and parameters:
            where = f"the parameters of {function['name']}"
            rules.append(f"arguments_{i}: {_json(_an_object(parameters, where), where)}")
        arguments = f"arguments_{i}" if strict and parameters else "any_object"
        functions.append(f"{_literal('functions.' + function['name'] + ':')} INDEX {sp.ARGUMENT_BEGIN} {arguments}")
    return "\n".join([*rules, "function: " + "\n | ".join(functions)])


def _an_object(parameters: Any, where: str) -> Any:
    """Arguments are an object, also where a schema forgot to say so."""
    if not isinstance(parameters, Mapping):
        raise RequestError(f"{where} must be a JSON schema, an object")
    return parameters if "type" in parameters else {**parameters, "type": "object"}
