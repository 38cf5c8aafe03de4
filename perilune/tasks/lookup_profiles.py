"""Needles that tell several things about one subject at once: cards, records and short portraits."""

import random
from dataclasses import dataclass

from perilune.tasks import lookup_questions as ask
from perilune.tasks.lookup_keys import Keys
from perilune.tasks.lookup_relations import others, relation
from perilune.tasks.lookup_types import Lookup, Question, fair_questions, question
from perilune.tasks.lookup_values import Values
from perilune.tasks.task import pick


@dataclass(frozen=True)
class Card:
    """`head` {s} and the joined fields {f}; `field` one relation {r} with its value {v}."""

    head: str
    field: str
    joint: str


CARDS = {
    False: (
        Card('{{"name": "{s}", {f}}}', '"{r}": "{v}"', ", "),
        Card("{s}: {f}", "{r} {v}", ", "),
        Card("{s} ({f})", "{r}: {v}", "; "),
        Card("{s} has {f}.", "the {r} {v}", " and "),
        Card("About {s}: {f}.", "the {r} is {v}", ", "),
        Card("| {s} | {f} |", "{r}: {v}", " | "),
        Card("# {s}\n{f}", "- {r}: {v}", "\n"),
        Card("[{s}]\n{f}", "{r} = {v}", "\n"),
        Card("* {s} - {f}", "{r} {v}", " - "),
        Card("{s}; {f}", "{r}={v}", "; "),
        Card("Name: {s}\n{f}", "{r}: {v}", "\n"),
        Card("On {s} we know: {f}.", "{v} is the {r}", "; "),
    ),
    True: (
        Card('<card of="{s}">{f}</card>', "<i>{r}</i>{v}", " "),
        Card("{s} // {f}", "{r} ~ {v}", " // "),
        Card("Entry for {s} begins, {f}.", "with {r} being {v}", ", "),
    ),
}


def profiles(rng: random.Random, needles: int, held_out: bool) -> Lookup:
    count = max(1, needles)
    keys, values = Keys(rng, held_out), Values(rng, held_out)
    first = relation(rng, held_out, 4 * count)
    relations = [first, *others(rng, held_out, first[0], rng.randrange(1, 4), 4 * count)]
    kinds = ("people", "numbered", "described", "made_up", "titled", "letters", "towns", "phrases", "camel")
    subjects = keys.several(pick(rng, kinds), count)
    card, told, needles_ = pick(rng, CARDS[held_out]), [], []
    for subject in subjects:
        given = [(known, values.fresh(kind) or values.fresh("digits10") or "0") for known, kind in relations]
        shown = rng.sample(given, len(given)) if rng.random() < 0.3 else given
        fields = card.joint.join(card.field.format(r=known.noun, v=value) for known, value in shown)
        needles_.append(card.head.format(s=subject.name, f=fields))
        told.append(given)

    def make() -> Question:
        index = rng.randrange(count)
        known, value = pick(rng, told[index])
        return question(ask.one(rng, known, subjects[index], held_out), [value], [index])

    filler = rng.choices(("text", "noise", "needles"), (60, 15, 25))[0]
    return Lookup("profiles", tuple(needles_), fair_questions(rng, make), filler)
