"""Values that a lookup asks for: numbers, codes, times, names, places, words and short phrases."""

import random
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from perilune.tasks import lookup_words as w
from perilune.tasks.task import chance, pick
from perilune.tasks.vocabulary import DAYS, MONTHS

Make = Callable[[random.Random, bool], str]
CODE_LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ"
CODE_SIGNS = CODE_LETTERS + "23456789"
STREETS = ("Street", "Road", "Lane", "Avenue", "Square", "Hill")
FAR = ("km", "m", "miles", "steps", "yards", "hours")
HEAVY = ("kg", "tons", "pounds", "grams", "stone")
UNITS = ("kg", "km", "m", "cm", "litres", "tons", "volts", "watts", "degrees", "bar", "hours", "minutes", "pages")


_TEENS = (
    "two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen "
    "nineteen"
)
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
_COUNTED = (
    "days weeks months years hours minutes nights miles metres steps litres barrels tons sacks crowns pounds francs "
    "guests people horses boats houses pages letters rooms beds books bottles coins seats carts trees sheep loaves"
)


@dataclass(frozen=True)
class Kind:
    """`room`: about how many different values there are, so that a document never runs short of them."""

    name: str
    make: Make
    room: int


def digits(count: int) -> Make:
    low = 10 ** (count - 1) if count > 1 else 0
    return lambda rng, held_out: str(rng.randrange(low, 10**count))


def number(rng: random.Random, held_out: bool) -> str:
    return digits(rng.randrange(4, 11))(rng, held_out)


def uid(rng: random.Random, held_out: bool) -> str:
    return str(uuid.UUID(int=rng.getrandbits(128), version=4))


def hexadecimal(rng: random.Random, held_out: bool) -> str:
    return f"{rng.getrandbits(64):016x}"[: rng.choice((6, 8, 12))]


def serial(rng: random.Random, held_out: bool) -> str:
    first = "".join(rng.choices(CODE_LETTERS, k=rng.randrange(2, 4)))
    return f"{first}-{rng.randrange(10, 10_000)}{pick(rng, ('', '', '-' + pick(rng, CODE_LETTERS)))}"


def mixed(rng: random.Random, held_out: bool) -> str:
    return "".join(rng.choices(CODE_SIGNS, k=rng.randrange(5, 10)))


def clock(rng: random.Random, held_out: bool) -> str:
    hour, minute = rng.randrange(24), rng.randrange(60)
    if chance(rng, 0.25):
        return f"{hour % 12 + 1}:{minute:02d} {pick(rng, ('am', 'pm'))}"
    return f"{hour:02d}:{minute:02d}"


def date(rng: random.Random, held_out: bool) -> str:
    day, month, year = rng.randrange(1, 29), rng.randrange(12), rng.randrange(1801, 2090)
    shapes = (f"{day} {MONTHS[month]} {year}", f"{year}-{month + 1:02d}-{day:02d}", f"{MONTHS[month]} {day} {year}")
    return pick(rng, shapes)


def year(rng: random.Random, held_out: bool) -> str:
    return str(rng.randrange(1400, 2090))


def amount(rng: random.Random, held_out: bool) -> str:
    whole, cents = rng.randrange(2, 9_999), rng.randrange(100)
    shapes = (f"${whole}.{cents:02d}", f"{whole} euros", f"{whole}.{cents:02d} EUR", f"£{whole}", f"{whole} dollars")
    return pick(rng, shapes)


def measured(units: tuple[str, ...]) -> Make:
    def make(rng: random.Random, held_out: bool) -> str:
        value = str(rng.randrange(2, 2_000)) if chance(rng, 0.6) else f"{rng.randrange(1, 400)}.{rng.randrange(1, 10)}"
        return f"{value} {pick(rng, units)}"

    return make


def percent(rng: random.Random, held_out: bool) -> str:
    return f"{rng.randrange(1, 100)}.{rng.randrange(10)}%"


def spelled(rng: random.Random, held_out: bool) -> str:
    """A number in words with what it counts: "two hundred and forty sacks"."""
    teens, tens, counted = _TEENS.split(), _TENS.split(), _COUNTED.split()
    number = pick(rng, teens + tens)
    if chance(rng, 0.4):
        number += pick(rng, (" hundred", " thousand"))
        number += f" and {pick(rng, teens + tens)}" if chance(rng, 0.4) else ""
    elif number in tens and chance(rng, 0.5):
        number += "-" + pick(rng, teens[:8])
    return f"{number} {pick(rng, counted)}"


def address_ip(rng: random.Random, held_out: bool) -> str:
    return ".".join(str(rng.randrange(1, 255)) for _ in range(4))


def phone(rng: random.Random, held_out: bool) -> str:
    if chance(rng, 0.4):
        return f"{rng.randrange(100, 999)}-{rng.randrange(100, 999)}-{rng.randrange(1000, 9999)}"
    groups = (digits(size)(rng, held_out) for size in rng.choices((2, 3, 3, 4), k=rng.randrange(2, 4)))
    return " ".join((f"{pick(rng, ('0', '0', '+'))}{rng.randrange(10, 1000)}", *groups))


def version(rng: random.Random, held_out: bool) -> str:
    return f"{rng.randrange(30)}.{rng.randrange(30)}.{rng.randrange(100)}"


def spot(rng: random.Random, held_out: bool) -> str:
    kinds = ("row", "shelf", "room", "locker", "platform", "box", "seat", "table", "bay", "cabin")
    return f"{pick(rng, kinds)} {rng.randrange(1, 400)}{pick(rng, ('', '', *'ABCDEF'))}"


def person(rng: random.Random, held_out: bool) -> str:
    return f"{w.FIRST_NAMES.pick(rng, held_out)} {w.LAST_NAMES.pick(rng, held_out)}"


def street(rng: random.Random, held_out: bool) -> str:
    return f"{rng.randrange(1, 300)} {w.LAST_NAMES.pick(rng, held_out)} {pick(rng, STREETS)}"


def email(rng: random.Random, held_out: bool) -> str:
    name = w.FIRST_NAMES.pick(rng, held_out).lower()
    return f"{name}{rng.randrange(1, 99)}@{w.made_up(rng, held_out)}.{pick(rng, ('org', 'net', 'com'))}"


def path(rng: random.Random, held_out: bool) -> str:
    folders = [w.CODE_NOUNS.pick(rng, held_out) for _ in range(rng.randrange(1, 3))]
    name = f"{w.CODE_VERBS.pick(rng, held_out)}_{w.CODE_NOUNS.pick(rng, held_out)}"
    return "/".join([*folders, name]) + pick(rng, (".py", ".py", ".txt", ".c", ".json", ".md"))


def word(rng: random.Random, held_out: bool) -> str:
    return pick(rng, (w.THINGS, w.SITES, w.ADJECTIVES, w.ANIMALS, w.FOODS, w.COLOURS)).pick(rng, held_out)


def phrase(rng: random.Random, held_out: bool) -> str:
    """Two to six words that nobody would guess: "silver otter under the mill"."""
    adjective, other = w.ADJECTIVES.pick(rng, held_out), w.ADJECTIVES.pick(rng, held_out)
    animal, thing, site = (x.pick(rng, held_out) for x in (w.ANIMALS, w.THINGS, w.SITES))
    shapes = (
        f"{adjective} {thing}",
        f"{adjective} {other} {animal}",
        f"{thing} {animal} {site}",
        f"{adjective} {animal} under the {site}",
        f"{animal} and {thing}",
        f"the {animal} sings in the {site}",
        f"{word(rng, held_out)} {word(rng, held_out)} {word(rng, held_out)} {word(rng, held_out)}",
        f"never wake the {adjective} {animal}",
        f"the {thing} for the {adjective} {animal}",
    )
    return pick(rng, shapes)


def _of(words: w.Words) -> Make:
    return words.pick


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        *(Kind(f"digits{n}", digits(n), 9 * 10 ** (n - 1)) for n in range(1, 11)),
        Kind("number", number, 10**9),
        Kind("uuid", uid, 10**30),
        Kind("hex", hexadecimal, 10**7),
        Kind("serial", serial, 10**5),
        Kind("mixed", mixed, 10**7),
        Kind("clock", clock, 1_400),
        Kind("date", date, 10**5),
        Kind("year", year, 600),
        Kind("amount", amount, 10**5),
        Kind("measure", measured(UNITS), 10**4),
        Kind("distance", measured(FAR), 10**4),
        Kind("mass", measured(HEAVY), 10**4),
        Kind("percent", percent, 900),
        Kind("spelled", spelled, 4_000),
        Kind("ip", address_ip, 10**9),
        Kind("phone", phone, 10**9),
        Kind("version", version, 10**4),
        Kind("spot", spot, 10**4),
        Kind("person", person, 1_000),
        Kind("street", street, 10**4),
        Kind("email", email, 10**7),
        Kind("path", path, 10**5),
        Kind("phrase", phrase, 10**6),
        Kind("word", word, 250),
        Kind("made_up", w.made_up, 10**5),
        Kind("letters", w.letters, 10**6),
        Kind("weekday", lambda rng, held_out: pick(rng, DAYS), 7),
        Kind("month", lambda rng, held_out: pick(rng, MONTHS), 12),
        Kind("colour", _of(w.COLOURS), 20),
        Kind("animal", _of(w.ANIMALS), 36),
        Kind("food", _of(w.FOODS), 33),
        Kind("town", _of(w.TOWNS), 42),
        Kind("thing", _of(w.THINGS), 82),
    )
}


class Values:
    """Values of one document, none of which is a part of another."""

    def __init__(self, rng: random.Random, held_out: bool) -> None:
        self.rng, self.held_out = rng, held_out
        self.taken: set[str] = set()  # values, and the parts of them and of names
        self.given: set[str] = set()

    def avoid(self, names: Iterable[str]) -> None:
        """No value shall stand in one of these names: it would stand in another needle, too."""
        for name in names:
            self.taken |= w.runs_of_words(name)

    def fresh(self, kind: str) -> str | None:
        """A value not given before; None when the kind seems used up."""
        for _ in range(40):
            value = KINDS[kind].make(self.rng, self.held_out)
            parts = w.runs_of_words(value) | {value.lower()}
            if value.lower() not in self.taken and not parts & self.given:
                self.taken |= parts
                self.given.add(value.lower())
                return value
        return None
