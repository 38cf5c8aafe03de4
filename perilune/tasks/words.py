"""Small tasks on words and lists: spell, count, sort, copy, reverse, pick out, change."""

import random

from perilune.tasks.task import Example, ask, capital, chance, listing, pick, several
from perilune.tasks.vocabulary import ANIMALS, COLOURS, FOODS, JOBS, WORDS

KINDS = {"animals": ANIMALS, "colours": COLOURS, "foods": FOODS, "jobs": JOBS}


def spelling(rng: random.Random) -> Example:
    word = pick(rng, WORDS)
    spelled = "-".join(word)
    question = pick(
        rng, ("Spell the word {}.", "How do you spell {}?", "Spell {}.", 'Spell "{}" letter by letter.')
    ).format(word)
    return ask(question, spelled, spelled, None, thinking=chance(rng, 0.5))


def letters(rng: random.Random) -> Example:
    word = pick(rng, WORDS)
    spelled = "-".join(word)
    kind = rng.randrange(3)
    thinking = chance(rng, 0.6)
    if kind == 0:
        question = pick(
            rng,
            (
                "How many letters does the word {} have?",
                "How many letters are in {}?",
                "Count the letters of {}.",
            ),
        ).format(word)
        counted = " ".join(f"{letter}{i + 1}" for i, letter in enumerate(word))
        answer, reasoning = f"The word {word} has {len(word)} letters.", counted
        key = str(len(word))
    elif kind == 1:
        first = chance(rng, 0.5)
        place, key = ("first", word[0]) if first else ("last", word[-1])
        question = f"What is the {place} letter of {word}?"
        answer, reasoning = f"The {place} letter of {word} is {key}.", spelled
    else:
        key = word[::-1]
        question = pick(rng, ("Write {} backwards.", "Reverse the word {}.", "Spell {} backwards.")).format(word)
        answer, reasoning = key, f"{spelled}, {'-'.join(key)}"
    if not thinking and kind != 1:
        answer = f"{reasoning}. {answer}"
    return ask(question, answer, key, reasoning, thinking=thinking)


def list_tasks(rng: random.Random) -> Example:
    items = several(rng, WORDS, rng.randrange(3, 7))
    shown = ", ".join(items)
    thinking = chance(rng, 0.5)
    kind = rng.randrange(6)
    reasoning: str | None = None
    if kind == 0:
        question = pick(
            rng,
            ("How many words are in this list: {}?", "Count these words: {}", "How many items are here: {}?"),
        ).format(shown)
        counted = " ".join(f"{item} {i + 1}" for i, item in enumerate(items))
        key, reasoning = str(len(items)), counted
        answer = f"There are {len(items)}."
        answer = answer if thinking else f"{counted}. {answer}"
    elif kind == 1:
        question = pick(
            rng, ("Sort these words: {}", "Put these words in alphabetical order: {}", "Sort by alphabet: {}")
        ).format(shown)
        key = answer = ", ".join(sorted(items))
    elif kind == 2:
        last = chance(rng, 0.5)
        key = items[-1] if last else items[0]
        question = f"What is the {'last' if last else 'first'} word in this list: {shown}?"
        answer = f"The {'last' if last else 'first'} word is {key}."
    elif kind == 3:
        question = pick(
            rng, ("Repeat after me: {}", "Say exactly this: {}", "Copy this list: {}", "Write this again: {}")
        ).format(shown)
        key = answer = shown
    elif kind == 4:
        question = pick(
            rng, ("Write this list backwards: {}", "Reverse the order: {}", "Turn this list around: {}")
        ).format(shown)
        key = answer = ", ".join(reversed(items))
    else:
        gone = pick(rng, items)
        question = f"Remove {gone} from this list: {shown}"
        key = answer = ", ".join(item for item in items if item != gone)
    return ask(question, answer, key, reasoning, thinking=thinking)


def numbers(rng: random.Random) -> Example:
    values = [rng.randrange(1, 100) for _ in range(rng.randrange(3, 6))]
    shown = ", ".join(map(str, values))
    kind, thinking = rng.randrange(4), chance(rng, 0.5)
    if kind == 0:
        question = pick(
            rng, ("Sort these numbers: {}", "Put these numbers in order: {}", "Sort from small to big: {}")
        ).format(shown)
        key = answer = ", ".join(map(str, sorted(values)))
    elif kind == 1:
        biggest = chance(rng, 0.6)
        key = str(max(values) if biggest else min(values))
        question = f"What is the {'biggest' if biggest else 'smallest'} number: {shown}?"
        answer = f"The {'biggest' if biggest else 'smallest'} number is {key}."
    elif kind == 2:
        start, step = rng.randrange(1, 60), pick(rng, (1, 1, 2, 3, 5, 10))
        row = [start + step * i for i in range(5)]
        question = pick(rng, ("Which number comes next: {}?", "Go on: {}", "What comes next? {}")).format(
            ", ".join(map(str, row[:4]))
        )
        key, answer = str(row[4]), f"{row[4]} comes next."
    else:
        start, end = sorted(rng.sample(range(1, 40), 2))
        end = min(end, start + 12)
        question = f"Count from {start} to {end}."
        key = answer = ", ".join(map(str, range(start, end + 1)))
    return ask(question, answer, key, None, thinking=thinking)


def name_some(rng: random.Random) -> Example:
    kind = pick(rng, tuple(KINDS))
    count = rng.randrange(2, 6)
    chosen = several(rng, KINDS[kind], count)
    spoken = pick(rng, (str(count), ("two", "three", "four", "five")[count - 2]))
    question = pick(rng, ("Name {0} {1}.", "Tell me {0} {1}.", "List {0} {1}.", "Can you name {0} {1}?")).format(
        spoken, kind
    )
    bullets = chance(rng, 0.3)
    if bullets:
        question, answer = f"{question} Use a list.", "\n".join(f"- {item}" for item in chosen)
    else:
        answer = f"{capital(listing(chosen))}."
    return ask(question, answer, "", None, thinking=chance(rng, 0.5))
