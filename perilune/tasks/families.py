"""All task families by name, and how much of the generated mixture each takes."""

from perilune.errors import ConfigError
from perilune.tasks import about, arithmetic, calls, facts, passages, tales, words
from perilune.tasks.task import Family

FAMILIES: tuple[Family, ...] = (
    Family("calculation", arithmetic.calculation),
    Family("comparison", arithmetic.comparison),
    Family("word_problem", arithmetic.word_problem),
    Family("passage_question", passages.passage_question),
    Family("tool_call", calls.one_call),
    Family("two_tool_calls", calls.two_calls),
    Family("tool_result", calls.after_result),
    Family("no_tool", calls.no_fitting_tool),
    Family("about", about.about, split=False),
    Family("remembers_name", about.remembers_name),
    Family("story", tales.story),
    Family("spelling", words.spelling),
    Family("letters", words.letters),
    Family("list", words.list_tasks),
    Family("numbers", words.numbers),
    Family("name_some", words.name_some, split=False),
    Family("fact", facts.fact, split=False),
)

# Shares of the generated examples; they are counted in examples, so long ones weigh more.
WEIGHTS: dict[str, float] = {
    "calculation": 0.17,
    "comparison": 0.03,
    "word_problem": 0.07,
    "passage_question": 0.20,
    "tool_call": 0.13,
    "two_tool_calls": 0.03,
    "tool_result": 0.06,
    "no_tool": 0.05,
    "about": 0.11,
    "remembers_name": 0.02,
    "story": 0.08,
    "spelling": 0.015,
    "letters": 0.02,
    "list": 0.03,
    "numbers": 0.025,
    "name_some": 0.01,
    "fact": 0.03,
}


def family(name: str) -> Family:
    for candidate in FAMILIES:
        if candidate.name == name:
            return candidate
    raise ConfigError(f"no task family is called {name!r}; there are {', '.join(f.name for f in FAMILIES)}")
