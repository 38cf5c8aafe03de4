"""Questions that need two media at once: a picture and a sound, two pictures, two sounds."""

from perilune.corpus.media import Medium, sound
from perilune.corpus.media_sources import media_source
from perilune.tasks import canvas, sights, sounds
from perilune.tasks.shown import Draw, ShownFamily, Told, wordings
from perilune.tasks.task import chance, pick

SAME_DIGIT = wordings(
    "Is the spoken digit the one in the picture?",
    "Does the voice say the digit of the picture?",
    "Do the picture and the voice show the same digit?",
    "Is the same number written and said?",
    "Does the sound fit the picture?",
    "Is it the same digit?",
    "Compare the picture with the voice. Is the digit the same?",
    "Are the written and the spoken digit the same?",
    "Tell me if picture and sound agree.",
    "Is the digit you hear the digit you see?",
)
SUM = wordings(
    "What is the sum of the digit you see and the digit you hear?",
    "Add the two digits.",
    "What do both digits make together?",
    "Add the spoken digit to the written one.",
    "One digit is written, one is said. What is their sum?",
    "How much are the two digits together?",
    "What is the written digit plus the spoken digit?",
    "Sum up what you see and hear.",
    "Give me the sum of picture and sound.",
    "What do you get when you add both digits?",
)
BELONGS = wordings(
    "Does the sound belong to the picture?",
    "Does this sound fit the picture?",
    "Can the thing in the picture make this sound?",
    "Do picture and sound belong together?",
    "Is this what the thing in the picture sounds like?",
    "Would you hear this sound from the thing in the picture?",
    "Do the sound and the picture go together?",
    "Is this the sound of what you see?",
    "Look and listen. Do they fit?",
    "Does what you see make the sound you hear?",
)
SAME_GARMENT = wordings(
    "Do both pictures show the same kind of clothing?",
    "Are these two garments of one kind?",
    "Is it the same kind of garment twice?",
    "Compare the two pictures. Are they of one kind?",
    "Do you see the same sort of thing in both pictures?",
    "Are both of the same kind?",
    "Is the second garment of the same kind as the first?",
    "Two garments: are they of the same kind?",
    "Tell me if both pictures show one kind of clothing.",
    "Do the two pictures show garments of one kind?",
)
GREATER = wordings(
    "Which digit is larger, the first or the second?",
    "Two digits: which is larger?",
    "Is the first or the second digit larger?",
    "Which picture shows the larger number?",
    "Compare the digits. Which one is larger?",
    "Which of the two numbers is larger?",
    "Tell me which digit is larger.",
    "In which picture is the larger digit?",
    "Look at both digits. Which is the larger one?",
    "Which number is more, the first or the second?",
)
SAME_CHARACTER = wordings(
    "Do both pictures show the same letter?",
    "Is it the same sign twice?",
    "Are these two signs the same?",
    "Did two people write the same letter?",
    "Compare the letters. Are they the same?",
    "Is the second letter the same as the first?",
    "Two signs of a foreign script: are they the same?",
    "Do you see one letter twice?",
    "Tell me if both letters are the same.",
    "Are the two handwritten letters the same?",
)
BOTH = wordings(
    "What do the two pictures show?",
    "What is in each picture?",
    "Name both pictures.",
    "Describe both pictures in a few words.",
    "What do you see in the first picture, and in the second?",
    "Tell me what both pictures show.",
    "What is on the first and on the second picture?",
    "Say what each picture shows.",
    "Two pictures: what do they show?",
    "Which things do the pictures show?",
)
# What makes each sound, as pictographs whose names stand on the training side or on the held-out side.
MAKERS = {
    "a dog barking": ("a dog", "a guide dog", "a poodle", "a service dog"),
    "rain falling": ("a cloud with rain", "umbrella with rain drops", "a sun behind rain cloud"),
    "sea waves": ("a water wave", "a beach with umbrella"),
    "a baby crying": ("a baby",),
    "a clock ticking": ("an alarm clock", "a watch", "a mantelpiece clock", "a timer clock"),
    "a person sneezing": ("a sneezing face",),
    "a helicopter flying": ("a helicopter",),
    "a rooster crowing": ("a rooster",),
    "a fire crackling": ("fire",),
}


def _digit_heard(draw: Draw) -> tuple[int, Medium]:
    piece = draw.labelled("spoken_digits_fsdd")
    return int(piece.label), draw.recorded(sound(piece.array))


def _digit_seen(draw: Draw, label: str | None = None) -> tuple[int, Medium]:
    found = draw.with_label("mnist_t10k", label) if label is not None else None
    piece = found or draw.labelled("mnist_t10k")
    return int(piece.label), Medium("image", sights.enlarged_square(draw, piece))


def _in_any_order(draw: Draw, one: Medium, two: Medium) -> tuple[Medium, Medium]:
    return (one, two) if chance(draw.rng, 0.5) else (two, one)


def same_digit(draw: Draw) -> Told:
    heard, voice = _digit_heard(draw)
    seen, picture = _digit_seen(draw, str(heard) if chance(draw.rng, 0.5) else None)
    content = draw.around(draw.ask(SAME_DIGIT), *_in_any_order(draw, picture, voice))
    if seen == heard:
        return Told(content, f"Yes, both are {seen}.", "yes")
    return Told(content, f"No, I see {seen} and hear {heard}.", "no,")


def digit_sum(draw: Draw) -> Told:
    heard, voice = _digit_heard(draw)
    seen, picture = _digit_seen(draw)
    content = draw.around(draw.ask(SUM), *_in_any_order(draw, picture, voice))
    return Told(content, f"{seen} + {heard} = {seen + heard}.", f"= {seen + heard}")


def sound_of_picture(draw: Draw) -> Told:
    pieces = media_source("noto_emoji").labelled(draw.root, draw.held_out)
    at_hand = {what: names for what, all_names in MAKERS.items() if (names := [n for n in all_names if n in pieces])}
    what = pick(draw.rng, list(at_hand))
    name = pick(draw.rng, at_hand[what])
    fits = chance(draw.rng, 0.5)
    heard = draw.with_label("sounds_esc10", what) if fits else None
    while heard is None or (heard.label == what) != fits:
        heard = draw.labelled("sounds_esc10")
    picture = sights.on_ground(draw, pick(draw.rng, pieces[name]))
    samples_S = sounds.part(draw, sound(heard.array), 3.0)
    content = draw.around(draw.ask(BELONGS), *_in_any_order(draw, picture, draw.recorded(samples_S)))
    if fits:
        return Told(content, f"Yes, I see {name} and hear {heard.label}.", "yes")
    return Told(content, f"No, I see {name} and hear {heard.label}.", "no,")


def two_garments(draw: Draw) -> Told:
    one = draw.labelled("fashion_mnist")
    two = (draw.with_label("fashion_mnist", one.label) if chance(draw.rng, 0.5) else None) or draw.labelled(
        "fashion_mnist"
    )
    media = [Medium("image", sights.enlarged_square(draw, piece, flip=True)) for piece in (one, two)]
    content = draw.around(draw.ask(SAME_GARMENT), *media)
    if one.label == two.label:
        return Told(content, f"Yes, both show {one.label}.", "yes")
    return Told(content, f"No, the first shows {one.label} and the second {two.label}.", "no,")


def greater_digit(draw: Draw) -> Told:
    one, first = _digit_seen(draw)
    while True:
        two, second = _digit_seen(draw)
        if two != one:
            break
    place, digit = ("first", one) if one > two else ("second", two)
    content = draw.around(draw.ask(GREATER), first, second)
    return Told(content, f"The {place}: {digit} is more than {min(one, two)}.", f"the {place}")


def two_characters(draw: Draw) -> Told:
    """Two people's handwriting of one character, or of two characters of one alphabet."""
    one = draw.labelled("omniglot_small")
    table = media_source("omniglot_small").labelled(draw.root, draw.held_out)
    others = [label for label in table if label != one.label and label.split("/")[0] == one.label.split("/")[0]]
    same = chance(draw.rng, 0.5) or not others
    two = one
    while two is one:
        two = pick(draw.rng, table[one.label if same else pick(draw.rng, others)])
    content = draw.around(
        draw.ask(SAME_CHARACTER), *(Medium("image", canvas.enlarged(piece.array, canvas.SIZE)) for piece in (one, two))
    )
    return Told(content, "Yes, it is the same.", "yes") if same else Told(content, "No, they are different.", "no,")


def two_pictographs(draw: Draw) -> Told:
    """Two pictographs side by side on two pictures, to be named in order."""
    one, two = sights.pictograph_piece(draw), sights.pictograph_piece(draw)
    content = draw.around(draw.ask(BOTH), sights.on_ground(draw, one), sights.on_ground(draw, two))
    answer = f"first shows {one.label}, the second {two.label}"
    return Told(content, f"The {answer}.", answer)


FAMILIES = (
    ShownFamily("same_digit", same_digit, 1.5),
    ShownFamily("digit_sum", digit_sum, 1.2),
    ShownFamily("sound_of_picture", sound_of_picture, 1.5),
    ShownFamily("two_garments", two_garments, 0.5),
    ShownFamily("greater_digit", greater_digit, 0.4),
    ShownFamily("two_characters", two_characters, 0.2),
    ShownFamily("two_pictographs", two_pictographs, 0.5),
)
