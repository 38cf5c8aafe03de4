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
    "calculation": 0.117,
    "comparison": 0.028,
    "word_problem": 0.065,
    "passage_question": 0.175,
    "tool_call": 0.170,
    "two_tool_calls": 0.038,
    "tool_result": 0.056,
    "no_tool": 0.046,
    "about": 0.092,
    "remembers_name": 0.019,
    "story": 0.074,
    "spelling": 0.014,
    "letters": 0.019,
    "list": 0.028,
    "numbers": 0.023,
    "name_some": 0.009,
    "fact": 0.028,
}


def family(name: str) -> Family:
    for candidate in FAMILIES:
        if candidate.name == name:
            return candidate
    raise ConfigError(f"no task family is called {name!r}; there are {', '.join(f.name for f in FAMILIES)}")
