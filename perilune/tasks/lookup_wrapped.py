"""Needles and questions among words of real text: nobody's templates hold all the ways in which people write.

Pieces of real sentences are put before and after needles, and before questions. What stood in the needle and in the
question is still there, so the answer is the same; what stands around it is as wide as the language.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from perilune.tasks.lookup_types import Lookup, Question
from perilune.tasks.task import capital, chance, pick

NEEDLES = 0.35
QUESTIONS = 0.15
LONGEST = 9  # words of a piece
JOINTS = (", ", " ", " - ", ": ", ". ", "; ", " (")
AFTER = (", ", " ", " - ", "; ")
WORD = re.compile(r"[A-Za-z][a-z'-]*")


def wrapped(rng: random.Random, lookup: Lookup, text: Callable[[], str]) -> Lookup:
    """The lookup with some needles and questions among pieces of what `text` gives; a value stays in its needle alone.

    Needles of several lines, and what a question wants to be quoted, stay as they are.
    """
    quoted = {i for a in lookup.questions for v in a.values for i in a.needles if _is_whole(lookup.needles[i], v)}
    told = {value.lower() for asked in lookup.questions for value in asked.values}
    needles, piece = list(lookup.needles), partial(_piece, rng, text, told)
    for i, needle in enumerate(needles):
        if "\n" not in needle and i not in quoted and chance(rng, NEEDLES):
            needles[i] = _among(rng, needle, piece)
    questions = []
    for asked in lookup.questions:
        before = piece() if chance(rng, QUESTIONS) else ""
        questions.append(_preceded(rng, asked, before) if before else asked)
    return replace(lookup, needles=tuple(needles), questions=tuple(questions))


def _is_whole(needle: str, value: str) -> bool:
    """A line that is to be given back whole, or nearly so."""
    return len(value) > 0.6 * len(needle)


def _among(rng: random.Random, needle: str, piece: Callable[[], str]) -> str:
    if chance(rng, 0.7):
        before = piece()
        if before:
            needle = capital(before) + pick(rng, JOINTS) + needle
    if chance(rng, 0.4):
        after = piece()
        if after:
            needle = needle.rstrip(".") + pick(rng, AFTER) + after + "."
    return needle


def _preceded(rng: random.Random, asked: Question, piece: str) -> Question:
    return replace(asked, text=capital(piece) + pick(rng, (". ", ", ", ": ", "? ", " - ")) + asked.text)


def _piece(rng: random.Random, text: Callable[[], str], told: set[str]) -> str:
    """A few neighbouring words; none where they would hold what a question asks for."""
    words = WORD.findall(text())
    count = rng.randint(1, LONGEST)
    if len(words) < count:
        return ""
    start = rng.randrange(len(words) - count + 1)
    made = " ".join(words[start : start + count])
    return "" if any(value in made.lower() for value in told) else made
