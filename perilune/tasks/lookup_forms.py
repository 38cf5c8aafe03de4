"""How a needle is said: cores that join subject, relation and value, and carriers that wrap a sentence around them.

{s} the subject, {r} the relation, {rs} its plural, {v} the value; {x} a core, {X} the same beginning a sentence.
"""

import random
from dataclasses import dataclass

from perilune.tasks import lookup_words as w
from perilune.tasks.lookup_keys import Subject
from perilune.tasks.lookup_relations import Relation
from perilune.tasks.task import capital, chance, pick
from perilune.tasks.vocabulary import table

CORES = {
    False: (
        "the {r} of {s} is {v}",
        "the {r} of {s} is {v}",
        "{s}'s {r} is {v}",
        "{s}'s {r} is {v}",
        "{v} is the {r} of {s}",
        "the {r} for {s} is {v}",
        "the {r} for {s} is: {v}",
        "for {s}, the {r} is {v}",
        "{s} has the {r} {v}",
        "{s} has {v} as its {r}",
        "{s} uses {v} as {r}",
        "as {r} of {s} they chose {v}",
        "the {r} of {s} was set to {v}",
        "the {r} of {s} has been changed to {v}",
        "the {r} that belongs to {s} is {v}",
        "{s} got a new {r}: {v}",
        "{s} goes with the {r} {v}",
        "someone gave {s} the {r} {v}",
        "{v}, that is the {r} of {s}",
        "{v} was written down as the {r} of {s}",
        "if anyone asks for the {r} of {s}, say {v}",
        "the {r} of {s} reads {v}",
        "{v} stands for the {r} of {s}",
        "{s} is listed with the {r} {v}",
        "the sheet gives {v} as the {r} of {s}",
        "use {v} for {s}, it is the {r}",
        "it was {v} that became the {r} of {s}",
        "{s} will keep {v} as the {r}",
        "in the column {r}, {s} has {v}",
        "one {r} of {s} is {v}",
        "{s} comes with {v} for the {r}",
        "they call {v} the {r} of {s}",
    ),
    True: (
        "one of the {rs} for {s} is: {v}",
        "one of the {rs} for {s} is: {v}",
        "the {r} assigned to {s} happens to be {v}",
        "{s} can be matched with the {r} {v}",
        "{v} serves as the {r} on behalf of {s}",
        "with regard to {s}, its {r} equals {v}",
        "nobody but us knows that {v} is {s}'s {r}",
        "whenever {s} is mentioned, think of the {r} {v}",
        "the {r} recorded under {s} amounts to {v}",
        "under {s} you will find {v}, the {r}",
        "the current {r} of {s} would be {v}",
        "{s} was once registered with {v}, its {r}",
    ),
}
LINES = {
    False: (
        "{r} of {s}: {v}",
        "{s}: {r} {v}",
        "{s}: {r}: {v}",
        "{s} - {r}: {v}",
        "{s} | {r} | {v}",
        "| {r} | {s} | {v} |",
        "{r} ({s}) = {v}",
        "{s} → {r} → {v}",
        "[{s}] {r}: {v}",
        "* {r}, {s}: {v}",
        "- {s}, {r}: {v}",
        "{r}: {v} ({s})",
        "{v} <- {r} of {s}",
        "{r} / {s} / {v}",
        '<{r} of="{s}">{v}</{r}>',
        "# {s}\n{r}: {v}",
        "{v} = {r} of {s}",
        "{s}; {r}; {v}",
        '{s} has {r} "{v}"',
        "{r} {s} {v}",
        "{s} {r} = {v}",
        "Q: {r} of {s}? A: {v}",
        "{s}, {r}, {v}",
        "({r}) {s} ... {v}",
    ),
    True: (
        "{s} >> {r} >> {v}",
        "{r} @ {s} == {v}",
        "{{{s} : {r} : {v}}}",
        "+ {v} + {r} + {s}",
        "~ {s} ~ {r} ~ {v}",
        "== {s} ==\n{r} :: {v}",
    ),
}
CARRIERS = {
    False: (
        *("{X}.",) * 12,
        "Remember: {x}.",
        "Note: {x}.",
        "Please note that {x}.",
        "{N} said that {x}.",
        '"{X}," said {N}.',
        '{N} said, "{X}."',
        "It is known that {x}.",
        "By the way, {x}.",
        "According to the logbook, {x}.",
        "Do not forget that {x}.",
        "Write this down: {x}.",
        "On the last page it says that {x}.",
        "Keep in mind that {x}.",
        "{X}, as everyone knows.",
        "({X}.)",
        "Reminder: {x}.",
        "As of today, {x}.",
        'The letter says: "{X}."',
        '"You must know," {N} whispered, "that {x}."',
        "And yes, {x}.",
        "Important! {X}.",
        "P.S. {X}.",
        "For the record, {x}.",
        "Here is a fact: {x}.",
        "You should know that {x}.",
        "I have been told that {x}.",
        "{N} wrote on the wall that {x}.",
        "A small note says that {x}.",
        "{X}!",
        "Message from {N}: {x}.",
        "Since last week, {x}.",
        "Nobody noticed it, but {x}.",
        "It turned out that {x}.",
        "Update: {x}.",
    ),
    True: (
        *("{X}.",) * 4,
        "A rumour spread that {x}.",
        "Hidden between the lines: {x}.",
        "{N} insisted that {x}.",
        "The radio announced that {x}.",
        "Fun fact, {x}.",
        "To be precise, {x}.",
        "A plaque reveals that {x}.",
        "{N} muttered: '{X}.'",
    ),
}
# Words that join without meaning much: drawn sentences teach that an answer is what the question does not say, however
# the sentence around it goes.
LINKS = table(
    "is are was were be been has had have keeps kept holds held takes took gives gave gets got goes went "
    "comes came stays stayed remains became becomes means meant reads says said shows told calls called "
    "named known written stored found listed filed noted set put left made used needed wanted asked given "
    "taken placed linked tied matched paired of for to from with by under over on in at as after before "
    "behind through about against between without within the a an this that these those its their our "
    "your his her it they we you one all each every any some only also still now then here there always "
    "never often today once again just very quite really simply likely surely perhaps and or but so if "
    "when where while because since until whose which who what how thus hence indeed namely equals counts "
    "stands belongs"
)
# What no value is made of.
TELLERS = table(
    "news story tale report memo poster diary chapter paragraph speaker neighbour teacher clerk guard sister captain "
    "crowd voice newspaper archive ledger witness guide visitor summary message announcement tradition legend footnote "
    "label caption heading appendix manual protocol minutes brochure stranger uncle colleague writer"
)
SIGNS = (":", ",", " -", ";", " =", " ->")


def drawn(rng: random.Random, *parts: str) -> str:
    """The parts in any order between words drawn at random."""
    shuffled = rng.sample(parts, len(parts))
    said = rng.choices(LINKS, k=rng.choice((0, 0, 1, 2, 4)))
    for place, part in enumerate(shuffled):
        if place:
            if chance(rng, 0.25):
                said[-1] += pick(rng, SIGNS)
            said += rng.choices(LINKS, k=rng.choice((0, 1, 1, 2, 3)))
        said.append(part)
    if chance(rng, 0.3):
        said += rng.choices(LINKS, k=rng.randrange(1, 4))
    return " ".join(said)


def drawn_carrier(rng: random.Random) -> str:
    """Words drawn at random before a sentence, after it or on both sides; now and then a name or a thing among them."""
    before = rng.choices(LINKS, k=rng.choice((0, 1, 2, 3, 5)))
    if chance(rng, 0.6):
        thing = pick(rng, TELLERS)
        before.insert(rng.randrange(len(before) + 1), pick(rng, ("{N}", thing, f"the {thing}", f"{thing}s")))
    if not before:
        return "{X}" + pick(rng, (", ", " - ", "; ")) + " ".join(rng.choices(LINKS, k=rng.randrange(1, 5))) + "."
    opening = " ".join(before)
    opening = opening if opening.startswith("{") else capital(opening)
    return opening + pick(rng, (" {x}.", " that {x}.", " that {x}.", ", {x}.", ": {x}.", ": {X}.", ": '{X}'"))


def carrier(rng: random.Random, held_out: bool) -> str:
    return drawn_carrier(rng) if not held_out and chance(rng, DRAWN) else pick(rng, CARRIERS[held_out])


MARKS = {
    False: (*("{v}",) * 14, '"{v}"', "`{v}`", "'{v}'", "**{v}**", "({v})", "[{v}]", "<{v}>"),
    True: (*("{v}",) * 5, "«{v}»", "_{v}_"),
}
DRAWN = 0.4


@dataclass(frozen=True)
class Form:
    """One way to say a needle; a document may use a single one for all of its needles."""

    core: str
    carrier: str
    mark: str
    speaker: str

    def say(self, relation: Relation, subject: Subject, value: str) -> str:
        marked = self.mark.format(v=value)
        text = self.core.format(s=subject.said, r=relation.noun, rs=relation.plural, v=marked)
        if not self.carrier:
            return text
        # A key keeps its own letters: only words of ours get a capital at the beginning of a sentence.
        own = self.core.startswith("{v}") or (self.core.startswith("{s}") and not subject.article)
        return self.carrier.format(x=text, X=text if own else capital(text), N=self.speaker)


def form(rng: random.Random, held_out: bool, lines: float = 0.3) -> Form:
    mark = pick(rng, MARKS[held_out])
    if chance(rng, lines):
        return Form(pick(rng, LINES[held_out]), "", mark, "")
    any_order = not held_out and chance(rng, DRAWN)
    core = drawn(rng, "{s}", "{r}", "{v}") if any_order else pick(rng, CORES[held_out])
    return Form(core, carrier(rng, held_out), mark, w.FIRST_NAMES.pick(rng, held_out))


def count_forms(held_out: bool) -> int:
    """Distinct ways to say one fact: carriers times cores, and lines, each with every mark; drawn ones not counted."""
    sentences = len(set(CORES[held_out])) * len(set(CARRIERS[held_out]))
    return (sentences + len(set(LINES[held_out]))) * len(set(MARKS[held_out]))
