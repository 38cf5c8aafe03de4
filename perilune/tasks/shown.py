"""A conversation with media in the form that is trained and scored, and what its maker draws from."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np

from perilune.corpus.media import Medium, Piece, sound
from perilune.corpus.media_sources import media_source
from perilune.corpus.split import is_held_out
from perilune.errors import ConfigError
from perilune.tasks import augment
from perilune.tasks.task import Message, chance, pick, reply

WORDINGS_AT_LEAST = 10
KEPT_ONE_IN = 5
CHOICES_KEPT_ONE_IN = 12


@dataclass(frozen=True)
class Shown:
    """The last message is the reply; a right reply contains the words of `answer` (case and final stop aside).

    A content part {"type": "image" | "audio" | "video"} stands where a medium stands, in the order of `media`.
    """

    family: str
    messages: tuple[Message, ...]
    media: tuple[Medium, ...]
    answer: str
    held_out: bool


@dataclass(frozen=True, eq=False)
class Told:
    """What one maker made: the user's words and media in order, the reply, and what a right reply contains."""

    content: tuple[str | Medium, ...]
    reply: str
    answer: str

    def shown(self, family: str, held_out: bool) -> Shown:
        parts = [{"type": "text", "text": c} if isinstance(c, str) else {"type": c.kind} for c in self.content]
        media = tuple(part for part in self.content if isinstance(part, Medium))
        return Shown(family, ({"role": "user", "content": parts}, reply(self.reply)), media, self.answer, held_out)


@dataclass(frozen=True)
class Wordings:
    """Ways to ask one thing; every fifth asks it in held-out examples only."""

    options: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(set(self.options)) < WORDINGS_AT_LEAST:
            raise ValueError(f"give at least {WORDINGS_AT_LEAST} different wordings, not {len(set(self.options))}")

    def side(self, held_out: bool) -> list[str]:
        return [w for i, w in enumerate(self.options) if (i % KEPT_ONE_IN == KEPT_ONE_IN - 1) == held_out]


def wordings(*options: str) -> Wordings:
    return Wordings(options)


@dataclass(frozen=True, eq=False)
class Draw:
    """What an example is drawn with: chance, the side it is on, and the data of that side."""

    rng: random.Random
    held_out: bool
    root: Path
    speech_cache: Path | None = None
    noise: np.random.Generator = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "noise", np.random.default_rng(self.rng.getrandbits(64)))

    @property
    def trains(self) -> bool:
        return not self.held_out

    def ask(self, asked: Wordings, **slots: object) -> str:
        """One wording of this side; now and then as people type in haste."""
        words = pick(self.rng, asked.side(self.held_out)).format(**slots)
        return words[0].lower() + words[1:].rstrip(".?") if chance(self.rng, 0.12) else words

    def around(self, question: str, *media: Medium) -> tuple[str | Medium, ...]:
        """The media before the question, or after it."""
        return (*media, question) if chance(self.rng, 0.7) else (question, *media)

    def labelled(self, source: str) -> Piece:
        """A piece of this side; each label is as likely as another."""
        table = media_source(source).labelled(self.root, self.held_out)
        return pick(self.rng, table[pick(self.rng, list(table))])

    def piece(self, source: str) -> Piece:
        """Any piece of this side."""
        return pick(self.rng, media_source(source).pieces(self.root, self.held_out))

    def with_label(self, source: str, label: str) -> Piece | None:
        """A piece of this side with that label; None where the side has none."""
        found = media_source(source).labelled(self.root, self.held_out).get(label)
        return pick(self.rng, found) if found else None

    def choose(self, options: tuple[str, ...]) -> str:
        """One of the options that belong to this side by their hash."""
        return pick(self.rng, _one_side(options, self.held_out))

    def fresh(self, make: Callable[[], str]) -> str:
        """Texts made until one belongs to this side by its hash."""
        while _on_side(text := make(), not self.held_out):
            pass
        return text

    def number(self, longest: int) -> str:
        """A number of up to `longest` digits, each length as likely; from three digits on each is of one side."""
        length = self.rng.randint(1, longest)
        low = 10 ** (length - 1) if length > 1 else 0
        if length < 3:
            return str(self.rng.randrange(low, 10**length))
        return self.fresh(lambda: str(self.rng.randrange(low, 10**length)))

    def photo(self, piece: Piece, flip: bool = True) -> Medium:
        """A picture: as it is where held out, else lit and turned otherwise; what may be mirrored is also cropped."""
        if not self.trains:
            return Medium("image", piece.array)
        if flip:
            return Medium("image", augment.photo(piece.array, self.noise))
        return Medium("image", augment.light(augment.shake(piece.array, self.noise, turn=3), self.noise))

    def background(self) -> np.ndarray:
        """An everyday sound of this side, to be heard under another."""
        return sound(self.piece("sounds_esc10").array)

    def recorded(self, samples_S: np.ndarray, pace: tuple[float, float] = (0.85, 1.15)) -> Medium:
        """A recording: as it is where held out, else heard through a room, a line, noise."""
        if not self.trains:
            return Medium("audio", samples_S)
        return Medium("audio", augment.recorded(samples_S, self.noise, self.background, pace))


@dataclass(frozen=True)
class ShownFamily:
    """One kind of example with media. `needs_speech`: it can only be made where espeak-ng is installed."""

    name: str
    make: Callable[[Draw], Told]
    weight: float
    needs_speech: bool = False


def _on_side(text: str, held_out: bool) -> bool:
    return is_held_out("shown", text, CHOICES_KEPT_ONE_IN) == held_out


@lru_cache
def _one_side(options: tuple[str, ...], held_out: bool) -> list[str]:
    side = [option for option in options if _on_side(option, held_out)]
    if not side:
        raise ConfigError(f"{len(options)} options are too few to hold some out")
    return side


def bare(phrase: str) -> str:
    """A noun phrase without its article: what a right answer has to contain."""
    first, _, rest = phrase.partition(" ")
    return rest if rest and first in ("a", "an", "the") else phrase


def is_are(phrase: str) -> str:
    """ "This is a coat." or "These are trousers." """
    plural = phrase.split()[0] not in ("a", "an", "the") and bare(phrase).split()[-1].endswith("s")
    return f"These are {phrase}." if plural else f"This is {phrase}."
