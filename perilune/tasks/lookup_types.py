"""What a lookup is: needles to hide in a long text, and questions that only they answer."""

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass

MOST_QUESTIONS = 8


@dataclass(frozen=True)
class Question:
    """`needles`: which of them hold the values. A right reply names every value."""

    text: str
    values: tuple[str, ...]
    needles: tuple[int, ...]

    @property
    def answer(self) -> str:
        return ", ".join(self.values)


@dataclass(frozen=True)
class Lookup:
    """Needles stand in the document in this order. `filler`: "text", "code", "noise", or "needles" for none.

    `file` is what the document must be called where that is the answer.
    """

    task: str
    needles: tuple[str, ...]
    questions: tuple[Question, ...]
    filler: str
    file: str | None = None


Make = Callable[[random.Random, int, bool], Lookup]


def question(text: str, values: Iterable[str], needles: Iterable[int]) -> Question:
    return Question(text, tuple(values), tuple(needles))


def fair(asked: Question) -> bool:
    """No value is already given away by the question."""
    text = asked.text.lower()
    return not any(value.lower() in text for value in asked.values)


def fair_questions(
    rng: random.Random, make: Callable[[], Question | None], wanted: int = MOST_QUESTIONS
) -> tuple[Question, ...]:
    """Up to `wanted` different questions; each draw that gives its answer away, or repeats one, is dropped."""
    found: dict[tuple[tuple[str, ...], tuple[int, ...]], Question] = {}
    for _ in range(4 * wanted):
        if len(found) == wanted:
            break
        asked = make()
        if asked is not None and fair(asked):
            found.setdefault((asked.values, asked.needles), asked)
    made = list(found.values())
    rng.shuffle(made)
    return tuple(made)


def usable(make: Make) -> Make:
    """Draws again where a draw left no question, which is rare: a value of one digit stood in every key, say."""

    def again(rng: random.Random, needles: int, held_out: bool) -> Lookup:
        while True:
            made = make(rng, needles, held_out)
            if made.questions:
                return made

    return again


def prose_filler(rng: random.Random) -> str:
    return rng.choices(("text", "noise", "code"), (65, 20, 15))[0]
