"""Questions about photos, illustrations, pictographs, clothes and handwriting from the licensed sources."""

from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from perilune.corpus.media import Medium, Piece
from perilune.corpus.media_labels import FINER, PICTOGRAPH_KINDS
from perilune.corpus.media_sources import media_source
from perilune.tasks import augment, canvas
from perilune.tasks.shown import Draw, ShownFamily, Told, bare, is_are, wordings
from perilune.tasks.task import chance, pick

WHAT = wordings(
    "What is this?",
    "What does the picture show?",
    "What is in this picture?",
    "What do you see?",
    "What can you see here?",
    "Tell me what this is.",
    "Describe this picture in a few words.",
    "Name what you see in the picture.",
    "What is shown here?",
    "Can you tell what this picture shows?",
    "Which thing is this?",
    "Say what is in the image.",
    "What have I got here?",
    "Look at this. What is it?",
    "What would you call this?",
)
CLOTHING = wordings(
    "Which piece of clothing is this?",
    "What kind of garment is this?",
    "What can I wear here?",
    "Name this garment.",
    "What piece of clothing do you see?",
    "What is this thing to wear?",
    "Which garment does the picture show?",
    "What clothing is in the picture?",
    "What type of clothing is this?",
    "Which item of a shop for clothes is this?",
    *WHAT.options[:5],
)
DIGIT = wordings(
    "Which digit is this?",
    "What number is written here?",
    "Read the digit.",
    "Which number do you see?",
    "What digit does the picture show?",
    "Tell me the handwritten digit.",
    "What is the number in the picture?",
    "Someone wrote a digit. Which one?",
    "Name the digit.",
    "Can you read this number?",
    "Which figure is written here?",
    "What does this say?",
)
DIGITS = wordings(
    "Which digits are these?",
    "Read the digits from left to right.",
    "What numbers are written here?",
    "Read the digits in order.",
    "Which digits do you see, in order?",
    "Tell me all the digits.",
    "What digits are shown?",
    "Write down the digits you see.",
    "List the handwritten digits.",
    "Which numbers can you read?",
    "Copy the digits.",
    "What is written here, digit by digit?",
)
KIND = wordings(
    "What kind of picture is this: {choices}?",
    "Is this {choices}?",
    "Does the picture show {choices}?",
    "Which fits the picture: {choices}?",
    "Choose what this is: {choices}.",
    "Would you say this is {choices}?",
    "Do you see {choices}?",
    "Sort this picture. Is it {choices}?",
    "Which of these is it: {choices}?",
    "Tell me if this is {choices}.",
)
SHELF = wordings(
    "What is on this shelf?",
    "What can I buy here?",
    "What food is this?",
    "Which fruit, vegetable or drink is this?",
    "What is sold here?",
    "What do you see in this photo from a shop?",
    "Name the food in the photo.",
    "What lies in this shop?",
    "What product does the photo show?",
    "Which food do you see?",
    *WHAT.options[:5],
)
FINE = wordings(
    "Which kind of {coarse} exactly?",
    "What sort of {coarse} do you see?",
    "Which {coarse} are these?",
    "What kind of {coarse} is shown?",
    "Can you tell which {coarse} these are?",
    "Name the kind of {coarse}.",
    "What type of {coarse} is in the photo?",
    "These are {coarse}. Of which kind?",
    "Which variety of {coarse} is this?",
    "Say which {coarse} the shop sells here.",
)
MATERIAL = wordings(
    "What is this made of?",
    "Which material is this?",
    "What material do you see?",
    "Of what is this thing made?",
    "Is this paper, cardboard, glass, metal or plastic?",
    "Name the material.",
    "What stuff is this thing made from?",
    "Tell me the material of this thing.",
    "Which material does the photo show?",
    "I want to recycle this. What is it made of?",
)
BIN = wordings(
    "Which bin does this belong in?",
    "Where do I throw this away?",
    "Into which bin should I put it?",
    "How do I sort this waste?",
    "Which bin takes this?",
    "I want to throw this away. Which bin?",
    "Where does this waste go?",
    "Which of the bins is right for this?",
    "Help me sort this: which bin?",
    "What bin is this for?",
)
CAPTION = wordings(
    "What happens in this picture?",
    "Write a sentence for this picture.",
    "Which sentence of a story could stand under this picture?",
    "Tell the story of this page.",
    "Write a caption for this illustration.",
    "This is from a children's book. What could the page say?",
    "What is the story here?",
    "Say something about this illustration.",
    "Tell me about this page of a story.",
    "Make up a line for this drawing.",
)
WHICH_LINE = wordings(
    'Which line fits the picture: "{one}" or "{two}"?',
    'Does this page say "{one}" or "{two}"?',
    'Choose the sentence of this picture: "{one}" or "{two}"',
    'Which of these belongs to the drawing? "{one}" "{two}"',
    'Is the text of this page "{one}" or "{two}"?',
    'One of these stands under the picture: "{one}" or "{two}". Which?',
    'Pick the right caption: "{one}" or "{two}"',
    'Two captions, one picture. "{one}" or "{two}"?',
    'Which sentence tells of this picture: "{one}" or "{two}"?',
    'What does the page say: "{one}" or "{two}"?',
)
TRUTH = wordings(
    "Is this true? {sentence}",
    "{sentence} Is that right?",
    "True or not: {sentence}",
    "Look at the boxes. {sentence} Is this true?",
    "Does this sentence fit the picture? {sentence}",
    "{sentence} Is that so?",
    "Check this sentence: {sentence}",
    "Is the sentence right? {sentence}",
    "Somebody says: {sentence} Is it true?",
    "{sentence} Yes or no?",
)
MATERIALS = ("cardboard", "glass", "metal", "paper", "plastic")
CAPTION_WORDS = 14


def enlarged_square(draw: Draw, piece: Piece, flip: bool = False) -> np.ndarray:
    """A 28 × 28 picture enlarged; light and dark change places half the time."""
    image_HWC = canvas.enlarged(piece.array, pick(draw.rng, (56, canvas.SIZE)))
    if draw.trains:
        image_HWC = augment.light(augment.shake(image_HWC, draw.noise, flip=flip), draw.noise)
    return 255 - image_HWC if chance(draw.rng, 0.5) else image_HWC


def clothing(draw: Draw) -> Told:
    piece = draw.labelled("fashion_mnist")
    media = Medium("image", enlarged_square(draw, piece, flip=True))
    return Told(draw.around(draw.ask(CLOTHING), media), is_are(piece.label), bare(piece.label))


def digit(draw: Draw) -> Told:
    piece = draw.labelled("mnist_t10k")
    media = Medium("image", enlarged_square(draw, piece))
    return Told(draw.around(draw.ask(DIGIT), media), f"The digit is {piece.label}.", piece.label)


def digit_pictures(draw: Draw) -> Told:
    pieces = [draw.labelled("mnist_t10k") for _ in range(draw.rng.randint(2, 4))]
    media = [Medium("image", enlarged_square(draw, piece)) for piece in pieces]
    answer = " ".join(piece.label for piece in pieces)
    return Told(draw.around(draw.ask(DIGITS), *media), f"{answer}.", answer)


def digit_strip(draw: Draw) -> Told:
    """Several handwritten digits on one picture."""
    pieces = [draw.labelled("mnist_t10k") for _ in range(draw.rng.randint(2, 6))]
    step, height = draw.rng.choice((32, 40, 48)), 56
    strip = Image.new("RGB", (step * len(pieces) + 16, height))
    for place, piece in enumerate(pieces):
        drop = draw.rng.randint(-4, 4)
        canvas.stamp(strip, piece.array, 8 + step * (place + 0.5), height / 2 + drop, draw.rng.randint(30, step + 2))
    image_HWC = canvas.pixels(strip)
    if draw.trains:
        image_HWC = augment.light(image_HWC, draw.noise)
    if chance(draw.rng, 0.5):
        image_HWC = 255 - image_HWC
    answer = " ".join(piece.label for piece in pieces)
    return Told(draw.around(draw.ask(DIGITS), Medium("image", image_HWC)), f"{answer}.", answer)


# How often each kind of pictograph is drawn: there are many flags and people, and few foods.
_KIND_SHARES = (2, 2, 4, 4, 3, 2, 3, 1)


def pictograph_piece(draw: Draw) -> Piece:
    kind = draw.rng.choices(tuple(PICTOGRAPH_KINDS.values()), _KIND_SHARES)[0]
    pieces = media_source("noto_emoji").pieces(draw.root, draw.held_out)
    return pick(draw.rng, [piece for piece in pieces if piece.about["kind"] == kind])


def on_ground(draw: Draw, piece: Piece) -> Medium:
    """A pictograph somewhere on a plain ground."""
    image = canvas.blank(draw.rng)
    size = draw.rng.randint(64, 104)
    slack = (canvas.SIZE - size) / 2
    x, y = (canvas.SIZE / 2 + draw.rng.uniform(-slack, slack) for _ in range(2))
    canvas.stamp(image, piece.array, x, y, size)
    image_HWC = canvas.pixels(image)
    if draw.trains:
        image_HWC = augment.light(augment.shake(image_HWC, draw.noise), draw.noise, 0.6)
    return Medium("image", image_HWC)


def pictograph(draw: Draw) -> Told:
    piece = pictograph_piece(draw)
    return Told(draw.around(draw.ask(WHAT), on_ground(draw, piece)), is_are(piece.label), bare(piece.label))


def pictograph_kind(draw: Draw) -> Told:
    """What held-out pictographs can be asked for although their names were never heard: the kind of thing."""
    piece = pictograph_piece(draw)
    kind = piece.about["kind"]
    choices = [kind, *draw.rng.sample([other for other in PICTOGRAPH_KINDS.values() if other != kind], 2)]
    draw.rng.shuffle(choices)
    question = draw.ask(KIND, choices=f"{choices[0]}, {choices[1]}, or {choices[2]}")
    return Told(draw.around(question, on_ground(draw, piece)), f"It is {kind}.", kind)


def grocery(draw: Draw) -> Told:
    piece = draw.labelled("grocery_photos")
    return Told(draw.around(draw.ask(SHELF), draw.photo(piece)), f"The photo shows {piece.label}.", piece.label)


def grocery_kind(draw: Draw) -> Told:
    fine = pick(draw.rng, tuple(FINER.values()))
    pieces = media_source("grocery_photos").pieces(draw.root, draw.held_out)
    found = [piece for piece in pieces if piece.about["fine"] == fine]
    piece = pick(draw.rng, found or [piece for piece in pieces if piece.about["fine"]])
    fine = piece.about["fine"]
    question = draw.ask(FINE, coarse=piece.label)
    return Told(draw.around(question, draw.photo(piece)), f"These are {fine}.", fine)


def waste(draw: Draw) -> Told:
    piece = draw.labelled("trashnet_photos")
    media = draw.photo(piece)
    if piece.label in MATERIALS and chance(draw.rng, 0.7):
        return Told(draw.around(draw.ask(MATERIAL), media), f"It is made of {piece.label}.", piece.label)
    return Told(draw.around(draw.ask(BIN), media), f"It belongs in the {piece.label} bin.", piece.label)


@lru_cache
def _lines(root: Path, held_out: bool) -> tuple[Piece, ...]:
    pieces = media_source("storybook_images").pieces(root, held_out)
    return tuple(piece for piece in pieces if len(piece.label.split()) <= CAPTION_WORDS and piece.label.isascii())


def storybook(draw: Draw) -> Told:
    piece = pick(draw.rng, _lines(draw.root, draw.held_out))
    return Told(draw.around(draw.ask(CAPTION), draw.photo(piece, flip=False)), piece.label, piece.label)


def storybook_line(draw: Draw) -> Told:
    """Which of two sentences belongs to the picture; the other is from another story."""
    lines = [piece for piece in _lines(draw.root, draw.held_out) if '"' not in piece.label]
    piece = pick(draw.rng, lines)
    other = pick(draw.rng, [line for line in lines if line.group != piece.group and line.label != piece.label])
    one, two = (piece, other) if chance(draw.rng, 0.5) else (other, piece)
    question = draw.ask(WHICH_LINE, one=one.label, two=two.label)
    return Told(draw.around(question, draw.photo(piece, flip=False)), piece.label, piece.label)


def statement(draw: Draw) -> Told:
    """People's sentences about boxes and towers of shapes: true or false."""
    piece = draw.labelled("nlvr")
    image_HWC = augment.light(piece.array, draw.noise, 0.4) if draw.trains else piece.array
    question = draw.ask(TRUTH, sentence=piece.about["sentence"])
    content = draw.around(question, Medium("image", image_HWC))
    if piece.label == "true":
        return Told(content, "Yes, that is true.", "yes")
    return Told(content, "No, that is not true.", "no,")


FAMILIES = (
    ShownFamily("clothing", clothing, 2.5),
    ShownFamily("digit", digit, 1.5),
    ShownFamily("digit_pictures", digit_pictures, 0.6),
    ShownFamily("digit_strip", digit_strip, 1.0),
    ShownFamily("pictograph", pictograph, 2.0),
    ShownFamily("pictograph_kind", pictograph_kind, 0.5),
    ShownFamily("grocery", grocery, 1.0),
    ShownFamily("grocery_kind", grocery_kind, 0.3),
    ShownFamily("waste", waste, 0.6),
    ShownFamily("storybook", storybook, 0.3),
    ShownFamily("storybook_line", storybook_line, 0.3),
    ShownFamily("statement", statement, 0.4),
)
