"""Which words are most common: what a reader of few chunks cannot know well. For scoring only, as RULER asks it."""

import random

from perilune.tasks import lookup_words as w
from perilune.tasks.lookup_types import Lookup, Question, question

LINE = 10
COMMON, COMMON_TIMES, RARE_TIMES = 10, 30, 3
FEWEST_LINES = 10
TOP = 3


def _lines(words: list[str], numbered: bool) -> tuple[str, ...]:
    shown = [f"{i + 1}. {word}" for i, word in enumerate(words)] if numbered else words
    return tuple(" ".join(shown[i : i + LINE]) for i in range(0, len(shown), LINE))


def _asked(text: str, values: list[str], lines: tuple[str, ...]) -> Question:
    """Every line that holds one of the words counts as gold: none of them can be left out."""
    return question(text, values, (i for i, line in enumerate(lines) if set(values) & set(line.split())))


def common_words(rng: random.Random, needles: int, held_out: bool) -> Lookup:
    """A numbered list of `needles` lines in which ten words stand thirty times each (in a short one half of all
    places are theirs) and the others three times or once."""
    room = max(FEWEST_LINES, needles) * LINE
    pool: set[str] = set()
    common_times = min(COMMON_TIMES, room // (2 * COMMON))
    rare_times = RARE_TIMES if common_times == COMMON_TIMES else 1
    rare = (room - COMMON * common_times) // rare_times
    while len(pool) < COMMON + rare:
        pool.add(w.made_up(rng, held_out))
    chosen = sorted(pool)
    rng.shuffle(chosen)
    common = chosen[:COMMON]
    words = common * common_times + chosen[COMMON:] * rare_times
    rng.shuffle(words)
    lines = _lines(words, numbered=True)
    asked = _asked("What are the 10 most common words in the above list?", common, lines)
    return Lookup("common_words", lines, (asked,), "needles")


def frequent_words(rng: random.Random, needles: int, held_out: bool) -> Lookup:
    """Coded words whose counts fall as 1 / rank²; the three most frequent are asked for."""
    room = max(FEWEST_LINES, needles) * LINE
    ranked: list[str] = []
    while len(ranked) < 60:
        word = w.letters(rng, held_out, 6, 6)
        if word not in ranked:
            ranked.append(word)
    words = [word for rank, word in enumerate(ranked, 1) for _ in range(max(1, int(room * 0.6 / rank**2)))]
    rng.shuffle(words)
    lines = _lines(words, numbered=False)
    asked = _asked("What are the three most frequently appeared words in the above coded text?", ranked[:TOP], lines)
    return Lookup("frequent_words", lines, (asked,), "needles")
