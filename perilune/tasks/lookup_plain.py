"""Needles that say what a subject's code, owner or opening time is, and the questions about them."""

import random
from dataclasses import dataclass

from perilune.tasks import lookup_questions as ask
from perilune.tasks.lookup_forms import Form, form
from perilune.tasks.lookup_keys import SUBJECTS, Keys, Subject
from perilune.tasks.lookup_relations import Relation, fitting, others, relation
from perilune.tasks.lookup_types import Lookup, Question, fair_questions, prose_filler, question
from perilune.tasks.lookup_values import Values
from perilune.tasks.task import chance, pick

KINDS = tuple(SUBJECTS)


@dataclass(frozen=True)
class Told:
    """One fact: a subject, what is told about it, and the value."""

    relation: Relation
    subject: Subject
    value: str


def tell(
    rng: random.Random, count: int, held_out: bool, keys: Keys | None = None, values: Values | None = None
) -> list[Told]:
    """`count` facts that are easily confused: many subjects with one relation, or some with several each."""
    room = 4 * count
    keys, values = keys or Keys(rng, held_out), values or Values(rng, held_out)
    first = relation(rng, held_out, room)
    relations = [first]
    if count > 1 and chance(rng, 0.45):
        relations += others(rng, held_out, first[0], rng.randrange(1, min(6, count + 1)), room)
    groups = 1 if chance(rng, 0.75) else min(3, count)
    per_group = -(-count // (groups * len(relations)))
    made = []
    for _ in range(groups):
        subjects = keys.several(pick(rng, KINDS), per_group)
        values.avoid(subject.name for subject in subjects)
        for subject in subjects:
            for known, kind in relations:
                made.append(Told(known, subject, values.fresh(kind) or values.fresh("digits10") or "0"))
    rng.shuffle(made)
    return made[:count]


def forms(rng: random.Random, count: int, held_out: bool, lines: float = 0.3) -> list[Form]:
    """One form for all needles of a document, or few, or a new one for each."""
    if chance(rng, 0.4):
        return [form(rng, held_out, lines)] * count
    some = [form(rng, held_out, lines) for _ in range(min(count, rng.choice((3, 400))))]
    return [pick(rng, some) for _ in range(count)]


def say(rng: random.Random, told: list[Told], held_out: bool, lines: float = 0.3) -> tuple[str, ...]:
    chosen = forms(rng, len(told), held_out, lines)
    return tuple(f.say(t.relation, t.subject, t.value) for f, t in zip(chosen, told, strict=True))


def single(
    rng: random.Random, needles: int, held_out: bool, keys: Keys | None = None, values: Values | None = None
) -> Lookup:
    """One needle alone in the haystack, asked for in up to three ways."""
    told = tell(rng, 1, held_out, keys, values)
    asked = {ask.one(rng, told[0].relation, told[0].subject, held_out) for _ in range(rng.randrange(1, 4))}
    made = (question(text, [told[0].value], [0]) for text in sorted(asked))
    fine = (fair_questions(rng, lambda q=q: q, 1) for q in made)
    return Lookup("single", say(rng, told, held_out), tuple(q for few in fine for q in few), prose_filler(rng))


def _one(rng: random.Random, told: list[Told], held_out: bool) -> Question:
    index = rng.randrange(len(told))
    chosen = told[index]
    return question(ask.one(rng, chosen.relation, chosen.subject, held_out), [chosen.value], [index])


def multikey(rng: random.Random, needles: int, held_out: bool) -> Lookup:
    told = tell(rng, max(2, needles), held_out)
    asked = fair_questions(rng, lambda: _one(rng, told, held_out))
    return Lookup("multikey", say(rng, told, held_out), asked, prose_filler(rng))


def multivalue(rng: random.Random, needles: int, held_out: bool) -> Lookup:
    """Two to four values under one key, each in a needle of its own, among the needles of other keys."""
    keys, values = Keys(rng, held_out), Values(rng, held_out)
    known, kind = relation(rng, held_out, 4 * (needles + 4))
    told: list[Told] = []
    groups = max(1, needles // 3)
    for subject in keys.several(pick(rng, KINDS), groups):
        fresh = (values.fresh(kind) for _ in range(rng.randrange(2, 5)))
        told += [Told(known, subject, value) for value in fresh if value]
    rng.shuffle(told)
    places: dict[Subject, list[int]] = {}
    for index, one in enumerate(told):
        places.setdefault(one.subject, []).append(index)

    def make() -> Question:
        subject = pick(rng, list(places))
        where = places[subject]
        return question(ask.every(rng, known, subject, held_out), [told[i].value for i in where], where)

    return Lookup("multivalue", say(rng, told, held_out), fair_questions(rng, make), prose_filler(rng))


def multiquery(rng: random.Random, needles: int, held_out: bool) -> Lookup:
    """One question about two to four keys; the answer keeps the order of the question."""
    keys, values = Keys(rng, held_out), Values(rng, held_out)
    count = max(4, needles)
    known, kind = relation(rng, held_out, 4 * count)
    subjects = keys.several(pick(rng, KINDS), count)
    told = [Told(known, s, values.fresh(kind) or values.fresh("digits10") or "0") for s in subjects]

    def make() -> Question:
        chosen = rng.sample(range(count), rng.randrange(2, 5))
        text = ask.many(rng, known, [subjects[i] for i in chosen], held_out)
        return question(text, [told[i].value for i in chosen], chosen)

    return Lookup("multiquery", say(rng, told, held_out), fair_questions(rng, make), prose_filler(rng))


def backward(rng: random.Random, needles: int, held_out: bool) -> Lookup:
    """The value is given and the subject asked for."""
    told = tell(rng, max(2, needles), held_out)

    def make() -> Question:
        index = rng.randrange(len(told))
        chosen = told[index]
        return question(ask.back(rng, chosen.relation, chosen.value, held_out), [chosen.subject.name], [index])

    return Lookup("backward", say(rng, told, held_out), fair_questions(rng, make), prose_filler(rng))


def _only(rng: random.Random, needles: int, held_out: bool, task: str, subjects: str, kind: str) -> Lookup:
    keys, values = Keys(rng, held_out), Values(rng, held_out)
    count = max(4, needles)
    known = fitting(rng, held_out, kind)
    made = keys.several(subjects, count)
    told = [Told(known, s, values.fresh(kind) or values.fresh("uuid") or "0") for s in made]
    said = form(rng, held_out)
    sentences = tuple(said.say(t.relation, t.subject, t.value) for t in told)
    return Lookup(task, sentences, fair_questions(rng, lambda: _one(rng, told, held_out)), "needles")


def needles_words(rng: random.Random, needles: int, held_out: bool) -> Lookup:
    """A document of nothing but needles of one form: words as keys, numbers as values."""
    subjects = pick(rng, ("words", "pairs", "described", "made_up", "numbered", "people"))
    kind = pick(rng, ("digits7", "digits6", "digits8", "digits5", "number"))
    return _only(rng, needles, held_out, "needles_words", subjects, kind)


def needles_uuids(rng: random.Random, needles: int, held_out: bool) -> Lookup:
    """The same with random keys and values, the hardest to tell apart."""
    subjects = pick(rng, ("uuids", "uuids", "letters", "numbers"))
    kind = pick(rng, ("uuid", "uuid", "hex", "mixed", "phrase"))
    return _only(rng, needles, held_out, "needles_uuids", subjects, kind)
