"""Needles of many kinds in one document: each is alone of its form, and no two are about the same thing."""

import random

from perilune.tasks.lookup_chains import copy
from perilune.tasks.lookup_facts import facts
from perilune.tasks.lookup_keys import Keys
from perilune.tasks.lookup_plain import single
from perilune.tasks.lookup_records import files, functions, records
from perilune.tasks.lookup_types import MOST_QUESTIONS, Lookup, Question, prose_filler
from perilune.tasks.lookup_values import Values

SHARED = {"single": single, "facts": facts, "records": records, "functions": functions, "files": files}
SHORT = 5
SHARES = {"single": 50, "facts": 20, "records": 10, "functions": 6, "files": 6, "copy": 8}


def apart(rng: random.Random, count: int, held_out: bool) -> list[Lookup]:
    """`count` lookups of one needle each, in any order, whose keys and values are all different; the value of one does
    not stand in the needle of another."""
    keys, values = Keys(rng, held_out), Values(rng, held_out)
    made: list[Lookup] = []
    lines: set[str] = set()
    while len(made) < count:
        name = rng.choices(list(SHARES), list(SHARES.values()))[0]
        lookup = copy(rng, 1, held_out) if name == "copy" else SHARED[name](rng, 1, held_out, keys, values)
        begins = " ".join(lookup.needles[0].split()[:2])
        if lookup.questions and begins not in lines and not any(_clash(lookup, other) for other in made):
            lines |= {begins} if name == "copy" else set()
            made.append(lookup)
    return made


def _clash(one: Lookup, other: Lookup) -> bool:
    """Whether a value of one of the two stands in the other's needle; short ones, such as "8", stand everywhere."""
    return any(
        len(value) > SHORT and value in needles.needles[0]
        for values, needles in ((one, other), (other, one))
        for value in values.questions[0].values
    )


def joined(task: str, lookups: list[Lookup], filler: str) -> Lookup:
    """Several lookups of one needle as a single one; the k-th question is about the k-th needle."""
    asked = (lookup.questions[0] for lookup in lookups)
    questions = (Question(one.text, one.values, (i,)) for i, one in enumerate(asked))
    return Lookup(task, tuple(lookup.needles[0] for lookup in lookups), tuple(questions), filler)


def mixed(rng: random.Random, needles: int, held_out: bool) -> Lookup:
    whole = joined("mixed", apart(rng, max(1, needles), held_out), prose_filler(rng))
    some = rng.sample(whole.questions, min(MOST_QUESTIONS, len(whole.questions)))
    return Lookup(whole.task, whole.needles, tuple(some), whole.filler)
