"""What needles are about: subjects that look alike within a document, so that only the right one fits."""

import random
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from perilune.errors import ConfigError
from perilune.tasks import lookup_words as w
from perilune.tasks.task import chance, pick


@dataclass(frozen=True)
class Subject:
    """`name` is the key; `article` "the" where a sentence needs one ("the north gate")."""

    name: str
    article: bool = False

    @property
    def said(self) -> str:
        return f"the {self.name}" if self.article else self.name


Make = Callable[[], Subject]


def _numbered(rng: random.Random, held_out: bool) -> Make:
    """ "pump 7", "pump 71": the same thing with another number."""
    words = [pick(rng, (w.THINGS, w.SITES)).pick(rng, held_out) for _ in range(rng.randrange(1, 4))]
    top = pick(rng, (30, 300, 10_000))
    mark = pick(rng, (" ", " ", " ", " number ", " no. ", "-", " #"))
    return lambda: Subject(f"{pick(rng, words)}{mark}{rng.randrange(1, top)}")


def _described(rng: random.Random, held_out: bool) -> Make:
    """ "the old harbour", "the old mill", "the red harbour": parts are shared."""
    nouns = [pick(rng, (w.THINGS, w.SITES)).pick(rng, held_out) for _ in range(rng.randrange(2, 12))]
    adjectives = [w.ADJECTIVES.pick(rng, held_out) for _ in range(rng.randrange(3, 16))]
    article, two = chance(rng, 0.7), chance(rng, 0.15)

    def make() -> Subject:
        more = f"{pick(rng, adjectives)} " if two else ""
        return Subject(f"{more}{pick(rng, adjectives)} {pick(rng, nouns)}", article)

    return make


def _pairs(rng: random.Random, held_out: bool) -> Make:
    mark = pick(rng, ("-", "-", " ", "_"))
    return lambda: Subject(f"{w.ADJECTIVES.pick(rng, held_out)}{mark}{w.ANIMALS.pick(rng, held_out)}")


def _words(rng: random.Random, held_out: bool) -> Make:
    lists = (w.THINGS, w.SITES, w.ANIMALS, w.FOODS, w.COLOURS, w.ADJECTIVES)
    return lambda: Subject(pick(rng, lists).pick(rng, held_out))


def _nouns(rng: random.Random, held_out: bool) -> Make:
    return lambda: Subject(pick(rng, (w.THINGS, w.SITES)).pick(rng, held_out), True)


def _people(rng: random.Random, held_out: bool) -> Make:
    """Few first and last names, so that many people share one of them."""
    some = rng.randrange(3, 20)
    first = [w.FIRST_NAMES.pick(rng, held_out) for _ in range(some)]
    last = [w.LAST_NAMES.pick(rng, held_out) for _ in range(some)]
    return lambda: Subject(f"{pick(rng, first)} {pick(rng, last)}")


def _first_names(rng: random.Random, held_out: bool) -> Make:
    return lambda: Subject(w.FIRST_NAMES.pick(rng, held_out))


def _towns(rng: random.Random, held_out: bool) -> Make:
    return lambda: Subject(w.TOWNS.pick(rng, held_out))


def _made_up(rng: random.Random, held_out: bool) -> Make:
    upper = chance(rng, 0.6)

    def make() -> Subject:
        word = w.made_up(rng, held_out)
        return Subject(word.capitalize() if upper else word)

    return make


def _titled(rng: random.Random, held_out: bool) -> Make:
    """ "Project Kolera", "planet Zhonai": a made-up name behind a common word."""
    titles = ("Project", "planet", "team", "the ship", "Mount", "agent", "Operation", "Lake", "the book", "Doctor")
    others = ("Captain", "the comet", "Station", "river", "the opera", "village", "Professor", "dragon")
    title = pick(rng, others if held_out else titles)
    return lambda: Subject(f"{title} {w.made_up(rng, held_out).capitalize()}")


def _letters(rng: random.Random, held_out: bool) -> Make:
    upper = chance(rng, 0.3)

    def make() -> Subject:
        word = w.letters(rng, held_out, 3, 7)
        return Subject(word.upper() if upper else word)

    return make


def _numbers(rng: random.Random, held_out: bool) -> Make:
    count = rng.randrange(3, 8)
    return lambda: Subject(str(rng.randrange(10 ** (count - 1), 10**count)))


def _uuids(rng: random.Random, held_out: bool) -> Make:
    return lambda: Subject(str(uuid.UUID(int=rng.getrandbits(128), version=4)))


def _phrases(rng: random.Random, held_out: bool) -> Make:
    things = [w.THINGS.pick(rng, held_out) for _ in range(6)]
    sites = [w.SITES.pick(rng, held_out) for _ in range(6)]
    marks = (" behind the ", " under the ", " beside the ") if held_out else (" in the ", " near the ", " of the ")

    def make() -> Subject:
        adjective = f"{w.ADJECTIVES.pick(rng, held_out)} " if chance(rng, 0.5) else ""
        return Subject(f"{adjective}{pick(rng, things)}{pick(rng, marks)}{pick(rng, sites)}", True)

    return make


def snake(rng: random.Random, held_out: bool) -> str:
    words = [w.CODE_VERBS.pick(rng, held_out), w.CODE_NOUNS.pick(rng, held_out)]
    if chance(rng, 0.5):
        words.append(w.CODE_NOUNS.pick(rng, held_out))
    return "_".join(words)


def camel(rng: random.Random, held_out: bool) -> str:
    count = rng.randrange(2, 4)
    return "".join(w.CODE_NOUNS.pick(rng, held_out).capitalize() for _ in range(count))


def _snakes(rng: random.Random, held_out: bool) -> Make:
    return lambda: Subject(snake(rng, held_out))


def _camels(rng: random.Random, held_out: bool) -> Make:
    return lambda: Subject(camel(rng, held_out))


def _dotted(rng: random.Random, held_out: bool) -> Make:
    mark = pick(rng, (".", ".", "/", ":", "-"))
    first = [w.CODE_NOUNS.pick(rng, held_out) for _ in range(5)]
    return lambda: Subject(f"{pick(rng, first)}{mark}{snake(rng, held_out)}")


SUBJECTS: dict[str, Callable[[random.Random, bool], Make]] = {
    "numbered": _numbered,
    "described": _described,
    "pairs": _pairs,
    "words": _words,
    "nouns": _nouns,
    "people": _people,
    "first_names": _first_names,
    "towns": _towns,
    "made_up": _made_up,
    "titled": _titled,
    "letters": _letters,
    "numbers": _numbers,
    "uuids": _uuids,
    "phrases": _phrases,
    "snake": _snakes,
    "camel": _camels,
    "dotted": _dotted,
}
PLAIN = ("made_up", "letters", "numbers", "uuids", "snake", "camel", "dotted", "pairs")
ENDLESS = ("made_up", "letters", "uuids")


class Keys:
    """Subjects of one document: none stands inside another, so a question names exactly one."""

    def __init__(self, rng: random.Random, held_out: bool) -> None:
        self.rng, self.held_out = rng, held_out
        self.whole: set[str] = set()
        self.parts: set[str] = set()

    def several(self, kind: str, count: int) -> list[Subject]:
        """`count` subjects of one kind; where its words run short, a new draw of words or made-up ones help."""
        made: list[Subject] = []
        make, misses = SUBJECTS[kind](self.rng, self.held_out), 0
        while len(made) < count:
            subject = make()
            if self._take(subject.name):
                made.append(subject)
                misses = 0
                continue
            misses += 1
            if misses > 60:
                raise ConfigError(f"no {count} different subjects of kind {kind!r} fit one document")
            if misses % 20 == 0:
                kind = kind if misses < 40 else pick(self.rng, ENDLESS)
                make = SUBJECTS[kind](self.rng, self.held_out)
        return made

    def _take(self, name: str) -> bool:
        words, parts = name.lower().split(), w.runs_of_words(name)
        if " ".join(words) in self.parts or parts & self.whole:
            return False
        self.whole.add(" ".join(words))
        self.parts |= parts
        return True
