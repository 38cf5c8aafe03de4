"""One document of a corpus: plain text, or a conversation in the form in which it is trained and scored."""

import random
from dataclasses import dataclass
from typing import Any

from perilune.corpus.readers import Item
from perilune.corpus.sources import Source
from perilune.tasks import calls
from perilune.tasks.task import Example, Message, pick
from perilune.tasks.toolset import TOOLS

GENERATED = "generated"
SYSTEM_PROMPTS = (
    "You are a helpful assistant.",
    "You are nano, a small helpful model.",
    "You are nano.",
    "Answer in short sentences.",
    "Be kind and short.",
)


@dataclass(frozen=True)
class Document:
    """One document: plain text, or messages of which the replies from `train_from` on are learned."""

    source: str
    text: str | None = None
    messages: tuple[Message, ...] = ()
    tools: tuple[dict[str, Any], ...] = ()
    thinking: bool = False
    train_from: int = 0


def from_item(origin: Source, item: Item, rng: random.Random) -> Document:
    """A source's conversation as it is trained: with or without thinking, now and then a system prompt."""
    messages, tools = list(item.messages), list(item.tools)
    thinking = rng.random() < 0.5
    if origin.name == "clinc150":
        offered = [pick(rng, TOOLS)]
        example = calls.refusal(rng, str(messages[-1]["content"]), offered)
        return from_example(example, origin.name)
    if tools:
        tools += [tool.schema() for tool in rng.sample(TOOLS, rng.randrange(0, 2))]
        rng.shuffle(tools)
        if thinking:
            name = messages[-1]["tool_calls"][0]["function"]["name"]
            messages[-1] = {**messages[-1], "reasoning_content": f"{name} fits."}
    reasoned = "reasoning_content" in messages[-1] and not tools
    if reasoned and rng.random() < 0.7:
        thinking = True
    elif reasoned:
        steps = messages[-1]["reasoning_content"]
        messages[-1] = {"role": "assistant", "content": f"{steps}\n{messages[-1]['content']}"}
        thinking = False
    if rng.random() < 0.1:
        messages.insert(0, {"role": "system", "content": pick(rng, SYSTEM_PROMPTS)})
    return Document(origin.name, messages=tuple(messages), tools=tuple(tools), thinking=thinking)


def from_example(example: Example, name: str = GENERATED) -> Document:
    return Document(name, messages=example.messages, tools=example.tools, thinking=example.thinking)
