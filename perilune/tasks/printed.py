"""Drawn pictures to read: words, numbers, lines and small tables in several fonts, clock faces, bar charts."""

import math
import random
import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from PIL import Image, ImageDraw

from perilune.corpus.common import count_words
from perilune.corpus.media import Medium
from perilune.corpus.sources import source
from perilune.tasks import augment, canvas
from perilune.tasks.shown import Draw, ShownFamily, Told, wordings
from perilune.tasks.task import chance, pick, several
from perilune.tasks.vocabulary import COUNTED, DAYS, NAMES, plural

READ = wordings(
    "What does it say?",
    "Read the text.",
    "What is written here?",
    "What text is in the picture?",
    "Read this for me.",
    "Which words do you see?",
    "Please read the picture.",
    "Write down the text of the picture.",
    "What can you read here?",
    "Copy the text in the image.",
    "What do the letters say?",
    "Tell me what is printed here.",
)
READ_NUMBER = wordings(
    "Which number is this?",
    "Read the number.",
    "What number is written here?",
    "Which number do you see?",
    "What number does the picture show?",
    "Tell me the number.",
    "Write down the number in the picture.",
    "What does it say?",
    "Can you read this number?",
    "Copy the number.",
)
TIME = wordings(
    "What time is it?",
    "What time does the clock show?",
    "Read the clock.",
    "Which time do you see?",
    "Tell me the time on the clock.",
    "What does the clock say?",
    "Look at the hands. What time is it?",
    "Which time does this clock face show?",
    "Can you tell me the time?",
    "How late is it on this clock?",
)
HIGHEST = wordings(
    "Which bar is the {most}?",
    "Which name has the {most} bar?",
    "Who has the {most} bar?",
    "Find the {most} bar.",
    "What stands under the {most} bar?",
    "The {most} bar belongs to whom?",
    "Which of the bars is {most}?",
    "Name the {most} bar.",
    "Tell me which bar is the {most}.",
    "Look at the chart. Which bar is {most}?",
)
BARS = wordings(
    "How many bars are there?",
    "How many bars do you see?",
    "Count the bars.",
    "How many bars does the chart have?",
    "What is the number of bars?",
    "How many bars are in the chart?",
    "How many columns does the chart show?",
    "Tell me how many bars there are.",
    "Can you count the bars?",
    "The chart has how many bars?",
)
CELL = wordings(
    "How many {things} does {name} have?",
    "How many {things} has {name} got?",
    "Look at the table. How many {things} has {name}?",
    "Read the table: {things} of {name}?",
    "What is the number of {things} for {name}?",
    "What does the table say about {name} and {things}?",
    "Find {name}. How many {things}?",
    "Tell me the number of {things} of {name}.",
    "{name} has how many {things}?",
    "In the table, how many {things} belong to {name}?",
)
LONGEST_NUMBER = 5
COMMON_AT_LEAST = 4


@lru_cache
def common_words(root: Path) -> tuple[str, ...]:
    """Words of three to ten letters that the stories use often enough."""
    texts = (item.text or "" for item in source("stories_cc_by").items(root))
    counts = count_words(texts)
    return tuple(sorted(w for w, n in counts.items() if n >= COMMON_AT_LEAST and re.fullmatch("[a-z]{3,10}", w)))


def _case(rng: random.Random, text: str) -> str:
    return pick(rng, (text, text, text.capitalize(), text.upper()))


def printed(rng: random.Random, lines: Sequence[str], width: int, largest: int = 34) -> Image.Image:
    """The lines one below the other, as large as the width allows, dark on light or light on dark."""
    longest = max(lines, key=len)
    with_font = canvas.fitting(rng, longest, width - 8, rng.randint(max(12, largest - 14), largest))
    step = max(canvas.text_size(line, with_font)[1] for line in lines) + 8
    paper, ink = canvas.ground(rng), canvas.shade(rng, pick(rng, ("black", "black", "blue", "red", "purple", "brown")))
    if chance(rng, 0.25):
        paper, ink = ink, paper
    image = Image.new("RGB", (width, max(56, step * len(lines) + 12)), paper)
    for i, line in enumerate(lines):
        slack = max(0, width - 8 - canvas.text_size(line, with_font)[0])
        x = width / 2 + rng.uniform(-slack / 2, slack / 2)
        y = image.height / 2 + (i - (len(lines) - 1) / 2) * step
        canvas.write_centred(image, line, x, y, with_font, ink)
    return image


def _medium(draw: Draw, image: Image.Image) -> Medium:
    image_HWC = canvas.pixels(image)
    if draw.trains:
        if chance(draw.rng, 0.5):
            image_HWC = augment.shake(image_HWC, draw.noise, turn=3, scale=(0.93, 1.02), shift=0.02)
        image_HWC = augment.light(image_HWC, draw.noise, 0.8)
    return Medium("image", image_HWC)


def word(draw: Draw) -> Told:
    text = _case(draw.rng, draw.choose(common_words(draw.root)))
    image = printed(draw.rng, [text], pick(draw.rng, (112, 140, 168)))
    return Told(draw.around(draw.ask(READ), _medium(draw, image)), f"{text}.", text)


def code(draw: Draw) -> Told:
    """Letters and figures that no dictionary knows."""
    signs = "ABCDEFGHJKLMNPQRSTUVWXYZ2345679"
    text = draw.fresh(lambda: "".join(pick(draw.rng, signs) for _ in range(draw.rng.randint(3, 6))))
    image = printed(draw.rng, [text], pick(draw.rng, (112, 140)))
    return Told(draw.around(draw.ask(READ), _medium(draw, image)), f"{text}.", text)


def number(draw: Draw) -> Told:
    text = draw.number(LONGEST_NUMBER)
    image = printed(draw.rng, [text], pick(draw.rng, (84, 112, 140)))
    return Told(draw.around(draw.ask(READ_NUMBER), _medium(draw, image)), f"{text}.", text)


def line(draw: Draw) -> Told:
    """Two to six words on one to three lines."""
    words = [draw.choose(common_words(draw.root)) for _ in range(draw.rng.randint(2, 6))]
    words[0] = words[0].capitalize()
    step = 2 if len(words) <= 4 else 3
    lines = [" ".join(words[i : i + step]) for i in range(0, len(words), step)]
    image = printed(draw.rng, lines, pick(draw.rng, (168, 196, 224)), 26)
    text = " ".join(words)
    return Told(draw.around(draw.ask(READ), _medium(draw, image)), f"{text}.", text)


def clock_face(rng: random.Random, hour: int, minute: int) -> Image.Image:
    """A face with its hands; drawn at twice the size and made smaller."""
    size, middle = 2 * canvas.SIZE, canvas.SIZE
    image = Image.new("RGB", (size, size), canvas.ground(rng))
    pen = ImageDraw.Draw(image)
    ink = canvas.shade(rng, pick(rng, ("black", "blue", "red", "brown", "green")))
    radius = rng.uniform(84, 104)
    pen.ellipse(
        (middle - radius, middle - radius, middle + radius, middle + radius), outline=ink, width=5, fill="white"
    )
    with_font, figures = canvas.font(rng, 26), chance(rng, 0.6)
    for mark in range(12):
        x, y = math.sin(mark * math.pi / 6), -math.cos(mark * math.pi / 6)
        if figures:
            far = radius - 20
            canvas.write_centred(image, str(mark or 12), middle + x * far, middle + y * far, with_font, ink)
        else:
            near, far = radius - (20 if mark % 3 == 0 else 11), radius - 4
            pen.line([middle + x * near, middle + y * near, middle + x * far, middle + y * far], fill=ink, width=5)
    hands = ((hour % 12 + minute / 60) / 12, 0.48, 11), (minute / 60, 0.72, 6)
    for turn, reach, width in hands:
        angle = 2 * math.pi * turn
        end = (middle + math.sin(angle) * radius * reach, middle - math.cos(angle) * radius * reach)
        pen.line([(middle, middle), end], fill=ink, width=width)
    return image.resize((canvas.SIZE, canvas.SIZE), Image.Resampling.BOX)


def clock(draw: Draw) -> Told:
    hour, minute = draw.rng.randint(1, 12), 5 * draw.rng.randrange(12)
    if chance(draw.rng, 0.4):
        minute = pick(draw.rng, (0, 30))
    text = f"{hour}:{minute:02d}"
    image = clock_face(draw.rng, hour, minute)
    return Told(draw.around(draw.ask(TIME), _medium(draw, image)), f"It is {text}.", text)


def bars(rng: random.Random, heights: Sequence[int], names: Sequence[str]) -> Image.Image:
    """A bar of height 1 to 10 over each name."""
    step, base, unit = 40, 100, 8
    image = Image.new("RGB", (step * len(heights) + 16, 124), canvas.ground(rng))
    pen = ImageDraw.Draw(image)
    with_font = canvas.fitting(rng, max(names, key=len), step - 2, 13)
    colours = several(rng, tuple(canvas.COLOURS), len(heights))
    for i, (height, name) in enumerate(zip(heights, names, strict=True)):
        left = 8 + step * i
        pen.rectangle((left + 6, base - unit * height, left + step - 6, base), fill=canvas.shade(rng, colours[i]))
        canvas.write_centred(image, name, left + step / 2, base + 12, with_font, (20, 20, 20))
    pen.line([(6, base), (image.width - 6, base)], fill=(20, 20, 20), width=2)
    return image


def chart(draw: Draw) -> Told:
    rng = draw.rng
    heights = several(rng, range(1, 11), rng.randint(2, 5))
    short = [n for n in NAMES if len(n) <= 4] if chance(rng, 0.6) else [day[:3] for day in DAYS]
    names = several(rng, short, len(heights))
    image = bars(rng, heights, names)
    if chance(rng, 0.3):
        total = str(len(heights))
        return Told(draw.around(draw.ask(BARS), _medium(draw, image)), f"There are {total} bars.", total)
    most = pick(rng, ("highest", "lowest"))
    name = names[heights.index((max if most == "highest" else min)(heights))]
    question = draw.ask(HIGHEST, most=most)
    return Told(draw.around(question, _medium(draw, image)), f"The {most} bar is {name}.", name)


def table_picture(rng: random.Random, cells: Sequence[Sequence[str]]) -> Image.Image:
    """Rows of cells with or without lines between them."""
    wide, high = 56, 26
    image = Image.new("RGB", (wide * len(cells[0]) + 8, high * len(cells) + 8), canvas.ground(rng))
    longest = max((cell for row in cells for cell in row), key=len)
    with_font = canvas.fitting(rng, longest, wide - 6, 17)
    pen, lines = ImageDraw.Draw(image), chance(rng, 0.7)
    for r, row in enumerate(cells):
        for c, cell in enumerate(row):
            left, top = 4 + wide * c, 4 + high * r
            if lines:
                pen.rectangle((left, top, left + wide, top + high), outline=(120, 120, 120))
            canvas.write_centred(image, cell, left + wide / 2, top + high / 2, with_font, (20, 20, 20))
    return image


def table(draw: Draw) -> Told:
    rng = draw.rng
    names = several(rng, [n for n in NAMES if len(n) <= 5], rng.randint(2, 3))
    things = [plural(thing) for thing in several(rng, [t for t in COUNTED if len(t) <= 6], rng.randint(1, 2))]
    values = [[str(rng.randint(2, 20)) for _ in things] for _ in names]
    cells = [["", *things], *([name, *row] for name, row in zip(names, values, strict=True))]
    r, c = rng.randrange(len(names)), rng.randrange(len(things))
    question = draw.ask(CELL, name=names[r], things=things[c])
    reply = f"{names[r]} has {values[r][c]} {things[c]}."
    return Told(draw.around(question, _medium(draw, table_picture(rng, cells))), reply, f"has {values[r][c]}")


FAMILIES = (
    ShownFamily("read_word", word, 1.0),
    ShownFamily("read_code", code, 0.3),
    ShownFamily("read_number", number, 1.0),
    ShownFamily("read_line", line, 0.6),
    ShownFamily("clock", clock, 0.5),
    ShownFamily("bar_chart", chart, 0.4),
    ShownFamily("table", table, 0.3),
)
