"""Drawn scenes of coloured shapes, and questions about them: which, how many, what colour, where, how large.

A scene is made first and drawn afterwards, so that every answer can be checked against the scene.
"""

import math
import random
from dataclasses import dataclass

from PIL import Image

from perilune.corpus.media import Medium
from perilune.tasks import augment, canvas
from perilune.tasks.shown import Draw, ShownFamily, Told, wordings
from perilune.tasks.task import a, chance, pick, several
from perilune.tasks.vocabulary import plural

SHAPE = wordings(
    "What shape is this?",
    "Which shape do you see?",
    "What is drawn here?",
    "Describe the shape.",
    "What do you see?",
    "Name the shape and its colour.",
    "What is in the picture?",
    "Which shape has been drawn?",
    "Tell me what is drawn.",
    "What does the drawing show?",
)
COUNT = wordings(
    "How many {things} are there?",
    "How many {things} do you see?",
    "Count the {things}.",
    "How many {things} does the picture show?",
    "What is the number of {things}?",
    "Tell me how many {things} are drawn.",
    "Can you count the {things}?",
    "How many {things} can you find?",
    "The number of {things}, please.",
    "How many {things} are in the picture?",
)
COLOUR = wordings(
    "What colour is the {shape}?",
    "Which colour has the {shape}?",
    "Tell me the colour of the {shape}.",
    "What is the colour of the {shape}?",
    "In which colour is the {shape} drawn?",
    "Name the colour of the {shape}.",
    "The {shape} is of which colour?",
    "What colour does the {shape} have?",
    "Look at the {shape}. What colour is it?",
    "How is the {shape} coloured?",
)
SIDE = wordings(
    "Is the {one} {first} or {second} the {other}?",
    "Where is the {one}: {first} or {second} the {other}?",
    "Does the {one} stand {first} or {second} the {other}?",
    "Is the {one} drawn {first} or {second} the {other}?",
    "{First} or {second} the {other}: where is the {one}?",
    "Look at the {other}. Is the {one} {first} or {second} it?",
    "Which is true: the {one} is {first} the {other}, or {second} it?",
    "Tell me if the {one} is {first} or {second} the {other}.",
    "Seen from the {other}, is the {one} {first} or {second} it?",
    "Do you find the {one} {first} or {second} the {other}?",
)
NEIGHBOUR = wordings(
    "What is {side} the {other}?",
    "Which shape is {side} the {other}?",
    "What do you see {side} the {other}?",
    "What is drawn {side} the {other}?",
    "What stands {side} the {other}?",
    "Name the shape {side} the {other}.",
    "Look {side} the {other}. What is there?",
    "Which thing is {side} the {other}?",
    "Tell me what is {side} the {other}.",
    "What can be found {side} the {other}?",
)
LARGER = wordings(
    "Which is {more}, the {one} or the {other}?",
    "Is the {one} or the {other} {more}?",
    "Which of the two is {more}: the {one} or the {other}?",
    "Compare the {one} and the {other}. Which is {more}?",
    "Which shape is {more}, the {one} or the {other}?",
    "The {one} and the {other}: which is {more}?",
    "Tell me which is {more}, the {one} or the {other}.",
    "What is {more}: the {one} or the {other}?",
    "Of the {one} and the {other}, which is {more}?",
    "Do you find the {one} or the {other} {more}?",
)
PLACE = wordings(
    "Where is the {one}?",
    "Where in the picture is the {one}?",
    "In which part of the picture is the {one}?",
    "Where do you see the {one}?",
    "Where has the {one} been drawn?",
    "Find the {one}.",
    "Where can I find the {one}?",
    "In which corner is the {one}, or is it in the middle?",
    "Tell me where the {one} is.",
    "What is the place of the {one}?",
)
DESCRIBE = wordings(
    "Describe the picture.",
    "What is in the picture, from left to right?",
    "List the shapes from left to right.",
    "Tell me all you see, from the left.",
    "What is drawn here?",
    "Describe the shapes in order.",
    "Say what you see from left to right.",
    "Which shapes are there, from left to right?",
    "Name everything in the drawing, from left to right.",
    "What do you see?",
)
IS_THERE = wordings(
    "Is there {a_thing}?",
    "Do you see {a_thing}?",
    "Does the picture show {a_thing}?",
    "Is {a_thing} drawn here?",
    "Can you find {a_thing}?",
    "Is there {a_thing} in the picture?",
    "Look for {a_thing}. Is there one?",
    "Has somebody drawn {a_thing}?",
    "Tell me if there is {a_thing}.",
    "Do you find {a_thing} here?",
)
SIDES = (("left of", "right of"), ("above", "below"))
MOST = 6
_TRIES = 400


@dataclass(frozen=True)
class Thing:
    """One shape of a scene: pixels from the top left, y downwards."""

    shape: str
    colour: str
    x: float
    y: float
    radius: float
    turn: float = 0.0

    @property
    def name(self) -> str:
        return f"{self.colour} {self.shape}"


@dataclass(frozen=True)
class Scene:
    things: tuple[Thing, ...]
    width: int = canvas.SIZE
    height: int = canvas.SIZE

    def count(self, colour: str | None, shape: str | None) -> int:
        return sum(colour in (None, t.colour) and shape in (None, t.shape) for t in self.things)

    def drawn(self, rng: random.Random) -> Image.Image:
        """Drawn at twice the size and made smaller, so that edges are smooth."""
        image = Image.new("RGB", (2 * self.width, 2 * self.height), canvas.ground(rng))
        for t in self.things:
            canvas.draw_shape(image, t.shape, 2 * t.x, 2 * t.y, 2 * t.radius, canvas.shade(rng, t.colour), t.turn)
        return image.resize((self.width, self.height), Image.Resampling.BOX)


def _named(rng: random.Random, count: int) -> list[tuple[str, str]]:
    """Different (colour, shape) pairs."""
    pairs = [(colour, shape) for colour in canvas.COLOURS for shape in canvas.SHAPES]
    return several(rng, pairs, count)


def scattered(rng: random.Random, pairs: list[tuple[str, str]], least: float = 8, most: float = 15) -> Scene:
    """The pairs as things of different sizes that do not touch."""
    things: list[Thing] = []
    for _ in range(_TRIES):
        if len(things) == len(pairs):
            break
        colour, shape = pairs[len(things)]
        radius = rng.uniform(least, most)
        x, y = (rng.uniform(radius + 2, canvas.SIZE - radius - 2) for _ in range(2))
        if all(math.hypot(x - t.x, y - t.y) > radius + t.radius + 3 for t in things):
            things.append(Thing(shape, colour, x, y, radius, rng.uniform(-12, 12)))
    return Scene(tuple(things))


def _medium(draw: Draw, scene: Scene) -> Medium:
    image_HWC = canvas.pixels(scene.drawn(draw.rng))
    return Medium("image", augment.light(image_HWC, draw.noise, 0.5) if draw.trains else image_HWC)


def one_shape(draw: Draw) -> Told:
    ((colour, shape),) = _named(draw.rng, 1)
    scene = scattered(draw.rng, [(colour, shape)], 14, 40)
    return Told(
        draw.around(draw.ask(SHAPE), _medium(draw, scene)), f"It is {a(f'{colour} {shape}')}.", f"{colour} {shape}"
    )


def crowd(rng: random.Random) -> Scene:
    """One to MOST things of one name among up to three others."""
    colour, shape = _named(rng, 1)[0]
    pairs = [(colour, shape)] * rng.randint(1, MOST)
    pairs += [pick(rng, [pair for pair in _named(rng, 4) if pair != (colour, shape)]) for _ in range(rng.randint(0, 3))]
    rng.shuffle(pairs)
    return scattered(rng, pairs, 7, 12)


def count(draw: Draw) -> Told:
    scene = crowd(draw.rng)
    thing = pick(draw.rng, scene.things)
    colour, shape = pick(
        draw.rng, ((thing.colour, thing.shape), (None, thing.shape), (thing.colour, None), (None, None))
    )
    number = scene.count(colour, shape)
    words = f"{colour or ''} {plural(shape, 2) if shape else 'shapes'}".strip()
    reply = (
        f"There are {number} {words}."
        if number != 1
        else f"There is 1 {colour or ''} {shape or 'shape'}.".replace("  ", " ")
    )
    return Told(draw.around(draw.ask(COUNT, things=words), _medium(draw, scene)), reply, str(number))


def colour_of(draw: Draw) -> Told:
    shapes = several(draw.rng, canvas.SHAPES, draw.rng.randint(1, 4))
    scene = scattered(draw.rng, [(pick(draw.rng, tuple(canvas.COLOURS)), shape) for shape in shapes])
    thing = pick(draw.rng, scene.things)
    question = draw.ask(COLOUR, shape=thing.shape)
    return Told(draw.around(question, _medium(draw, scene)), f"The {thing.shape} is {thing.colour}.", thing.colour)


def pair(rng: random.Random, axis: int) -> Scene:
    """Two things, the first clearly left of (axis 0) or above (axis 1) the second; sizes clearly different."""
    (colour, shape), (other_colour, other_shape) = _named(rng, 2)
    small, large = rng.uniform(8, 12), rng.uniform(16, 21)
    radii = (small, large) if chance(rng, 0.5) else (large, small)
    near, far = rng.uniform(24, 36), rng.uniform(76, 88)
    drift = rng.uniform(24, 88)
    places = [(near, drift), (far, min(88, max(24, drift + rng.uniform(-14, 14))))]
    if axis == 1:
        places = [(y, x) for x, y in places]
    first = Thing(shape, colour, *places[0], radii[0], rng.uniform(-12, 12))
    return Scene((first, Thing(other_shape, other_colour, *places[1], radii[1], rng.uniform(-12, 12))))


def side(draw: Draw) -> Told:
    axis = draw.rng.randrange(2)
    scene = pair(draw.rng, axis)
    order = (0, 1) if chance(draw.rng, 0.5) else (1, 0)
    one, other = scene.things[order[0]], scene.things[order[1]]
    answer = SIDES[axis][order[0]]
    first, second = SIDES[axis] if chance(draw.rng, 0.5) else SIDES[axis][::-1]
    slots = {"first": first, "second": second, "First": first.capitalize()}
    question = draw.ask(SIDE, one=one.name, other=other.name, **slots)
    return Told(draw.around(question, _medium(draw, scene)), f"The {one.name} is {answer} the {other.name}.", answer)


def neighbour(draw: Draw) -> Told:
    axis = draw.rng.randrange(2)
    scene = pair(draw.rng, axis)
    order = (0, 1) if chance(draw.rng, 0.5) else (1, 0)
    one, other = scene.things[order[0]], scene.things[order[1]]
    where = SIDES[axis][order[0]]
    question = draw.ask(NEIGHBOUR, side=where, other=other.name)
    return Told(
        draw.around(question, _medium(draw, scene)),
        f"{a(one.name).capitalize()} is {where} the {other.name}.",
        one.name,
    )


def larger(draw: Draw) -> Told:
    scene = pair(draw.rng, draw.rng.randrange(2))
    more = pick(draw.rng, ("larger", "smaller"))
    best = (max if more == "larger" else min)(scene.things, key=lambda thing: thing.radius)
    one, other = several(draw.rng, scene.things, 2)
    question = draw.ask(LARGER, more=more, one=one.name, other=other.name)
    return Told(draw.around(question, _medium(draw, scene)), f"The {best.name} is {more}.", f"{best.name} is {more}")


PLACES = {
    "at the top left": (26, 26),
    "at the top right": (86, 26),
    "in the middle": (56, 56),
    "at the bottom left": (26, 86),
    "at the bottom right": (86, 86),
}


def where(draw: Draw) -> Told:
    names = several(draw.rng, tuple(PLACES), draw.rng.randint(1, 4))
    things = []
    for place, (colour, shape) in zip(names, _named(draw.rng, len(names)), strict=True):
        x, y = (c + draw.rng.uniform(-6, 6) for c in PLACES[place])
        things.append(Thing(shape, colour, x, y, draw.rng.uniform(9, 15), draw.rng.uniform(-12, 12)))
    chosen = draw.rng.randrange(len(names))
    name, place = things[chosen].name, names[chosen]
    medium = _medium(draw, Scene(tuple(things)))
    return Told(draw.around(draw.ask(PLACE, one=name), medium), f"The {name} is {place}.", place)


def row(draw: Draw) -> Told:
    """Two to four things in a row, to be told in order."""
    number = draw.rng.randint(2, 4)
    width = 40 * number + 16
    things = [
        Thing(
            shape,
            colour,
            28 + 40 * i + draw.rng.uniform(-3, 3),
            42 + draw.rng.uniform(-14, 14),
            draw.rng.uniform(10, 16),
        )
        for i, (colour, shape) in enumerate(_named(draw.rng, number))
    ]
    names = [a(thing.name) for thing in things]
    answer = f"{', '.join(names[:-1])} and {names[-1]}"
    medium = _medium(draw, Scene(tuple(things), width, 84))
    return Told(draw.around(draw.ask(DESCRIBE), medium), f"{answer[0].upper()}{answer[1:]}.", answer)


def is_there(draw: Draw) -> Told:
    """Yes or no; what is not there shares its colour or its shape with what is."""
    pairs = _named(draw.rng, draw.rng.randint(2, 4))
    scene = scattered(draw.rng, pairs)
    names = {thing.name for thing in scene.things}
    absent = [f"{c} {s}" for c, _ in pairs for _, s in pairs if f"{c} {s}" not in names]
    if chance(draw.rng, 0.5) or not absent:
        thing = a(pick(draw.rng, scene.things).name)
        reply, answer = f"Yes, there is {thing}.", "yes"
    else:
        thing = a(pick(draw.rng, absent))
        reply, answer = f"No, there is no {thing.split(' ', 1)[1]}.", "no,"
    return Told(draw.around(draw.ask(IS_THERE, a_thing=thing), _medium(draw, scene)), reply, answer)


FAMILIES = (
    ShownFamily("one_shape", one_shape, 0.8),
    ShownFamily("count_shapes", count, 1.2),
    ShownFamily("colour_of_shape", colour_of, 0.8),
    ShownFamily("side_of_shape", side, 0.7),
    ShownFamily("neighbour_shape", neighbour, 0.4),
    ShownFamily("larger_shape", larger, 0.5),
    ShownFamily("place_of_shape", where, 0.5),
    ShownFamily("row_of_shapes", row, 0.6),
    ShownFamily("is_there", is_there, 0.5),
)
