"""A small table of plain facts: capitals, opposites, days and months, animals, colours of things."""

import random

from perilune.tasks.task import Example, a, ask, capital, chance, pick
from perilune.tasks.vocabulary import DAYS, MONTHS, table

CAPITALS = dict(
    pair.split(":")
    for pair in table(
        """
    France:Paris Germany:Berlin Italy:Rome Spain:Madrid Portugal:Lisbon England:London
    Ireland:Dublin Austria:Vienna Norway:Oslo Sweden:Stockholm Finland:Helsinki Denmark:Copenhagen
    Poland:Warsaw Greece:Athens Hungary:Budapest Belgium:Brussels Switzerland:Bern Turkey:Ankara
    Russia:Moscow China:Beijing Japan:Tokyo India:Delhi Egypt:Cairo Kenya:Nairobi Cuba:Havana
    Canada:Ottawa Australia:Canberra Peru:Lima Chile:Santiago Iran:Tehran Iraq:Baghdad
    """
    )
)
OPPOSITES = dict(
    pair.split(":")
    for pair in table(
        """
    hot:cold big:small fast:slow old:young happy:sad day:night light:dark high:low wet:dry
    full:empty hard:soft open:closed early:late rich:poor strong:weak loud:quiet clean:dirty
    near:far long:short up:down left:right good:bad black:white thick:thin heavy:light first:last
    begin:end buy:sell give:take win:lose push:pull
    """
    )
)
SOUNDS = {
    "dog": "woof",
    "cat": "meow",
    "cow": "moo",
    "duck": "quack",
    "sheep": "baa",
    "pig": "oink",
    "bird": "tweet",
    "lion": "roar",
    "snake": "hiss",
    "bee": "buzz",
    "frog": "croak",
    "owl": "hoot",
}
YOUNG = {
    "dog": "puppy",
    "cat": "kitten",
    "cow": "calf",
    "horse": "foal",
    "sheep": "lamb",
    "bear": "cub",
    "hen": "chick",
    "duck": "duckling",
    "frog": "tadpole",
    "goat": "kid",
    "pig": "piglet",
    "goose": "gosling",
}
LEGS = {
    "dog": 4,
    "cat": 4,
    "bird": 2,
    "spider": 8,
    "ant": 6,
    "bee": 6,
    "horse": 4,
    "hen": 2,
    "snake": 0,
    "cow": 4,
    "duck": 2,
}
COLOUR_OF = {
    "grass": "green",
    "snow": "white",
    "coal": "black",
    "blood": "red",
    "the sky": "blue",
    "a banana": "yellow",
    "a carrot": "orange",
    "milk": "white",
    "a lemon": "yellow",
    "a strawberry": "red",
    "chocolate": "brown",
}
COUNTS = {
    "days are in a week": "7",
    "months are in a year": "12",
    "hours are in a day": "24",
    "minutes are in an hour": "60",
    "seconds are in a minute": "60",
    "legs does a spider have": "8",
    "days are in a year": "365",
    "sides does a triangle have": "3",
    "sides does a square have": "4",
    "wheels does a bicycle have": "2",
    "letters are in the alphabet": "26",
    "fingers are on one hand": "5",
    "centimeters are in a meter": "100",
    "grams are in a kilogram": "1000",
}
BRIEF = "Answer with one word."


def _fact(rng: random.Random) -> tuple[str, str, str]:
    """A question, the full answer, the key."""
    kind = rng.randrange(9)
    if kind == 0:
        country = pick(rng, tuple(CAPITALS))
        city = CAPITALS[country]
        question = pick(
            rng,
            (
                f"What is the capital of {country}?",
                f"Which city is the capital of {country}?",
                f"capital of {country}",
            ),
        )
        return question, f"The capital of {country} is {city}.", city
    if kind == 1:
        country = pick(rng, tuple(CAPITALS))
        city = CAPITALS[country]
        return f"{city} is the capital of which country?", f"{city} is the capital of {country}.", country
    if kind == 2:
        word = pick(rng, tuple(OPPOSITES))
        other = OPPOSITES[word]
        question = pick(
            rng,
            (f"What is the opposite of {word}?", f"Opposite of {word}?", f"Tell me the opposite of {word}."),
        )
        return question, f"The opposite of {word} is {other}.", other
    if kind == 3:
        row, i = pick(rng, (tuple(DAYS), tuple(MONTHS))), rng.randrange(12)
        i %= len(row)
        after = chance(rng, 0.6)
        key = row[(i + 1) % len(row)] if after else row[i - 1]
        noun, side = ("day" if len(row) == 7 else "month"), ("after" if after else "before")
        return f"Which {noun} comes {side} {row[i]}?", f"{key} comes {side} {row[i]}.", key
    if kind == 4:
        animal = pick(rng, tuple(SOUNDS))
        return f"What does {a(animal)} say?", f"{capital(a(animal))} says {SOUNDS[animal]}.", SOUNDS[animal]
    if kind == 5:
        animal = pick(rng, tuple(YOUNG))
        question = pick(rng, (f"What is a baby {animal} called?", f"What do you call a young {animal}?"))
        return question, f"A baby {animal} is called {a(YOUNG[animal])}.", YOUNG[animal]
    if kind == 6:
        animal = pick(rng, tuple(LEGS))
        legs = LEGS[animal]
        return (
            f"How many legs does {a(animal)} have?",
            f"{capital(a(animal))} has {legs or 'no'} legs.",
            str(legs or "no"),
        )
    if kind == 7:
        thing = pick(rng, tuple(COLOUR_OF))
        verb = pick(rng, ("What colour is", "What is the colour of"))
        return f"{verb} {thing}?", f"{capital(thing)} is {COLOUR_OF[thing]}.", COLOUR_OF[thing]
    thing = pick(rng, tuple(COUNTS))
    what, rest = thing.split(" ", 1)
    middle = (
        f"There are {COUNTS[thing]} {what} {rest[4:]}."
        if rest.startswith("are ")
        else f"{capital(rest[5:-5])} has {COUNTS[thing]} {what}."
    )
    return f"How many {thing}?", middle, COUNTS[thing]


def fact(rng: random.Random) -> Example:
    question, answer, key = _fact(rng)
    thinking = chance(rng, 0.5)
    if chance(rng, 0.1):
        return ask(question, capital(key), key, None, thinking=thinking, system=BRIEF)
    return ask(question, answer, key, None, thinking=thinking)
