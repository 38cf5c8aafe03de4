"""How a needle is asked for: a grammar of its own, so that no question repeats the sentence it is about."""

import random
from collections.abc import Sequence

from perilune.tasks.lookup_forms import drawn
from perilune.tasks.lookup_keys import Subject
from perilune.tasks.lookup_relations import Relation
from perilune.tasks.task import capital, listing, pick

# Questions and requests may stand inside a wrapper; fragments stand alone.
ONE = {
    False: (
        *("what is the {r} of {s}?",) * 4,
        *("what is {s}'s {r}?",) * 3,
        "what is the {r} for {s}?",
        "which {r} does {s} have?",
        "what {r} belongs to {s}?",
        "which {r} goes with {s}?",
        "what was the {r} of {s}?",
        "what {r} is given for {s}?",
        "which {r} is listed for {s}?",
        "tell me the {r} of {s}.",
        "give the {r} of {s}.",
        "give me {s}'s {r}.",
        "name the {r} of {s}.",
        "find the {r} for {s}.",
        "look up the {r} of {s}.",
        "I need the {r} of {s}.",
        "can you tell me the {r} of {s}?",
        "do you know the {r} of {s}?",
        "what does the text say about the {r} of {s}?",
        "I forgot the {r} of {s}. What is it?",
        "which {r} do I need for {s}?",
        "what is the value of {r} for {s}?",
        "state {s}'s {r}.",
        "what did the text give as the {r} of {s}?",
        "could you find {s}'s {r}?",
        "about {s}: what is the {r}?",
        "what should I enter as the {r} of {s}?",
        "does anybody remember the {r} of {s}?",
        "which {r} was {s} given?",
        "quote the {r} of {s} word for word.",
        "how does the {r} of {s} read?",
        "{s} must have some {r}; which one?",
        "what has the document to say on {s} and its {r}?",
        "remind me: which {r} did {s} get?",
        "they wrote about {s}. What was the {r}?",
        "the {r}, please, that stands beside {s}.",
        "I was asked for the {r} of {s} and must not be wrong. What is it?",
        "copy the {r} of {s} here.",
        "under what {r} does one find {s}?",
        "as which {r} is something noted for {s}?",
    ),
    True: (
        *("what is the {r} for {s} mentioned in the provided text?",) * 3,
        "please report the {r} that goes under {s}.",
        "somewhere above, {s} is given its {r}; quote it.",
        "what would the {r} of {s} be?",
        "recall {s}'s {r} for me.",
        "which {r} was mentioned together with {s}?",
        "let me know the {r} connected to {s}.",
    ),
}
FRAGMENTS = {
    False: (
        "{r} of {s}?",
        "{s}: {r}?",
        "{r} {s}",
        "{s} {r}?",
        "{r}, {s}?",
        "the {r} of {s} is",
        "{s}'s {r}:",
        "{r} for {s} =",
        "{s} | {r} | ?",
    ),
    True: ("{r} ({s})??", "{s} / {r} -", "The {r} for {s} mentioned in the provided text is"),
}
ALL = {
    False: (
        "what are all the {rs} of {s}?",
        "which {rs} does {s} have?",
        "list every {r} of {s}.",
        "list all {rs} of {s} in order.",
        "give all the {rs} for {s}.",
        "tell me all of {s}'s {rs}.",
        "{s} has several {rs}. Which ones?",
        "find all {rs} of {s}.",
        "what are the {rs} for {s}? Name all of them.",
        "what are all the {rs} of {s} in the text?",
        "give the full list of {rs} for {s}.",
        "collect the {rs} that belong to {s}.",
        "all {rs} for {s}:",
        "what is each {r} for {s}?",
        "what {rs} are given for {s}?",
        "name each {r} of {s}.",
        "how many {rs} has {s}, and which?",
        "one after another: the {rs} of {s}.",
        "leave out none of the {rs} of {s}.",
        "the text names more than one {r} for {s}. Tell me each.",
        "what do we have as {rs} of {s}?",
        "write down the {rs} that {s} has.",
    ),
    True: (
        "what are all the {rs} for {s} mentioned in the provided text?",
        "enumerate the {rs} connected to {s}.",
        "every {r} recorded under {s}, please.",
    ),
}
# Several subjects in one question: {s} is "a, b and c".
MANY = {
    False: (
        "what are the {rs} of {s}?",
        "what is the {r} of {s}?",
        "give the {rs} of {s}.",
        "tell me the {rs} for {s}.",
        "find the {r} of each: {s}.",
        "which {rs} do {s} have?",
        "{rs} of {s}?",
        "list the {rs} of {s} in this order.",
        "I need the {rs} of {s}.",
        "what are all the {rs} of {s} in the text?",
        "one by one, the {rs} for {s}.",
        "look up the {rs} for {s}, one after the other.",
    ),
    True: (
        "what are all the {rs} for {s} mentioned in the provided text?",
        "please report the {rs} that go under {s}.",
    ),
}
BACK = {
    False: (
        "what has the {r} {v}?",
        "whose {r} is {v}?",
        "{v} is the {r} of what?",
        "what does the {r} {v} belong to?",
        "which entry has the {r} {v}?",
        "to what does {v} belong?",
        "where does {v} appear as the {r}?",
        "{v} is whose {r}?",
        "find what has {v} as its {r}.",
    ),
    True: ("for what was the {r} {v} mentioned?", "name whatever is tied to the {r} {v}."),
}
WRAPPERS = {
    False: (
        *("{Q}",) * 12,
        "According to the text, {q}",
        "{Q} Answer with the value only.",
        "{Q} Only the answer.",
        "One question: {q}",
        "From what you have read: {q}",
        "{Q} Reply with nothing else.",
        "Thanks for reading. {Q}",
        "Now, {q}",
        "Question: {Q}",
        "Q: {Q}",
        "Hey, {q}",
        "Please answer: {q}",
        "{Q} It stands somewhere in the text.",
        "Going by the document, {q}",
        "Read it again if you must. {Q}",
        "{q}",
    ),
    True: (*("{Q}",) * 4, "Based on everything so far, {q}", "{Q} Be brief.", "Quiz time! {Q}"),
}


def wrap(rng: random.Random, question: str, held_out: bool, keep: bool = False) -> str:
    """`keep`: the question begins with a key, whose letters stay as they are."""
    wrapper = pick(rng, WRAPPERS[held_out])
    return wrapper.format(q=question, Q=question if keep else capital(question))


def one(rng: random.Random, relation: Relation, subject: Subject, held_out: bool) -> str:
    if rng.random() < 0.2:
        return pick(rng, FRAGMENTS[held_out]).format(s=subject.said, r=relation.noun)
    any_order = not held_out and rng.random() < 0.2
    template = drawn(rng, "{s}", "{r}") + pick(rng, "?.:") if any_order else pick(rng, ONE[held_out])
    return wrap(rng, template.format(s=subject.said, r=relation.noun), held_out)


def every(rng: random.Random, relation: Relation, subject: Subject, held_out: bool) -> str:
    template = pick(rng, ALL[held_out])
    question = template.format(s=subject.said, r=relation.noun, rs=relation.plural)
    return wrap(rng, question, held_out, keep=template.startswith("{s}"))


def many(rng: random.Random, relation: Relation, subjects: Sequence[Subject], held_out: bool) -> str:
    names = [subject.said for subject in subjects]
    joined = listing(names) if rng.random() < 0.7 else ", ".join(names)
    return wrap(rng, pick(rng, MANY[held_out]).format(s=joined, r=relation.noun, rs=relation.plural), held_out)


def back(rng: random.Random, relation: Relation, value: str, held_out: bool) -> str:
    template = pick(rng, BACK[held_out])
    return wrap(rng, template.format(r=relation.noun, v=value), held_out, keep=template.startswith("{v}"))
