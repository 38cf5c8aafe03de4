"""Needles that hang together: variables copied from one another, and lines to repeat."""

import random
from itertools import pairwise

from perilune.tasks.lookup_keys import PLAIN, Keys
from perilune.tasks.lookup_questions import wrap
from perilune.tasks.lookup_types import Lookup, Question, fair_questions, prose_filler, question
from perilune.tasks.lookup_values import Values, phrase, word
from perilune.tasks.task import capital, pick
from perilune.tasks.vocabulary import table

# How a chain begins, and how it goes on; {a} the new variable, {b} the one before, {v} the value.
STEPS = {
    False: (
        ("let {a} = {v}", "let {a} = {b}"),
        ("{a} = {v}", "{a} = {b}"),
        ("{a} := {v};", "{a} := {b};"),
        ("set {a} to {v}", "set {a} to {b}"),
        ("store {v} in {a}", "copy {b} into {a}"),
        ("{a} starts as {v}.", "{a} takes the value of {b}."),
        ("{a} <- {v}", "{a} <- {b}"),
        ("The box {a} holds {v}.", "The box {a} holds the same as the box {b}."),
        ("{a} is worth {v}.", "{a} is worth as much as {b}."),
        ("int {a} = {v};", "int {a} = {b};"),
        ("define {a} as {v}", "define {a} as {b}"),
    ),
    True: (
        ("VAR {a} = {v}", "VAR {a} = VAR {b} "),
        ("VAR {a} = {v}", "VAR {a} = VAR {b} "),
        ("PUT {v} INTO {a}", "PUT {b} INTO {a}"),
        ("{v} => {a}", "{b} => {a}"),
    ),
}
WHICH = {
    False: (
        "which variables have the value {v}?",
        "find every variable that ends up with {v}.",
        "list all names that hold {v}.",
        "name everything whose value is {v}.",
        "what holds {v}, directly or by copying?",
        "which names are equal to {v}?",
        "who has the value {v} in the end?",
    ),
    True: (
        "find all variables that are assigned the value {v} in the text above.",
        "which identifiers can be traced back to {v}?",
    ),
}
VALUE = {
    False: (
        "what is the value of {a}?",
        "what does {a} hold?",
        "which number is in {a}?",
        "follow the copies: what is {a}?",
        "{a} = ?",
        "what is {a} in the end?",
        "work out {a}.",
    ),
    True: ("resolve {a} to a number.", "which constant does {a} trace back to?"),
}
REPEAT = {
    False: (
        "repeat the line that begins with {b}",
        'which line begins with "{b}"?',
        "copy the line that starts with {b}",
        "quote the line that begins: {b}",
        'write out the line with "{b}" at its beginning.',
        "say the whole line that starts with {b}",
        "give me the full sentence that opens with {b}",
        "read out the entire line starting with {b}",
        'show the complete line: "{b} ..."',
        "which line has {b} as its first words?",
        "write the line down again, from its start: {b}",
        'I want to hear all of the line "{b} ..."',
        "reproduce the line whose first words are {b}",
        'print in full the line with "{b}" in front.',
        "the whole line, please, beginning with {b}",
        "repeat from the beginning: {b} ...",
        'what is the full text of the line "{b}..."?',
    ),
    True: ("recite the line whose opening words are {b}", 'cite in full: "{b} ..."'),
}
GO_ON = {
    False: (
        "how does the line go on that begins with {b}?",
        "what comes after {b}?",
        "complete: {b} ...",
        'what follows "{b}"?',
        "continue the line {b}",
        "which words come next after {b}?",
        "give the rest of the line: {b}",
        "only what comes behind {b}, please.",
        "the remaining words after {b}?",
        'end this line: "{b} ..."',
        "how does it end: {b}",
        "what words stand right after {b}?",
        "go on from {b}",
        "{b}",
    ),
    True: ("which words succeed {b}?", "finish this quotation: {b}"),
}
SMALL_WORDS = table("and or with under near without before after beside behind")
FROM_NAMES = ("letters", "letters", "snake", "made_up", *(kind for kind in PLAIN if kind == "camel"))


def variables(rng: random.Random, needles: int, held_out: bool) -> Lookup:
    """Chains of one to four copies; asked for all names with a value, or for the value of one name."""
    keys, values = Keys(rng, held_out), Values(rng, held_out)
    kind, first, after = pick(rng, FROM_NAMES), *pick(rng, STEPS[held_out])
    kind_of_value = pick(rng, ("digits4", "digits5", "digits5", "digits6", "digits7"))
    chains: list[tuple[str, list[str]]] = []
    said: list[str] = []
    where: list[list[int]] = []
    left: list[list[str]] = []
    upper = rng.random() < 0.5
    while sum(len(names) for _, names in chains) < max(2, needles):
        value = values.fresh(kind_of_value) or values.fresh("digits10") or "0"
        names = [key.name.upper() if upper else key.name for key in keys.several(kind, rng.randrange(2, 6))]
        lines = [first.format(a=names[0], v=value)]
        lines += [after.format(a=b, b=a).rstrip() for a, b in pairwise(names)]
        chains.append((value, names))
        left.append(lines)
        where.append([])
    while any(left):
        turn = rng.choices(range(len(left)), [len(lines) for lines in left])[0]
        where[turn].append(len(said))
        said.append(left[turn].pop(0))

    def ask() -> Question:
        turn = rng.randrange(len(chains))
        value, names = chains[turn]
        if rng.random() < 0.5:
            return question(wrap(rng, pick(rng, WHICH[held_out]).format(v=value), held_out), names, where[turn])
        last = rng.randrange(len(names))
        template = pick(rng, VALUE[held_out])
        text = wrap(rng, template.format(a=names[last]), held_out, keep=template.startswith("{a}"))
        return question(text, [value], where[turn][: last + 1])

    return Lookup("variables", tuple(said), fair_questions(rng, ask), rng.choice(("text", "noise", "noise", "code")))


def copy(rng: random.Random, needles: int, held_out: bool) -> Lookup:
    """Lines of words that nobody could guess, to be repeated or continued from their first words."""
    lines: list[tuple[str, str]] = []
    seen: set[str] = set()
    while len(lines) < max(1, needles):
        begin = " ".join(word(rng, held_out) for _ in range(rng.randrange(2, 4)))
        more = [pick(rng, SMALL_WORDS), phrase(rng, held_out)]
        more += [word(rng, held_out) for _ in range(rng.randrange(0, 4))]
        if begin not in seen:
            seen.add(begin)
            lines.append((capital(begin), " ".join(more)))

    def ask() -> Question:
        index = rng.randrange(len(lines))
        begin, rest = lines[index]
        whole = rng.random() < 0.5
        template = pick(rng, (REPEAT if whole else GO_ON)[held_out])
        text = wrap(rng, template.format(b=begin), held_out, keep=template.startswith("{b}"))
        return question(text, [f"{begin} {rest}" if whole else rest], [index])

    needles_ = tuple(f"{begin} {rest}" for begin, rest in lines)
    return Lookup("copy", needles_, fair_questions(rng, ask), prose_filler(rng))
