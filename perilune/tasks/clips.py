"""Short clips: something moves, grows, turns, blinks, changes colour or appears, and a few real scenes.

A path is made first and drawn afterwards, so that every answer can be checked against the frames.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from perilune.corpus.media import Medium, Piece
from perilune.corpus.media_sources import media_source
from perilune.tasks import augment, canvas
from perilune.tasks.shown import Draw, ShownFamily, Told, bare, wordings
from perilune.tasks.sights import pictograph_piece
from perilune.tasks.task import a, capital, chance, pick, several

WHERE = wordings(
    "Which way does the {thing} move?",
    "In which direction does the {thing} go?",
    "Where does the {thing} move to?",
    "How does the {thing} move?",
    "What does the {thing} do?",
    "Watch the {thing}. Where does it go?",
    "Does the {thing} move left, right, up or down?",
    "Tell me which way the {thing} goes.",
    "Where is the {thing} going?",
    "The {thing} moves. In which direction?",
)
HAPPENS = wordings(
    "What happens in this clip?",
    "What do you see in the video?",
    "What happens here?",
    "Describe the clip.",
    "Tell me what happens.",
    "What is going on?",
    "Watch the clip. What happens?",
    "What does the video show?",
    "Say what happens in the video.",
    "What goes on in this clip?",
    "Describe what you see happening.",
    "Can you tell what happens in the video?",
)
BLINKS = wordings(
    "How many times does the {thing} appear?",
    "How often does the {thing} blink?",
    "How many times do you see the {thing} light up?",
    "Count how often the {thing} appears.",
    "How often is the {thing} shown?",
    "The {thing} comes and goes. How many times?",
    "How many times does the {thing} blink?",
    "Tell me how often the {thing} comes up.",
    "How many times is the {thing} there?",
    "Count the blinks of the {thing}.",
)
CHANGE = wordings(
    "Which colour does the {thing} have at the end?",
    "What colour does the {thing} become?",
    "How does the colour of the {thing} change?",
    "The {thing} changes its colour. How?",
    "Which colours does the {thing} have?",
    "What happens to the colour of the {thing}?",
    "What colour is the {thing} first, and then?",
    "Tell me how the {thing} changes.",
    "From which colour to which does the {thing} change?",
    "Watch the {thing}. How does its colour change?",
)
ORDER = wordings(
    "What appears, in order?",
    "Which things appear one after another?",
    "What do you see first, next and last?",
    "Tell me the order of what appears.",
    "In which order do they appear?",
    "What comes first and what comes after?",
    "List what is shown, in order.",
    "Watch the clip. What appears in turn?",
    "Name everything that appears, in order.",
    "What is shown, one after another?",
)
SIZE, FRAMES = canvas.SIZE, 8
RATES = (2.0, 4.0)
DIRECTIONS = {"to the left": (-1, 0), "to the right": (1, 0), "up": (0, -1), "down": (0, 1)}
BLINK_FRAMES = 12
REAL_FRAMES, REAL_STEP = 12, 2
# Mean change of a colour value below which nothing happens.
STILL = 1.5
Paint = Callable[[Image.Image, float, float, float, float], None]


@dataclass(frozen=True)
class Actor:
    """Something that can be drawn at (x, y), at a scale, turned by degrees."""

    name: str
    paint: Paint


def _shape(rng: random.Random, shape: str, colour: str) -> Actor:
    fill = canvas.shade(rng, colour)

    def paint(image: Image.Image, x: float, y: float, scale: float, turn: float) -> None:
        canvas.draw_shape(image, shape, x, y, 15 * scale, fill, turn)

    return Actor(f"{colour} {shape}", paint)


def _picture(name: str, picture_HWC: np.ndarray) -> Actor:
    def paint(image: Image.Image, x: float, y: float, scale: float, turn: float) -> None:
        turned = np.asarray(Image.fromarray(picture_HWC).rotate(-turn)) if turn else picture_HWC
        canvas.stamp(image, turned, x, y, round(36 * scale))

    return Actor(name, paint)


def any_shape(rng: random.Random) -> Actor:
    return _shape(rng, pick(rng, canvas.SHAPES), pick(rng, tuple(canvas.COLOURS)))


def actor(draw: Draw) -> Actor:
    """A coloured shape, a handwritten digit or a pictograph."""
    lot = draw.rng.random()
    if lot < 0.5:
        return any_shape(draw.rng)
    if lot < 0.7:
        piece = draw.labelled("mnist_t10k")
        grey_HW = 255 - piece.array[:, :, 0]
        alpha_HWC = np.dstack([grey_HW, grey_HW, grey_HW, piece.array[:, :, 0]])
        return _picture(f"digit {piece.label}", alpha_HWC)
    piece = pictograph_piece(draw)
    return _picture(bare(piece.label), piece.array)


def film(draw: Draw, frames: Sequence[Image.Image]) -> Medium:
    frames_FHWC = np.stack([canvas.pixels(frame) for frame in frames])
    if draw.trains:
        frames_FHWC = augment.light(frames_FHWC, draw.noise, 0.5)
    return Medium("video", frames_FHWC, pick(draw.rng, RATES))


def path(rng: random.Random, direction: str, frames: int = FRAMES) -> list[tuple[float, float]]:
    """Positions on a straight way through the middle of the picture."""
    step_x, step_y = DIRECTIONS[direction]
    reach, drift = rng.uniform(22, 34), rng.uniform(-22, 22)
    middle_x, middle_y = SIZE / 2 + drift * abs(step_y), SIZE / 2 + drift * abs(step_x)
    places = np.linspace(-reach, reach, frames)
    return [(middle_x + step_x * p, middle_y + step_y * p) for p in places]


def motion(draw: Draw) -> Told:
    one, direction = actor(draw), pick(draw.rng, tuple(DIRECTIONS))
    paper = canvas.blank(draw.rng)
    frames = []
    for x, y in path(draw.rng, direction):
        frames.append(paper.copy())
        one.paint(frames[-1], x, y, 1.0, 0.0)
    question = draw.ask(WHERE, thing=one.name)
    return Told(draw.around(question, film(draw, frames)), f"The {one.name} moves {direction}.", f"moves {direction}")


CHANGES: dict[str, Callable[[float], tuple[float, float]]] = {
    "grows": lambda t: (0.6 + 1.4 * t, 0.0),
    "shrinks": lambda t: (2.0 - 1.4 * t, 0.0),
    "turns": lambda t: (1.4, 360.0 * t),
    "stands still": lambda t: (1.4, 0.0),
}


def change(draw: Draw) -> Told:
    """Grows, shrinks, turns or stands still; a thing that looks the same when turned does not turn."""
    one = actor(draw)
    round_things = one.name.endswith(("circle", "ring"))
    verb = pick(draw.rng, [verb for verb in CHANGES if verb != "turns" or not round_things])
    x, y = (SIZE / 2 + draw.rng.uniform(-12, 12) for _ in range(2))
    paper = canvas.blank(draw.rng)
    frames = []
    for number in range(FRAMES):
        scale, turn = CHANGES[verb](number / (FRAMES - 1))
        frames.append(paper.copy())
        one.paint(frames[-1], x, y, scale, turn)
    return Told(draw.around(draw.ask(HAPPENS), film(draw, frames)), f"The {one.name} {verb}.", f"{one.name} {verb}")


def blink(draw: Draw) -> Told:
    """Comes and goes: shown and hidden for one or two frames each."""
    one, times = any_shape(draw.rng), draw.rng.randint(1, 4)
    x, y = (SIZE / 2 + draw.rng.uniform(-25, 25) for _ in range(2))
    paper = canvas.blank(draw.rng)
    lit = paper.copy()
    one.paint(lit, x, y, draw.rng.uniform(0.8, 1.8), 0.0)
    frames = [paper]
    for _ in range(times):
        frames += [lit] * draw.rng.randint(1, 2) + [paper] * (1 if times > 2 else draw.rng.randint(1, 2))
    frames += [paper] * max(0, BLINK_FRAMES - len(frames))
    answer = f"{times} time{'' if times == 1 else 's'}"
    question = draw.ask(BLINKS, thing=one.name)
    return Told(draw.around(question, film(draw, frames)), f"The {one.name} appears {answer}.", answer)


def recolour(draw: Draw) -> Told:
    rng = draw.rng
    shape = pick(rng, canvas.SHAPES)
    before, after = several(rng, tuple(canvas.COLOURS), 2)
    paper, at = canvas.blank(rng), rng.randint(3, 5)
    x, y = (SIZE / 2 + rng.uniform(-20, 20) for _ in range(2))
    scale, frames = rng.uniform(0.8, 2.0), []
    looks = _shape(rng, shape, before), _shape(rng, shape, after)
    for number in range(FRAMES):
        frames.append(paper.copy())
        looks[number >= at].paint(frames[-1], x, y, scale, 0.0)
    answer = f"from {before} to {after}"
    question = draw.ask(CHANGE, thing=shape)
    return Told(draw.around(question, film(draw, frames)), f"The {shape} changes {answer}.", answer)


def appear(draw: Draw) -> Told:
    """Two to four things, one at a time."""
    actors: list[Actor] = []
    wanted = draw.rng.randint(2, 4)
    while len(actors) < wanted:
        if (one := actor(draw)).name not in {other.name for other in actors}:
            actors.append(one)
    paper, frames = canvas.blank(draw.rng), []
    for one in actors:
        frame = paper.copy()
        x, y = (SIZE / 2 + draw.rng.uniform(-25, 25) for _ in range(2))
        one.paint(frame, x, y, 1.4, 0.0)
        frames += [frame] * 2
    names = [one.name for one in actors]
    answer = f"{', '.join(names[:-1])}, then {names[-1]}"
    return Told(draw.around(draw.ask(ORDER), film(draw, frames)), f"{capital(answer)}.", answer)


def meet(draw: Draw) -> Told:
    """Two shapes, of which one moves."""
    mover, still = any_shape(draw.rng), any_shape(draw.rng)
    while still.name == mover.name:
        still = any_shape(draw.rng)
    up_down = chance(draw.rng, 0.5)
    direction = pick(draw.rng, [d for d, (_, y) in DIRECTIONS.items() if (y != 0) == up_down])
    paper = canvas.blank(draw.rng)
    near, far = (28, 84) if chance(draw.rng, 0.5) else (84, 28)
    rest = (far, SIZE / 2) if up_down else (SIZE / 2, far)
    frames = []
    for place in np.linspace(26, 86, FRAMES)[:: 1 if DIRECTIONS[direction][0] + DIRECTIONS[direction][1] > 0 else -1]:
        frames.append(paper.copy())
        still.paint(frames[-1], *rest, 1.0, 0.0)
        mover.paint(frames[-1], *((near, place) if up_down else (place, near)), 1.0, 0.0)
    return Told(
        draw.around(draw.ask(HAPPENS), film(draw, frames)),
        f"{capital(a(mover.name))} moves {direction} and {a(still.name)} stands still.",
        f"{mover.name} moves {direction}",
    )


def stirs(frames_FHWC: np.ndarray) -> bool:
    """Whether enough changes within a real clip for its sentence to be true of it."""
    middle_HWC = np.median(frames_FHWC, axis=0)
    return bool(np.abs(frames_FHWC - middle_HWC).mean() > STILL)


@lru_cache
def stirring(root: Path, held_out: bool) -> dict[str, list[Piece]]:
    """The real clips in which something happens, by what happens."""
    table = media_source("video_intel").labelled(root, held_out)
    found = {label: [piece for piece in pieces if stirs(piece.array)] for label, pieces in table.items()}
    return {label: pieces for label, pieces in found.items() if pieces}


def real(draw: Draw) -> Told:
    """A real scene at a few frames a second, each kind of scene as often as another."""
    table = stirring(draw.root, draw.held_out)
    piece = pick(draw.rng, table[pick(draw.rng, list(table))])
    frames_FHWC = piece.array[draw.rng.randrange(REAL_STEP) :: REAL_STEP][:REAL_FRAMES]
    if draw.trains:
        frames_FHWC = augment.light(frames_FHWC, draw.noise)
        if chance(draw.rng, 0.5):
            frames_FHWC = frames_FHWC[:, :, ::-1]
    medium = Medium("video", np.ascontiguousarray(frames_FHWC), piece.rate / REAL_STEP)
    return Told(draw.around(draw.ask(HAPPENS), medium), piece.label, piece.label)


FAMILIES = (
    ShownFamily("motion", motion, 2.0),
    ShownFamily("change", change, 1.6),
    ShownFamily("blink", blink, 1.0),
    ShownFamily("recolour", recolour, 1.0),
    ShownFamily("appear", appear, 1.2),
    ShownFamily("meet", meet, 1.0),
    ShownFamily("real_clip", real, 0.3),
)
