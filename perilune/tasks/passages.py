"""Questions about a given passage: short answers from the text, honest refusals when there is none."""

import random
from dataclasses import dataclass

from perilune.tasks.task import Example, a, ask, chance, pick, several
from perilune.tasks.vocabulary import (
    COLOURS,
    CONTAINERS,
    COUNTED,
    DAYS,
    FOODS,
    INSTRUMENTS,
    JOBS,
    MONTHS,
    NAMES,
    OBJECTS,
    PETS,
    PLACES,
    SPORTS,
    WEATHER,
    plural,
)


@dataclass(frozen=True)
class Fact:
    """A sentence, a question it answers, the short value and the answer as a sentence."""

    sentence: str
    question: str
    value: str
    answer: str


def _time(rng: random.Random) -> str:
    return f"{rng.randrange(1, 13)}:{pick(rng, ('00', '15', '30', '45'))}"


def _person(rng: random.Random, name: str) -> list[Fact]:
    place, job, pet, food = pick(rng, PLACES), pick(rng, JOBS), pick(rng, PETS), pick(rng, FOODS)
    age, colour, thing = str(rng.randrange(4, 80)), pick(rng, COLOURS), pick(rng, OBJECTS)
    sport, instrument, month, time = pick(rng, SPORTS), pick(rng, INSTRUMENTS), pick(rng, MONTHS), _time(rng)
    count, counted, day = rng.randrange(2, 30), pick(rng, COUNTED), pick(rng, DAYS)
    petname = pick(rng, ("Spot", "Snow", "Luna", "Rex", "Pip", "Coco", "Milo", "Bella", "Rusty", "Tiger"))
    container = pick(rng, CONTAINERS)
    return [
        Fact(f"{name} lives in {place}.", f"Where does {name} live?", place, f"{name} lives in {place}."),
        Fact(f"{name} works as {a(job)}.", f"What is {name}'s job?", job, f"{name} is {a(job)}."),
        Fact(f"{name} is {age} years old.", f"How old is {name}?", age, f"{name} is {age} years old."),
        Fact(
            f"{name} has {a(pet)} called {petname}.",
            *pick(
                rng,
                (
                    (f"What is the name of {name}'s {pet}?", petname, f"{name}'s {pet} is called {petname}."),
                    (f"What pet does {name} have?", pet, f"{name} has {a(pet)}."),
                ),
            ),
        ),
        Fact(
            f"{name} likes to eat {food}.",
            f"What does {name} like to eat?",
            food,
            f"{name} likes to eat {food}.",
        ),
        Fact(
            f"{name} has {a(colour)} {thing}.",
            f"What colour is {name}'s {thing}?",
            colour,
            f"{name}'s {thing} is {colour}.",
        ),
        Fact(
            f"{name} plays the {instrument}.",
            f"Which instrument does {name} play?",
            instrument,
            f"{name} plays the {instrument}.",
        ),
        Fact(
            f"{name}'s favourite sport is {sport}.",
            f"What is {name}'s favourite sport?",
            sport,
            f"{name}'s favourite sport is {sport}.",
        ),
        Fact(
            f"{name}'s birthday is in {month}.",
            f"When is {name}'s birthday?",
            month,
            f"{name}'s birthday is in {month}.",
        ),
        Fact(f"{name} gets up at {time}.", f"When does {name} get up?", time, f"{name} gets up at {time}."),
        Fact(
            f"{name} bought {count} {plural(counted)} on {day}.",
            *pick(
                rng,
                (
                    (
                        f"How many {plural(counted)} did {name} buy?",
                        str(count),
                        f"{name} bought {count} {plural(counted)}.",
                    ),
                    (
                        f"When did {name} buy the {plural(counted)}?",
                        day,
                        f"{name} bought the {plural(counted)} on {day}.",
                    ),
                ),
            ),
        ),
        Fact(
            f"{name} put the {thing} in the {container}.",
            f"Where did {name} put the {thing}?",
            container,
            f"{name} put the {thing} in the {container}.",
        ),
    ]


def _setting(rng: random.Random) -> list[Fact]:
    place, day, weather, colour = pick(rng, PLACES), pick(rng, DAYS), pick(rng, WEATHER), pick(rng, COLOURS)
    opens, count, thing = (
        _time(rng),
        rng.randrange(2, 60),
        pick(rng, ("train", "bus", "boat", "show", "film", "lesson")),
    )
    where = pick(rng, ("shop", "library", "museum", "market", "zoo", "bakery", "park", "school"))
    pieces = pick(rng, ("rooms", "windows", "tables", "trees", "doors", "chairs"))
    return [
        Fact(
            f"The {where} opens at {opens}.",
            f"When does the {where} open?",
            opens,
            f"The {where} opens at {opens}.",
        ),
        Fact(
            f"The {thing} starts at {opens}.",
            f"When does the {thing} start?",
            opens,
            f"The {thing} starts at {opens}.",
        ),
        Fact(
            f"On {day} it was {weather} in {place}.",
            f"How was the weather in {place}?",
            weather,
            f"It was {weather} in {place}.",
        ),
        Fact(
            f"The {where} has {count} {pieces}.",
            f"How many {pieces} does the {where} have?",
            str(count),
            f"The {where} has {count} {pieces}.",
        ),
        Fact(
            f"The door of the {where} is {colour}.",
            f"What colour is the door of the {where}?",
            colour,
            f"The door of the {where} is {colour}.",
        ),
        Fact(
            f"The {where} is closed on {day}.",
            f"On which day is the {where} closed?",
            day,
            f"The {where} is closed on {day}.",
        ),
    ]


REFUSALS = ("The text does not say.", "The text does not say that.")
ONLY_VALUE = "Answer with as few words as possible."


def passage_question(rng: random.Random) -> Example:
    people = several(rng, NAMES, rng.randrange(1, 4))
    facts: list[Fact] = []
    for name in people:
        facts += several(rng, _person(rng, name), rng.randrange(1, 3))
    if len(facts) < 2 or chance(rng, 0.35):
        facts += several(rng, _setting(rng), rng.randrange(1, 3))
    rng.shuffle(facts)
    facts = facts[:5]
    text = " ".join(fact.sentence for fact in facts)
    asked = pick(rng, facts)
    clashes = [f for f in facts if f.question == asked.question and f.value != asked.value]
    refuse = chance(rng, 0.18)
    if clashes:
        return passage_question(rng)
    if refuse:
        told = {fact.question for fact in facts} | {fact.sentence.split(" ")[0] for fact in facts}
        missing = [f for f in _person(rng, pick(rng, people)) + _setting(rng) if f.question not in told]
        missing = [f for f in missing if not _near(f, facts)]
        asked = pick(rng, missing)
    return _put(rng, text, asked, refuse)


def _near(fact: Fact, facts: list[Fact]) -> bool:
    """Whether the passage speaks of nearly the same thing, so that a refusal could be wrong."""
    stem = fact.question.rsplit(" ", 1)[0]
    return any(stem == other.question.rsplit(" ", 1)[0] or other.sentence[:14] == fact.sentence[:14] for other in facts)


def _put(rng: random.Random, text: str, asked: Fact, refuse: bool) -> Example:
    layout = pick(
        rng,
        (
            "{text}\n\n{question}",
            "{text}\n{question}",
            "Text: {text}\nQuestion: {question}",
            "Read this text: {text}\n\n{question}",
            "{question}\n\n{text}",
            "Here is a passage.\n\n{text}\n\nQuestion: {question}",
            "{text} {question}",
        ),
    )
    question = layout.format(text=text, question=asked.question)
    thinking = chance(rng, 0.5)
    if refuse:
        return ask(
            question,
            pick(rng, REFUSALS[:1]),
            "does not say",
            "The text does not tell this.",
            thinking=thinking,
        )
    reasoning = f'The text says: "{asked.sentence}"'
    if chance(rng, 0.12):
        return ask(question, f"{asked.value}", asked.value, reasoning, thinking=thinking, system=ONLY_VALUE)
    return ask(question, asked.answer, asked.value, reasoning, thinking=thinking)
