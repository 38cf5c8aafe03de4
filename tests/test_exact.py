"""Exact match: the reply of a task is right, a spoiled one is not, and a real model gets scored."""

import json
from dataclasses import dataclass, replace

import pytest
from tiny_models import TOKENIZER, tiny_transformer

from perilune.api.model import Model
from perilune.score.exact import TaskScore, is_right, score_task, scored_families
from perilune.tasks.families import FAMILIES, family
from perilune.text.calls import ToolCall

NAMES = [f.name for f in scored_families()]


@dataclass(frozen=True)
class Said:
    content: str = ""
    tool_calls: tuple[ToolCall, ...] = ()


def true_reply(example):
    last = example.messages[-1]
    calls = [
        ToolCall(c["id"], c["function"]["name"], c["function"]["arguments"], i)
        for i, c in enumerate(last.get("tool_calls", ()))
    ]
    return Said(last["content"], tuple(calls))


@pytest.mark.parametrize("name", NAMES)
def test_the_true_reply_is_right_and_an_empty_one_is_not(name):
    for example in family(name).examples(range(150)):
        assert is_right(name, example, true_reply(example)), example
        if example.answer:
            assert not is_right(name, example, Said("I do not know."))


def test_numbers_must_be_the_last_said():
    example = next(e for e in family("calculation").examples(range(50)) if not e.thinking)
    wrong = f"{example.answer} or rather {int(example.answer) + 1}."
    assert not is_right("calculation", example, Said(wrong))


def test_calls_must_agree_in_name_and_arguments():
    example = family("tool_call").example(3)
    made = true_reply(example).tool_calls[0]
    for spoiled in (
        replace(made, name="other"),
        replace(made, arguments="{}"),
        replace(made, arguments="{broken"),
    ):
        assert not is_right("tool_call", example, Said(tool_calls=(spoiled,)))
    reordered = json.dumps(dict(reversed(json.loads(made.arguments).items())))
    assert is_right("tool_call", example, Said(tool_calls=(replace(made, arguments=reordered),)))
    assert not is_right("no_tool", family("no_tool").example(1), Said("no tool", (made,)))


def test_open_ended_families_are_not_scored():
    assert set(NAMES) < {f.name for f in FAMILIES}


def test_an_untrained_model_is_scored_zero():
    model = Model(tiny_transformer(context=2048), TOKENIZER)
    seen = []
    score = score_task(model, "spelling", 2, max_tokens=4, on_example=lambda *result: seen.append(result))
    assert score == TaskScore("spelling", 0, 2)
    assert len(seen) == 2 and not seen[0][2]
    assert score.to_dict()["exact_match"] == 0.0 and score.to_dict()["high"] > 0.6
