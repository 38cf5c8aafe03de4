"""Tool calls in the K2 form: one call, an answer from a result, two calls, or words when no tool fits."""

import json
import random
from typing import Any

from perilune.tasks.task import Example, Message, chance, pick, reply, several
from perilune.tasks.toolset import TOOLS, Tool

NO_TOOL = "I have no tool for that. I can only use {}."


def call(name: str, arguments: dict[str, Any], index: int = 0) -> dict[str, Any]:
    text = json.dumps(arguments, ensure_ascii=False)
    return {
        "id": f"functions.{name}:{index}",
        "type": "function",
        "function": {"name": name, "arguments": text},
    }


def calling(calls: list[dict[str, Any]], reasoning: str | None) -> Message:
    message = reply("", reasoning)
    message["tool_calls"] = calls
    return message


def _declared(rng: random.Random, wanted: list[Tool], limit: int = 4) -> tuple[dict[str, Any], ...]:
    others = [tool for tool in TOOLS if tool not in wanted]
    tools = wanted + several(rng, others, rng.randrange(0, limit - len(wanted)))
    rng.shuffle(tools)
    return tuple(tool.schema() for tool in tools)


def _system(rng: random.Random) -> tuple[Message, ...]:
    texts = (
        "You are a helpful assistant.",
        "Use the tools when they help.",
        "You are nano. Use tools when needed.",
    )
    return ({"role": "system", "content": pick(rng, texts)},) if chance(rng, 0.15) else ()


def one_call(rng: random.Random) -> Example:
    tool = pick(rng, TOOLS)
    request, arguments, _, _ = tool.case(rng)
    thinking = chance(rng, 0.5)
    reasoning = f"{tool.name} fits." if thinking else None
    last = calling([call(tool.name, arguments)], reasoning)
    messages = (*_system(rng), {"role": "user", "content": request}, last)
    return Example(messages, json.dumps([tool.name, arguments]), thinking, _declared(rng, [tool]))


def two_calls(rng: random.Random) -> Example:
    first, second = several(rng, TOOLS, 2)
    asked, arguments, _, _ = first.case(rng)
    also, more, _, _ = second.case(rng)
    request = f"{asked} {pick(rng, ('Also: ', 'And then: ', ''))}{also}"
    thinking = chance(rng, 0.5)
    reasoning = f"{first.name} and {second.name} fit." if thinking else None
    calls = [call(first.name, arguments), call(second.name, more, 1)]
    messages = (*_system(rng), {"role": "user", "content": request}, calling(calls, reasoning))
    answer = json.dumps([first.name, arguments, second.name, more])
    return Example(messages, answer, thinking, _declared(rng, [first, second], 5))


def after_result(rng: random.Random) -> Example:
    tool = pick(rng, TOOLS)
    request, arguments, result, told = tool.case(rng)
    thinking = chance(rng, 0.5)
    made = call(tool.name, arguments)
    failed = chance(rng, 0.08)
    content = json.dumps({"error": "not available"} if failed else result)
    told = "Sorry, that did not work: not available." if failed else told
    messages = (
        *_system(rng),
        {"role": "user", "content": request},
        calling([made], f"{tool.name} fits." if thinking else None),
        {"role": "tool", "tool_call_id": made["id"], "content": content},
        reply(told, "" if thinking else None),
    )
    return Example(messages, told, thinking, _declared(rng, [tool]))


def no_fitting_tool(rng: random.Random) -> Example:
    wanted = pick(rng, TOOLS)
    request = wanted.case(rng)[0]
    offered = several(rng, [tool for tool in TOOLS if tool.name != wanted.name], rng.randrange(1, 4))
    return refusal(rng, request, offered)


def refusal(rng: random.Random, request: str, offered: list[Tool]) -> Example:
    names = " and ".join(tool.name for tool in offered)
    content = NO_TOOL.format(names)
    thinking = chance(rng, 0.5)
    last = reply(content, "No tool fits." if thinking else None)
    messages = (*_system(rng), {"role": "user", "content": request}, last)
    return Example(messages, "no tool", thinking, tuple(tool.schema() for tool in offered))
