"""Exact match per task: held-out questions of every family, answered greedily, checked by a rule."""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from perilune.score.wilson import wilson
from perilune.tasks.families import FAMILIES, family
from perilune.tasks.task import HELD_OUT_SEEDS, Example, Family

CALLS = ("tool_call", "two_tool_calls")
WHOLE_REPLY = ("comparison", "list", "numbers", "spelling", "tool_result")
# A handful of questions each, all of them in the training mixture: recall, not generalisation.
FIXED_QUESTIONS = ("about", "fact")
OPEN_ENDED = ("name_some", "story")
MAX_TOKENS = 200


class Answer(Protocol):
    """What a reply must offer; perilune's own replies do."""

    @property
    def content(self) -> str: ...
    @property
    def tool_calls(self) -> Sequence[Any]: ...


class Chatter(Protocol):
    """What a model must offer to be scored; perilune.load returns one."""

    def chat(self, messages: Any, tools: Any = None, **options: Any) -> Any: ...


@dataclass(frozen=True)
class TaskScore:
    task: str
    right: int
    total: int

    @property
    def share(self) -> float:
        return self.right / self.total if self.total else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        return wilson(self.right, self.total)

    def to_dict(self) -> dict[str, Any]:
        low, high = self.interval
        exact = {"exact_match": round(self.share, 4), "low": round(low, 4), "high": round(high, 4)}
        return {"task": self.task, "right": self.right, "total": self.total, **exact}


def scored_families() -> tuple[Family, ...]:
    """Families with one right answer to a question that can be held out."""
    return tuple(f for f in FAMILIES if f.name not in OPEN_ENDED)


def is_right(name: str, example: Example, answer: Answer) -> bool:
    """Calls: the same functions and arguments in order. Sums: the final number or sentence. Lists: the whole
    reply. Else: the key stands in the reply."""
    if name in CALLS:
        try:
            made = [part for c in answer.tool_calls for part in (c.name, _arguments(c.arguments))]
        except ValueError:
            return False
        return made == json.loads(example.answer)
    if answer.tool_calls:
        return False
    content, expected = answer.content.strip(), str(example.messages[-1]["content"])
    if name == "calculation":
        return re.findall(r"-?\d+", content)[-1:] == [example.answer]
    if name == "word_problem":
        return _last_sentence(content) == _last_sentence(expected)
    if name in WHOLE_REPLY:
        return content.rstrip(".") == expected.rstrip(".")
    return stands_in(example.answer, content)


def _last_sentence(content: str) -> str:
    return content.rstrip(".").split(". ")[-1]


def stands_in(key: str, content: str) -> bool:
    """Whether whole words of the content are the key, whatever their case; "T-shirt" is one word, and no shirt."""
    found = rf"(?<!\w)(?<!\w-){re.escape(key)}(?!\w|-\w)"
    return re.search(found, content, re.IGNORECASE) is not None


def _arguments(arguments: Any) -> Any:
    return json.loads(arguments) if isinstance(arguments, str) else arguments


def score_task(
    model: Chatter,
    name: str,
    count: int,
    *,
    max_tokens: int = MAX_TOKENS,
    on_example: Callable[[Example, Answer, bool], None] | None = None,
) -> TaskScore:
    """`count` held-out examples of one family, greedy decoding."""
    chosen, right = family(name), 0
    for example in chosen.examples(HELD_OUT_SEEDS[:count]):
        options = {"thinking": example.thinking, "temperature": 0.0, "max_tokens": max_tokens}
        answer = model.chat(list(example.prompt), list(example.tools) or None, **options)
        good = is_right(name, example, answer)
        right += good
        if on_example:
            on_example(example, answer, good)
    return TaskScore(name, right, count)
